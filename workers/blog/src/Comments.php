<?php

declare(strict_types=1);

namespace Blog;

/** Where the comments are kept. */
interface Comments
{
    public function add(Comment $comment): void;

    /** @return list<Comment> those of one post, the oldest first */
    public function of(string $post): array;

    /** @return array<string, int> how many each post has; posts without one are left out */
    public function counts(): array;
}
