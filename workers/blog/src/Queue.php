<?php

declare(strict_types=1);

namespace Blog;

/** A queue of the worker next door, over TQS: JSON and HTTP on a UNIX socket. It needs no extension of PHP. */
final class Queue
{
    /** Longest for each of connecting, sending and the answer: somebody is waiting for a page. */
    private const WAIT_SECONDS = 2;
    private const ANSWER_BYTES_MAX = 65536;

    /** @param string $socket path of the socket */
    public function __construct(private readonly string $socket, private readonly string $name)
    {
    }

    /**
     * Puts a job. When this returns, it is on the queue's disk.
     *
     * @param array<string, string> $job
     *
     * @throws \RuntimeException it may not be there
     */
    public function put(array $job): void
    {
        $body = json_encode($job, JSON_THROW_ON_ERROR | JSON_UNESCAPED_UNICODE | JSON_INVALID_UTF8_SUBSTITUTE);
        $status = $this->post("/queues/{$this->name}", ['messages' => [['body' => $body, 'type' => 'application/json']]]);
        if ($status !== 200) {
            throw new \RuntimeException("the queue answers with $status");
        }
    }

    /** @return int the status of the answer */
    private function post(string $path, array $value): int
    {
        $body = json_encode($value, JSON_THROW_ON_ERROR);
        $length = strlen($body);
        $request = "POST $path HTTP/1.1\r\nHost: queue\r\nConnection: close\r\n"
            . "Content-Type: application/json\r\nContent-Length: $length\r\n\r\n$body";

        $stream = @stream_socket_client("unix://{$this->socket}", $code, $error, self::WAIT_SECONDS);
        if ($stream === false) {
            throw new \RuntimeException("no connection to the queue: $error");
        }
        try {
            stream_set_timeout($stream, self::WAIT_SECONDS);
            for ($sent = 0; $sent < strlen($request); $sent += $written) {
                $written = @fwrite($stream, substr($request, $sent));
                if ($written === false || $written === 0) {
                    throw new \RuntimeException('the queue took no more');
                }
            }
            $answer = (string) @stream_get_contents($stream, self::ANSWER_BYTES_MAX);
        } finally {
            fclose($stream);
        }
        if (!preg_match('#^HTTP/1\.1 (\d{3})\b#', $answer, $found)) {
            throw new \RuntimeException('the queue did not answer in time');
        }

        return (int) $found[1];
    }
}
