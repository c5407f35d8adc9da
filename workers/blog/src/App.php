<?php

declare(strict_types=1);

namespace Blog;

/** The blog: what it answers to which path. */
final class App
{
    private readonly Posts $posts;
    private readonly Pictures $pictures;
    private readonly Queue $emails;
    private ?Visitor $visitor = null;

    public function __construct(private readonly string $directory, private readonly Request $request)
    {
        $this->posts = new Posts("$directory/posts");
        $this->pictures = new Pictures("$directory/data/pictures");
        $this->emails = new Queue(getenv('QUEUE_SOCKET') ?: "$directory/../queue/data/tqs.sock", 'emails');
    }

    public function run(): void
    {
        $router = (new Router())
            ->add('GET', '/health', $this->health(...))
            ->add('GET', '/', $this->index(...))
            ->add('GET', '/posts/([a-z0-9-]+)', $this->post(...))
            ->add('POST', '/posts/([a-z0-9-]+)/comments', $this->comment(...))
            ->add('GET', '/pictures/([0-9a-f]{16})\.(jpg|png|gif|webp)', $this->pictures->send(...));
        try {
            $router->run($this->request);
        } catch (HttpError $error) {
            if ($error->allow !== '') {
                header("Allow: {$error->allow}");
            }
            $this->show('error', ['title' => $error->getMessage()], $error->status);
        } catch (\Throwable $error) {
            error_log((string) $error); // into the worker's log, and not to the visitor
            $this->show('error', ['title' => 'Something went wrong here.'], 500);
        }
    }

    private function health(): void
    {
        header('Content-Type: text/plain; charset=utf-8');
        echo "ok\n";
    }

    private function index(): void
    {
        $this->show('index', ['title' => 'Blog', 'posts' => $this->posts->all(), 'counts' => $this->comments()->counts()]);
    }

    private function post(string $name): void
    {
        $this->showPost($this->posts->find($name), $this->visitor()->name(), '', []);
    }

    /** Takes a comment, then redirects: reloading the page that follows does not send the form again. */
    private function comment(string $name): void
    {
        $post = $this->posts->find($name);
        if ($this->request->wasTooLong()) {
            throw new HttpError(413, 'That was too much at once: at most 5 MB.');
        }
        $this->visitor()->checkToken();

        $author = $this->request->field('author');
        $text = $this->request->field('text');
        $mistakes = [];
        if (!preg_match('/^[^\n]{1,60}$/u', $author)) {
            $mistakes['author'] = 'A name, please, of at most 60 characters.';
        }
        if (!preg_match('/^.{1,2000}$/us', $text)) {
            $mistakes['text'] = 'Some text, please, of at most 2000 characters.';
        }
        if ($mistakes !== []) {
            $this->showPost($post, $author, $text, $mistakes);

            return;
        }

        $extension = $this->pictures->check('picture');
        $id = bin2hex(random_bytes(8));
        // The picture first: a comment never points at a file that is not there.
        $picture = $extension === '' ? '' : $this->pictures->keep('picture', $id, $extension);
        $this->comments()->add(new Comment($id, $post->name, $author, $text, $picture, time()));
        $told = $this->tell($post, $author, $text) ? 'yes' : 'no';

        $this->visitor()->remember($author);
        header('Location: ' . $this->request->url("posts/{$post->name}?told=$told#comment-$id"), true, 303);
    }

    /**
     * Has a mail sent to who writes the blog. That is somebody else's work and takes its time, so it is a job in a queue:
     * the worker "mailer" gets it.
     *
     * @return bool whether the queue has it. The comment stands in any case.
     */
    private function tell(Post $post, string $author, string $text): bool
    {
        try {
            $this->emails->put([
                'to' => 'owner@example.org',
                'subject' => "A comment on {$post->title}",
                'text' => "$author wrote:\n\n$text\n",
            ]);

            return true;
        } catch (\RuntimeException $error) {
            error_log("nobody is told of a comment: {$error->getMessage()}");

            return false;
        }
    }

    private function visitor(): Visitor
    {
        return $this->visitor ??= new Visitor($this->request);
    }

    private function comments(): Comments
    {
        $data = "{$this->directory}/data"; // ignored by the watcher
        if (!is_dir($data) && !@mkdir($data, 0700, true) && !is_dir($data)) {
            throw new \RuntimeException("cannot make $data");
        }

        return extension_loaded('pdo_sqlite')
            ? new SqliteComments("$data/comments.sqlite")
            : new FileComments("$data/comments.jsonl");
    }

    /** @param array<string, string> $mistakes by field */
    private function showPost(Post $post, string $author, string $text, array $mistakes): void
    {
        $this->show('post', [
            'title' => $post->title,
            'post' => $post,
            'comments' => $this->comments()->of($post->name),
            'token' => $this->visitor()->token(),
            'author' => $author,
            'text' => $text,
            'mistakes' => $mistakes,
            'told' => $_GET['told'] ?? '',
        ], $mistakes === [] ? 200 : 422);
    }

    /** @param array<string, mixed> $values the variables of the view */
    private function show(string $view, array $values, int $status = 200): void
    {
        $values['url'] = $this->request->url(...);
        $content = $this->render($view, $values);
        $page = $this->render('layout', ['content' => $content] + $values);
        http_response_code($status);
        header('Content-Type: text/html; charset=utf-8');
        header('Cache-Control: no-store');
        echo $page;
    }

    /** A view is rendered to its end before a byte is sent: a mistake in it is a 500 and not half a page. */
    private function render(string $view, array $values): string
    {
        $escape = static fn (string $text): string => htmlspecialchars($text, ENT_QUOTES | ENT_SUBSTITUTE, 'UTF-8');
        $file = "{$this->directory}/views/$view.php";
        ob_start();
        try {
            (static function () use ($file, $values, $escape): void {
                extract($values, EXTR_SKIP);
                require $file;
            })();

            return (string) ob_get_contents();
        } finally {
            ob_end_clean();
        }
    }
}
