<?php

declare(strict_types=1);

namespace Blog;

/** Ends a request with a status and a sentence for the visitor. */
final class HttpError extends \Exception
{
    public function __construct(public readonly int $status, string $message, public readonly string $allow = '')
    {
        parent::__construct($message);
    }
}
