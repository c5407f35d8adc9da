<?php

declare(strict_types=1);

/*
 * The front controller: every request that is no file in this folder arrives here. A save is enough to change the site;
 * no process is restarted for it.
 */

namespace Blog;

spl_autoload_register(static function (string $class): void {
    $file = dirname(__DIR__) . '/src/' . substr($class, strlen('Blog\\')) . '.php';
    if (str_starts_with($class, 'Blog\\') && is_file($file)) {
        require $file;
    }
});

$app = new App(dirname(__DIR__), Request::fromGlobals());
$app->run();
