<?php

declare(strict_types=1);

namespace Blog;

/** The posts: text files named DATE-NAME.txt. The first line is the title, empty lines part paragraphs. */
final class Posts
{
    public function __construct(private readonly string $directory)
    {
    }

    /** @return list<Post> the newest first */
    public function all(): array
    {
        $files = glob($this->directory . '/????-??-??-*.txt') ?: [];
        rsort($files);

        return array_map(self::read(...), $files);
    }

    public function find(string $name): Post
    {
        foreach ($this->all() as $post) {
            if ($post->name === $name) {
                return $post;
            }
        }
        throw new HttpError(404, 'There is no such post.');
    }

    private static function read(string $file): Post
    {
        $base = basename($file, '.txt');
        [$title, $text] = explode("\n", file_get_contents($file) . "\n", 2);

        return new Post(substr($base, 11), substr($base, 0, 10), trim($title), preg_split('/\n{2,}/', trim($text)));
    }
}
