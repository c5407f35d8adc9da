<?php

declare(strict_types=1);

namespace Blog;

/** Comments in a text file, one in JSON a line: for a PHP without pdo_sqlite, and for few comments. */
final class FileComments implements Comments
{
    public function __construct(private readonly string $file)
    {
    }

    public function add(Comment $comment): void
    {
        $line = json_encode($comment, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE) . "\n";
        if (file_put_contents($this->file, $line, FILE_APPEND | LOCK_EX) !== strlen($line)) {
            throw new \RuntimeException('The comment could not be written whole.');
        }
    }

    public function of(string $post): array
    {
        return array_values(array_filter($this->all(), static fn (Comment $comment): bool => $comment->post === $post));
    }

    public function counts(): array
    {
        return array_count_values(array_map(static fn (Comment $comment): string => $comment->post, $this->all()));
    }

    /** @return list<Comment> */
    private function all(): array
    {
        $lines = is_file($this->file) ? file($this->file, FILE_IGNORE_NEW_LINES | FILE_SKIP_EMPTY_LINES) : [];
        $read = static fn (string $line): Comment => new Comment(...json_decode($line, true, 3, JSON_THROW_ON_ERROR));

        return array_map($read, $lines);
    }
}
