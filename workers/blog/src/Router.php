<?php

declare(strict_types=1);

namespace Blog;

/** Finds what answers a path. */
final class Router
{
    /** @var array<string, array<string, callable>> pattern => method => action */
    private array $routes = [];

    /** @param string $pattern a regular expression for the whole path; its groups are given to the action */
    public function add(string $method, string $pattern, callable $action): self
    {
        $this->routes[$pattern][$method] = $action;

        return $this;
    }

    public function run(Request $request): void
    {
        foreach ($this->routes as $pattern => $actions) {
            if (preg_match("#^{$pattern}\$#D", $request->path, $groups)) {
                if (!isset($actions[$request->method])) {
                    $allow = str_replace('GET', 'GET, HEAD', implode(', ', array_keys($actions)));
                    throw new HttpError(405, 'This cannot be done here.', $allow);
                }
                $actions[$request->method](...array_slice($groups, 1));

                return;
            }
        }
        throw new HttpError(404, 'There is no such page.');
    }
}
