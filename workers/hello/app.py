"""The smallest worker there is: listen on WORKER_PORT, answer GET /health with 200, end on TERM."""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GREETING = "hello"


class Hello(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept, so every answer says how long it is
    disable_nagle_algorithm = True  # head and body are two writes: without this, the second waits for an ACK

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.answer(b"ok\n" if path == "/health" else f"{GREETING} from {os.getpid()}\n".encode())

    def do_POST(self) -> None:
        if "Content-Length" not in self.headers:
            self.close_connection = True  # what follows on the connection would be the body
            self.send_error(411)
            return
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass  # the server keeps an access log already


if __name__ == "__main__":
    # By now nothing is in flight here: the server routes elsewhere and waits for the last answer before it sends TERM.
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))
    ThreadingHTTPServer.request_queue_size = 128  # its own 5 make a burst of new connections wait for a second
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["WORKER_PORT"])), Hello).serve_forever()
