"""Workers that answer with what they are told to, byte by byte, and what is checked of what becomes of it."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from tests.functional.running import Running
from tests.functional.strict import PATIENT_YAML, Client, Ended, Reply, StrictCase

EVIL = b"X-Evil: yes"
"""Stands in everything that must not get through."""

PHP_YAML = """
path: /php
type: php
php: {binary: ./fpm.py}
"""

PHP = r'''
"""Speaks FastCGI in the place of php-fpm: its answer is the request's body, byte by byte."""
import asyncio, re, sys

text = open(sys.argv[sys.argv.index("--fpm-config") + 1]).read()
listen, ping = (re.search(rf'^{name} = \'?(.*?)\'?$', text, re.M)[1] for name in ("listen", r"ping\.path"))

def record(kind, content):
    return bytes([1, kind, 0, 1]) + len(content).to_bytes(2, "big") + b"\0\0" + content

def stream(kind, content):
    pieces = [content[at:at + 65535] for at in range(0, len(content), 65535)]
    return b"".join(record(kind, piece) for piece in [*pieces, b""])

async def serve(reader, writer):
    parameters, body = b"", b""
    try:
        while True:
            header = await reader.readexactly(8)
            content = (await reader.readexactly(int.from_bytes(header[4:6], "big") + header[6]))
            content = content[:len(content) - header[6]]
            if header[1] == 4:
                parameters += content
            elif header[1] == 5 and content:
                body += content
            elif header[1] == 5:
                answer = b"Status: 200\r\n\r\nok" if ping.encode() in parameters else body
                writer.write(stream(6, answer) + record(3, bytes(8)))
                parameters, body = b"", b""
    except (asyncio.IncompleteReadError, OSError):
        writer.close()

async def main():
    await (await asyncio.start_unix_server(serve, listen)).serve_forever()

asyncio.run(main())
'''


class AnswerCase(StrictCase):
    """A worker that answers with what it is told to, and the same in the place of PHP."""

    server = ""
    path = "/answer"

    @classmethod
    def workers(cls) -> Mapping[str, Mapping[str, str]]:
        php = {
            "config/worker.yaml": PHP_YAML + PATIENT_YAML,
            "public/index.php": "<?php",
            "fpm.py": f"#!{sys.executable}\n{PHP}",
        }
        return {**super().workers(), "php": php}

    def prepare(self, running: Running) -> None:
        (running.directory / "workers/php/fpm.py").chmod(0o755)

    def ask(self, client: Client, answer: bytes, method: bytes = b"PUT", close: bool = False) -> None:
        """Have the worker answer with these bytes, and close after them if it shall."""
        path = self.path + "-and-close" if close else self.path
        head = b"%b %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (method, path.encode(), len(answer))
        client.send(head + answer)

    def all_is_well(self) -> None:
        """Check that nothing was left on any connection to the worker that would be taken for another answer."""
        with self.client() as client:
            for number in range(3):
                client.send(b"GET /well%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
                reply = client.reply()
                self.assertEqual((reply.status, reply.note["target"]), (200, f"/well{number}"))

    def refused(self, answer: bytes, method: bytes = b"PUT", close: bool = False) -> None:
        """Check that an answer becomes a 502 of our own."""
        with self.client() as client:
            self.ask(client, answer, method, close)
            reply = client.reply(method.decode())
            self.assertEqual(reply.status, 502, (answer[:200], reply))
            self.clean(reply)
        self.all_is_well()

    def clean(self, reply: Reply) -> None:
        """Check that nothing of what must not get through did."""
        self.assertNotIn("x-evil", reply.headers)
        self.assertNotRegex(reply.body, rb"(?:^|[\r\n])X-Evil")

    def cut(self, answer: bytes, close: bool = False, method: bytes = b"PUT") -> None:
        """Check that an answer is cut off behind its head so that the client can tell."""
        with self.client() as client:
            self.ask(client, answer, method, close)
            try:
                reply = client.reply()
            except Ended as ended:
                self.assertNotIn(EVIL, ended.args[0])
            else:
                self.assertEqual(reply.status, 502, reply)
        self.all_is_well()

    def passed(self, answer: bytes, method: bytes = b"PUT", close: bool = False) -> Reply:
        """What a good answer becomes."""
        with self.client() as client:
            self.ask(client, answer, method, close)
            reply = client.reply(method.decode())
            self.clean(reply)
            if reply.headers.get("connection") != "close":
                client.send(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
                self.assertEqual(client.reply().note["target"], "/next")
        self.all_is_well()
        return reply
