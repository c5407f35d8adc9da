<?php

declare(strict_types=1);

namespace Blog;

/** What of a request this blog looks at. */
final class Request
{
    /**
     * @param string $base   where the blog is mounted, such as "/blog"; empty at the root
     * @param string $path   the path below that, always with a leading slash, decoded
     * @param string $method GET for a HEAD as well: PHP leaves the body away
     */
    public function __construct(
        public readonly string $base,
        public readonly string $path,
        public readonly string $method,
        public readonly bool $secure,
    ) {
    }

    public static function fromGlobals(): self
    {
        // SCRIPT_NAME is /blog/index.php when the blog is mounted at /blog: nothing here knows the prefix but this line.
        $base = rtrim(dirname($_SERVER['SCRIPT_NAME']), '/');
        $path = rawurldecode(explode('?', $_SERVER['REQUEST_URI'], 2)[0]);
        if ($base !== '' && str_starts_with($path . '/', $base . '/')) {
            $path = substr($path, strlen($base));
        }
        $method = $_SERVER['REQUEST_METHOD'];
        $secure = ($_SERVER['HTTPS'] ?? 'off') !== 'off';

        return new self($base, '/' . ltrim($path, '/'), $method === 'HEAD' ? 'GET' : $method, $secure);
    }

    /** A link into the blog. */
    public function url(string $path): string
    {
        return $this->base . '/' . $path;
    }

    /** One field of a posted form, without space around it; empty if it was not sent as a text in UTF-8. */
    public function field(string $name): string
    {
        $value = $_POST[$name] ?? '';

        return is_string($value) && preg_match('//u', $value) ? trim(str_replace("\r\n", "\n", $value)) : '';
    }

    /** Whether PHP has thrown a posted form away, because it was longer than post_max_size. */
    public function wasTooLong(): bool
    {
        return $this->method === 'POST' && $_POST === [] && $_FILES === [] && (int) ($_SERVER['CONTENT_LENGTH'] ?? 0) > 0;
    }
}
