"""The queue services as processes of their own, as their clients and operators see them."""

from __future__ import annotations

import json
import os
import signal
import ssl
import time
from datetime import datetime, timedelta, timezone

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bench.wire import Response

from .queues import Asking, Queue, QueueCase, until

WAKE_S = 2.0
"""
A message that is put is with who waits in milliseconds; on a machine that does other things besides, in this. (The time
itself is measured by C{bench.queue}.)
"""


def bodies(response: Response) -> list[str]:
    return [message["body"] for message in json.loads(response.body)["messages"]]


class TqsTests(QueueCase):
    """TQS."""

    def put(self, queue: Queue, *messages: str) -> None:
        queue.did("POST", "/queues/q", {"messages": [{"body": body} for body in messages]})

    def test_first_clients(self) -> None:
        """What the first clients send is understood: their header, their spelling, their form content type."""
        queue = self.queue("--api", "tqs", "--store", "memory", environ={"TQS_API_TOKEN": "secret"})
        token = "Authentication: token secret\r\n"
        form = f"{token}Content-Type: application/x-www-form-urlencoded\r\nUser-Agent: curl/7\r\nAccept: */*\r\n"
        connection = queue.connection()
        for method, path, body, headers, status in (
            ("GET", "/", None, "", 200),
            ("GET", "/version", None, "", 200),
            ("GET", "/queues", None, "", 401),
            ("POST", "/queues", b'{"name": "q"}', form, 200),
            ("POST", "/queues", b'{"name": "q"}', form, 409),
            ("POST", "/queues/q", b'{"messages": [{"body": "a", "delay": 0}]}', form, 200),
            ("POST", "/queues/q", b'{"messages": [{"body": "b"}]}', f"{form}Transfer-Encoding: chunked\r\n", 200),
            ("POST", "/queues/q", b'{"messages": [{"body": "c"}]}', f"{form}Expect: 100-continue\r\n", 200),
            ("GET", "/metrics", None, "", 401),
            ("GET", "/metrics", None, token, 200),
        ):
            self.assertEqual(connection.ask(method, path, body, headers).status, status, (method, path))
        fetched = connection.ask("GET", "/queues/q?visibilty_timeout=600&message_count=5", None, token)
        messages = json.loads(fetched.body)["messages"]
        self.assertEqual([(each["body"], each["lease_timeout"]) for each in messages], [(x, 600) for x in "abc"])
        lease = f"/queues/q/leases/{messages[0]['lease_uuid']}"
        self.assertEqual([connection.ask("DELETE", lease, None, token).status for _ in range(2)], [200, 404])
        self.assertEqual(connection.ask("DELETE", "/queues/q", None, token).body, b"{}")
        self.assertEqual(connection.opened, 1)

    def test_woken(self) -> None:
        """Who waits has a message as soon as it is put, and only one of them has it."""
        queue = self.queue("--api", "tqs", "--store", "memory")
        queue.did("POST", "/queues", {"name": "q"})
        waiting = [Asking(queue, "GET", "/queues/q?wait_time=60&delete=1") for _ in range(2)]
        until("they wait", lambda: queue.waiting() == 2)
        began = time.monotonic()
        self.put(queue, "a")
        until("one has it", lambda: any(asking.answer for asking in waiting))
        self.assertLess(max(asking.at for asking in waiting) - began, WAKE_S)
        until("the other waits", lambda: queue.waiting() == 1)
        self.put(queue, "b")
        self.assertEqual(sorted(bodies(asking.heard())[0] for asking in waiting), ["a", "b"])

    def test_client_leaves(self) -> None:
        """A client that goes away while it waits costs nobody a message."""
        queue = self.queue("--api", "tqs", "--store", "memory")
        queue.did("POST", "/queues", {"name": "q"})
        with queue.raw() as client:
            client.sendall(b"GET /queues/q?wait_time=60&delete=1 HTTP/1.1\r\nHost: x\r\n\r\n")
            until("it waits", lambda: queue.waiting() == 1)
        until("it is forgotten", lambda: queue.waiting() == 0)
        self.put(queue, "a")
        self.assertEqual(bodies(queue.ask("GET", "/queues/q")), ["a"])

    def test_lease_ends(self) -> None:
        """A message whose lease ends is there again, for whoever waits for it, soon after."""
        queue = self.queue("--api", "tqs")
        queue.did("POST", "/queues", {"name": "q"})
        self.put(queue, "a")
        self.assertEqual(bodies(queue.ask("GET", "/queues/q?visibility_timeout=5")), ["a"])
        began = time.monotonic()
        self.assertEqual(bodies(queue.ask("GET", "/queues/q?wait_time=10")), ["a"])
        self.assertTrue(4 < time.monotonic() - began < 5 + WAKE_S, time.monotonic() - began)

    def test_killed(self) -> None:
        """What was acknowledged is there after kill -9: what was put, what was done, what is leased."""
        queue = self.queue("--api", "tqs")
        queue.did("POST", "/queues", {"name": "q"})
        self.put(queue, "done", "leased", "ready")
        done, leased = queue.did("GET", "/queues/q?message_count=2&visibility_timeout=5")["messages"]
        queue.did("DELETE", f"/queues/q/leases/{done['lease_uuid']}")
        queue.kill()
        queue.start()
        self.assertEqual(queue.did("GET", "/queues/q/statistics"), {"visible": 1, "delayed": 0, "leased": 1})
        self.assertEqual(bodies(queue.ask("GET", "/queues/q?message_count=9")), ["ready"])
        self.assertEqual(bodies(queue.ask("GET", "/queues/q?wait_time=20")), ["leased"])
        self.assertEqual(queue.ask("DELETE", f"/queues/q/leases/{leased['lease_uuid']}").status, 404)

    def test_stop(self) -> None:
        """At the end whoever waits is answered, and a request that is on its way is served."""
        queue = self.queue("--api", "tqs")
        queue.did("POST", "/queues", {"name": "q"})
        waiting = Asking(queue, "GET", "/queues/q?wait_time=60")
        until("it waits", lambda: queue.waiting() == 1)
        body = b'{"messages":[{"body":"late"}]}'
        with queue.raw() as client:
            client.sendall(b"POST /queues/q HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:9])
            # Once something behind it is answered, it has been read.
            self.assertEqual(queue.ask("GET", "/version").status, 200)
            queue.signal(signal.SIGTERM)
            self.assertEqual(json.loads(waiting.heard().body), {"messages": []})
            client.sendall(body[9:])
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        self.assertTrue(answer.startswith(b"HTTP/1.1 200 "), answer)
        self.assertEqual(queue.wait(), 0, queue.output())
        queue.start()
        self.assertEqual(bodies(queue.ask("GET", "/queues/q")), ["late"])

    def test_two(self) -> None:
        """Two processes do not share a folder: the second says so and ends."""
        queue = self.queue("--api", "tqs")
        second = queue.run("--addr", "127.0.0.1:0")
        self.assertNotEqual(second.returncode, 0)
        self.assertIn("data", second.stderr)
        self.assertEqual(queue.ask("GET", "/version").status, 200)

    def test_port_taken(self) -> None:
        """A port that somebody else has is said in one line."""
        queue = self.queue("--api", "tqs", "--store", "memory")
        second = queue.run("--addr", f"127.0.0.1:{queue.port}")
        self.assertEqual((second.returncode, second.stderr.count("\n")), (1, 1), second.stderr)
        self.assertIn(str(queue.port), second.stderr)

    def test_refused(self) -> None:
        """Without a token it does not listen where other machines reach it, and says what to do."""
        queue = Queue("--api", "tqs")
        self.addCleanup(queue.end)
        refused = queue.run("--addr", "0.0.0.0:0")
        self.assertNotEqual(refused.returncode, 0)
        self.assertIn("TQS_API_TOKEN", refused.stderr)
        self.assertIn("--insecure", refused.stderr)

    def test_file(self) -> None:
        """A file of configuration says the rest."""
        queue = Queue("--api", "tqs", "--config", "queue.yaml")
        self.addCleanup(queue.end)
        (queue.directory / "queue.yaml").write_text("apis: {tqs: {max_body: 10}}\nstore: {type: memory}\n")
        queue.start()
        queue.did("POST", "/queues", {"name": "q"})
        self.put(queue, "x" * 10)
        self.assertEqual(queue.ask("POST", "/queues/q", b'{"messages":[{"body":"01234567890"}]}').status, 400)


class ZapqTests(QueueCase):
    """ZapQ."""

    def drain(self, queue: Queue) -> list[bytes]:
        taken = []
        connection = queue.connection()
        while (response := connection.ask("GET", "/dequeue")).status == 200:
            taken.append(response.body)
        connection.close()
        return taken

    def test_clients(self) -> None:
        """Messages go in and come out over one connection, with their trace."""
        queue = self.queue("--api", "zapq", "--max-msgs", "2", environ={"QUEUE_MAX_MSGS": "1"})
        connection = queue.connection()
        put = connection.ask("POST", "/enqueue", b"\0one", "X-Trace-Id: trace-1\r\n")
        self.assertEqual((put.status, put.headers["x-trace-id"]), (202, "trace-1"))
        self.assertEqual(connection.ask("POST", "/enqueue", b"two", "Transfer-Encoding: chunked\r\n").status, 202)
        full = connection.ask("POST", "/enqueue", b"three")
        self.assertEqual((full.status, full.body), (429, b"queue full\n"))
        self.assertTrue(full.headers["x-trace-id"])
        got = connection.ask("GET", "/dequeue")
        self.assertEqual((got.body, got.headers["content-type"]), (b"\0one", "application/octet-stream"))
        self.assertEqual(connection.ask("GET", "/enqueue").status, 405)
        metrics = json.loads(connection.ask("GET", "/metrics").body)
        self.assertEqual((metrics["enqueues"], metrics["queue_length"]), (2, 1))
        self.assertEqual(connection.opened, 1)
        until("it is in the log", lambda: "trace_id=trace-1 method=POST target=/enqueue status=202" in queue.output())

    def test_too_large(self) -> None:
        """A body that is too large is refused, announced or not, and the service goes on."""
        queue = self.queue("--api", "zapq")
        for headers in ("", "Transfer-Encoding: chunked\r\n"):
            self.assertEqual(queue.ask("POST", "/enqueue", b"x" * 131_073, headers).status, 413)
        self.assertEqual(queue.ask("POST", "/enqueue", b"x" * 131_072).status, 202)

    def test_stop_and_start(self) -> None:
        """What is in the queue at the end is there at the start."""
        queue = self.queue("--api", "zapq", "--persist-on-stop", "end.json", "--load-on-start", "end.json")
        for message in (b"one", b"", b"\xff"):
            queue.ask("POST", "/enqueue", message)
        self.assertEqual(queue.stop(), 0, queue.output())
        self.assertEqual(json.loads((queue.data / "end.json").read_bytes()), ["b25l", "", "/w=="])
        queue.start()
        self.assertEqual(self.drain(queue), [b"one", b"", b"\xff"])

    def test_bad_start(self) -> None:
        """A snapshot that cannot be loaded ends the start, so that it is not replaced at the next end."""
        queue = self.queue("--api", "zapq", "--persist-on-stop", "end.json", "--load-on-start", "end.json")
        queue.stop()
        (queue.data / "end.json").write_text("[oops")
        again = queue.run("--addr", "127.0.0.1:0")
        self.assertEqual(again.returncode, 1)
        self.assertIn("snapshot", again.stderr)
        self.assertEqual((queue.data / "end.json").read_text(), "[oops")

    def test_large_snapshot(self) -> None:
        """While a large snapshot is written and read, others are served; it is complete, or it is not there."""
        queue = self.queue("--api", "zapq")
        connection = queue.connection()
        for number in range(300):
            connection.ask("POST", "/enqueue", b"%06d" % number + os.urandom(100_000))
        for path in ("/persist?file=large", "/load?file=large"):
            asking = Asking(queue, "POST", path)
            served = 0
            while asking.answer is None:
                self.assertEqual(connection.ask("GET", "/health").status, 200)
                served += 1
            self.assertGreater(served, 2, "all but one before and one behind it have waited")
            self.assertEqual(asking.heard().status, 200)
        self.assertEqual([int(message[:6]) for message in self.drain(queue)], list(range(300)))
        self.assertEqual([path.name for path in queue.data.iterdir()], ["large"])

    def test_tls(self) -> None:
        """
        With a certificate it speaks TLS, with clients that name their protocols (as curl and browsers do) and those
        that do not; one that is not there, or has no key, is told at the start.
        """
        queue = Queue("--api", "zapq", "--tls-cert", "cert.pem", "--tls-key", "key.pem")
        self.addCleanup(queue.end)
        wrong = queue.run("--addr", "127.0.0.1:0")
        self.assertNotEqual(wrong.returncode, 0)
        self.assertIn("cert.pem", wrong.stderr)
        certify(queue)
        queue.start()
        context = ssl.create_default_context(cafile=str(queue.directory / "cert.pem"))
        with context.wrap_socket(queue.raw(), server_hostname="localhost") as client:
            for request in (
                b"POST /enqueue HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000,
                b"GET /dequeue HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
            ):
                client.sendall(request)
            answer = b""
            while piece := client.recv(65536):
                answer += piece
        self.assertTrue(answer.startswith(b"HTTP/1.1 202 "), answer[:100])
        self.assertTrue(answer.endswith(b"x" * 100_000), answer[-100:])
        context.set_alpn_protocols(["h2", "http/1.1"])
        with context.wrap_socket(queue.raw(), server_hostname="localhost") as client:
            self.assertEqual(client.selected_alpn_protocol(), "http/1.1")
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual(client.recv(17), b"HTTP/1.1 200 OK\r\n")


def certify(queue: Queue) -> None:
    """Put a certificate for localhost, and its key, into the folder of a queue."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (queue.directory / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (queue.directory / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
