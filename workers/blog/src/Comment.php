<?php

declare(strict_types=1);

namespace Blog;

final class Comment
{
    /**
     * @param string $id      16 hexadecimal digits
     * @param string $post    name of the post
     * @param string $picture name of a file in data/pictures, or empty
     * @param int    $at      seconds since 1970
     */
    public function __construct(
        public readonly string $id,
        public readonly string $post,
        public readonly string $author,
        public readonly string $text,
        public readonly string $picture,
        public readonly int $at,
    ) {
    }
}
