<?php

declare(strict_types=1);

namespace Blog;

final class Post
{
    /** @param list<string> $paragraphs */
    public function __construct(
        public readonly string $name,
        public readonly string $date,
        public readonly string $title,
        public readonly array $paragraphs,
    ) {
    }
}
