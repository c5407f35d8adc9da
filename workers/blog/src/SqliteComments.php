<?php

declare(strict_types=1);

namespace Blog;

/** Comments in SQLite; needs the extension pdo_sqlite. */
final class SqliteComments implements Comments
{
    private const WAIT_SECONDS = 5;

    private readonly \PDO $database;

    public function __construct(string $file)
    {
        $this->database = new \PDO("sqlite:$file", options: [
            \PDO::ATTR_ERRMODE => \PDO::ERRMODE_EXCEPTION,
            \PDO::ATTR_DEFAULT_FETCH_MODE => \PDO::FETCH_ASSOC,
            \PDO::ATTR_TIMEOUT => self::WAIT_SECONDS, // for another process of the pool to end its writing
        ]);
        $this->database->exec(
            'CREATE TABLE IF NOT EXISTS comments (
                id TEXT PRIMARY KEY,
                post TEXT NOT NULL,
                author TEXT NOT NULL,
                text TEXT NOT NULL,
                picture TEXT NOT NULL,
                at INTEGER NOT NULL
            );
            CREATE INDEX IF NOT EXISTS comments_of_post ON comments (post, at)'
        );
    }

    public function add(Comment $comment): void
    {
        $this->database
            ->prepare('INSERT INTO comments VALUES (:id, :post, :author, :text, :picture, :at)')
            ->execute(get_object_vars($comment));
    }

    public function of(string $post): array
    {
        $rows = $this->database->prepare('SELECT * FROM comments WHERE post = ? ORDER BY at, rowid');
        $rows->execute([$post]);

        return array_map(static fn (array $row): Comment => new Comment(...$row), $rows->fetchAll());
    }

    public function counts(): array
    {
        $rows = $this->database->query('SELECT post, count(*) FROM comments GROUP BY post');

        return $rows->fetchAll(\PDO::FETCH_KEY_PAIR);
    }
}
