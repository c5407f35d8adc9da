<?php

declare(strict_types=1);

namespace Blog;

/** What the visitor's browser keeps for us: a token against forged forms, and the name of the last comment. */
final class Visitor
{
    private const NAME_SECONDS = 365 * 86400;

    private string $token;

    public function __construct(private readonly Request $request)
    {
        $token = $_COOKIE['blog_token'] ?? '';
        if (!is_string($token) || !preg_match('/^[0-9a-f]{32}$/D', $token)) {
            $token = bin2hex(random_bytes(16));
            $this->set('blog_token', $token, 0);
        }
        $this->token = $token;
    }

    /** Goes into every form. Another site can make a browser send our cookie, but it cannot read it and fill this in. */
    public function token(): string
    {
        return $this->token;
    }

    public function checkToken(): void
    {
        if (!hash_equals($this->token, $this->request->field('token'))) {
            throw new HttpError(403, 'This form has expired. Go back, load the page again, and send it once more.');
        }
    }

    public function name(): string
    {
        $name = $_COOKIE['blog_name'] ?? '';

        return is_string($name) && preg_match('//u', $name) ? $name : '';
    }

    public function remember(string $name): void
    {
        $this->set('blog_name', $name, time() + self::NAME_SECONDS);
    }

    private function set(string $cookie, string $value, int $expires): void
    {
        setcookie($cookie, $value, [
            'expires' => $expires,
            'path' => $this->request->url(''),
            'secure' => $this->request->secure,
            'httponly' => true,
            'samesite' => 'Lax',
        ]);
    }
}
