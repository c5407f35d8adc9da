"""
Takes jobs from a queue: each is a POST to /jobs, with the job's number in X-Task-Id. This worker "sends" a mail by
writing it into data/outbox.

What it answers is what becomes of the job: 2xx, and it is done; another 4xx than 409, 425 and 429, and it has failed for
good; anything else, and the queue tries again later. A job may come twice, when nobody heard the first answer, so a
letter that is there already is not written again.
"""

import json
import os
import re
import signal
import sys
from email.message import EmailMessage
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

OUTBOX = Path("data/outbox")  # data/ is not watched: a letter is no reason to start anew
SENDER = "blog@example.org"
JOB_BYTES_MAX = 64 * 1024
SHOWN_MAX = 20


class Mistake(Exception):
    """The job is wrong, and will be wrong the next time, too."""


def letter(job: object) -> EmailMessage:
    """Make the mail of a job, or say what is wrong with it."""
    if not isinstance(job, dict):
        raise Mistake("a job is an object")
    for field in ("to", "subject", "text"):
        if not isinstance(job.get(field), str) or not job[field]:
            raise Mistake(f"{field} is missing, or no text")
    mail = EmailMessage()
    try:
        mail["From"] = SENDER
        mail["To"] = job["to"]
        mail["Subject"] = job["subject"]
        mail["Date"] = formatdate()
        mail.set_content(job["text"])
    except ValueError as error:  # such as a line feed in the subject, which would begin another header
        raise Mistake(str(error)) from error
    return mail


def send(task: str, mail: EmailMessage) -> bool:
    """Send a mail once; False if that was done before."""
    path = OUTBOX / f"{task}.eml"
    if path.exists():
        return False
    beside = path.with_suffix(f".{os.getpid()}.part")
    with beside.open("wb") as file:
        file.write(mail.as_bytes())
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)  # whole or not at all, however this process ends
    return True


class Mailer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path == "/health":
            self.answer(200, "ok")
        elif path in ("/", "/outbox"):
            self.answer(200, outbox())
        else:
            self.answer(404, "There is nothing here.")

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal() or int(length) > JOB_BYTES_MAX:
            self.close_connection = True  # what follows on the connection would be the body
            self.answer(413, f"A job has a length, of at most {JOB_BYTES_MAX} bytes.")
            return
        body = self.rfile.read(int(length))
        task = self.headers.get("X-Task-Id", "")
        if self.path != "/jobs":
            self.answer(404, "There is nothing here.")
        elif not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", task):
            self.answer(400, "Jobs come from the queue, which says X-Task-Id.")
        else:
            self.job(task, body)

    def job(self, task: str, body: bytes) -> None:
        try:
            mail = letter(json.loads(body))
            new = send(task, mail)
        except (Mistake, ValueError) as error:
            print(f"{task} is no mail: {error}", flush=True)
            self.answer(422, f"This is no mail: {error}.")
        except OSError as error:
            print(f"{task} could not be sent: {error}", flush=True)
            self.answer(500, "The outbox cannot be written.")  # the queue tries again later
        else:
            attempt = self.headers.get("X-Task-Attempt", "?")
            print(f"{task} {'is sent' if new else 'was sent before'}, to {mail['To']} (attempt {attempt})", flush=True)
            self.answer(200, "sent")

    def answer(self, status: int, text: str) -> None:
        body = text.encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass  # the server keeps an access log already


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # its own 5 make a burst of new connections wait for a second

    def handle_error(self, request: object, client_address: object) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a connection that ends is no news
            super().handle_error(request, client_address)


def outbox() -> str:
    """The last letters, the newest first."""
    found = sorted(OUTBOX.glob("*.eml"), key=lambda path: path.stat().st_mtime, reverse=True)
    letters = [path.read_bytes().decode("utf-8", "replace") for path in found[:SHOWN_MAX]]
    return f"{len(found)} sent\n" + "".join(f"\n{'-' * 60}\n{text}" for text in letters)


if __name__ == "__main__":
    OUTBOX.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(0))
    Server(("127.0.0.1", int(os.environ["WORKER_PORT"])), Mailer).serve_forever()
