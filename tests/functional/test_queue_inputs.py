"""Whatever a client sends to a queue service is answered as its description says, and never with our mistake."""

from __future__ import annotations

import json
import string
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.wire import Connection, Response

from .openapi import Description, Operation, bad, conforms, good, mangled
from .queues import QueueCase

TQS = tuple(Description("tqs").operations())
ZAPQ = tuple(Description("zapq").operations())

EXAMPLES = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)

QUEUE = "q"
LEASE = "00000000-0000-8001-9115-5102338ba40d"

NUMBERS = st.one_of(
    st.integers(),
    st.integers(-(10**40), 10**40),
    st.integers(0, 200),
    st.text(string.digits + "+-._eEx ", max_size=8),
    st.text(max_size=8),
    st.sampled_from(["", "9" * 3000, "-" + "9" * 3000, "0" * 3000, "1_0", "\uff15", "true", "None", "1e3", "0x10"]),
)
NAMES = st.one_of(
    st.text(max_size=100),
    st.sampled_from(
        ["nope", "..", ".", "-", " ", "a/b", "q/", "Q", "q\0", "x" * 5000, "x" * 8000, "%", "\u212a", "\ud7ff"]
    ),
).filter(lambda name: name not in ("", QUEUE))


class InputsCase(QueueCase):
    """One process, which is asked everything."""

    api = ""
    more: tuple[str, ...] = ()

    def setUp(self) -> None:
        self.running = self.queue("--api", self.api, *self.more)
        self.connection: Connection = self.running.connection()
        self.addCleanup(self.connection.close)

        self.addCleanup(self.check)

    def check(self) -> None:
        """Whatever has been asked, nothing of ours went wrong by it, and it still serves."""
        self.assertNotIn("Traceback", self.running.output())
        self.assertEqual(self.running.stop(), 0)

    def announce(self, method: str, target: str, length: int) -> int:
        """
        Announce a body without sending it.

        @return: the status of the answer.
        """
        with self.running.raw() as client:
            client.sendall(f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode())
            line = client.makefile("rb").readline()
        return int(line.split()[1])

    def ask(self, method: str, target: str, body: bytes | None = None, headers: str = "") -> Response:
        return self.connection.ask(method, target, body, headers)


def target(path: str, query: dict[str, Any]) -> str:
    """A target; what cannot be encoded is left out."""
    pairs = {key: str(value).encode("utf-8", "replace") for key, value in query.items()}
    return path + ("?" + urlencode(pairs) if pairs else "")


class TqsInputs(InputsCase):
    """TQS."""

    api = "tqs"
    more = ("--store", "memory")

    def setUp(self) -> None:
        super().setUp()
        self.running.did("POST", "/queues", {"name": QUEUE})

    def judge(self, operation: Operation, response: Response) -> None:
        """An answer is one of those that are described, and looks as described."""
        self.assertIn(response.status, operation.responses, (operation.method, operation.path, response))
        ((kind, content),) = operation.responses[response.status]["content"].items()
        self.assertEqual(response.headers["content-type"].split(";")[0], kind)
        if kind != "application/json":
            return
        schema = content["schema"]
        self.assertTrue(conforms(schema, json.loads(response.body)), response)

    def refused(self, operation: Operation, response: Response, *statuses: int) -> None:
        """The same, of a request that is bad."""
        self.judge(operation, response)
        self.assertIn(response.status, statuses, response)

    def path(self, operation: Operation) -> str:
        return operation.at(queue=QUEUE, lease=LEASE)

    @EXAMPLES
    @given(st.data())
    def test_bodies(self, data: st.DataObject) -> None:
        """Values of the wrong type, out of range or missing are told from good ones, wherever they are."""
        operation = data.draw(st.sampled_from([each for each in TQS if each.body is not None]))
        assert operation.body is not None
        value = data.draw(bad(operation.body))
        response = self.ask(operation.method, self.path(operation), json.dumps(value).encode())
        self.refused(operation, response, 400, 413)

    @EXAMPLES
    @given(st.data())
    def test_mangled(self, data: st.DataObject) -> None:
        """What is no JSON, no UTF-8, or nested without end is refused."""
        operation = data.draw(st.sampled_from([each for each in TQS if each.body is not None]))
        assert operation.body is not None
        chunked = "Transfer-Encoding: chunked\r\n" if data.draw(st.booleans()) else ""
        response = self.ask(operation.method, self.path(operation), data.draw(mangled(operation.body)), chunked)
        self.refused(operation, response, 400, 413)

    def test_sizes(self) -> None:
        """A body that is larger than an operation takes is refused, announced or not."""
        for operation in TQS:
            if operation.body is not None:
                body = b" " * (operation.body_bytes_max + 1)
                self.assertEqual(self.announce(operation.method, self.path(operation), len(body)), 413)
                response = self.ask(operation.method, self.path(operation), body, "Transfer-Encoding: chunked\r\n")
                self.refused(operation, response, 413)
                response = self.ask(operation.method, self.path(operation), body[1:])
                self.refused(operation, response, 400)

    @EXAMPLES
    @given(st.data())
    def test_queries(self, data: st.DataObject) -> None:
        """Whatever a query says is cut, ignored or refused, as the description says."""
        operation = data.draw(st.sampled_from([each for each in TQS if each.parameters]))
        known = {each["name"]: each["schema"] for each in operation.parameters if each["name"] != "wait_time"}
        query = data.draw(st.dictionaries(st.sampled_from(sorted(known)), NUMBERS, min_size=1, max_size=3))
        query.update(data.draw(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2)))
        query.pop("wait_time", None)
        asked = target(self.path(operation), query)
        if len(asked) > 8000:
            return
        response = self.ask(operation.method, asked)
        self.judge(operation, response)
        fine = all(self.fits(known[name], value, query) for name, value in query.items() if name in known)
        self.assertEqual(response.status, 200 if fine else 400, (query, response))

    def fits(self, schema: dict[str, Any], value: object, query: dict[str, Any]) -> bool:
        """Whether a value of a query is one that a schema allows, or that is cut to it."""
        text = str(value).encode("utf-8", "replace").decode()
        if schema["type"] == "string":
            return text.lower() in schema["enum"]
        if schema["x-cut-to"] == 43_200 and "visibility_timeout" in query and value is not query["visibility_timeout"]:
            return True  # The old spelling is not looked at.
        digits = text[1:] if text.startswith("-") else text
        if not digits.isascii() or not digits.isdigit():
            return False
        number = int(digits.lstrip("0")[:50] or "0") * (-1 if text.startswith("-") else 1)
        return bool(number >= schema["minimum"])

    def test_malformed_queries(self) -> None:
        """A query that is malformed is refused, by all who read one."""
        for operation in TQS:
            if operation.parameters:
                name = operation.parameters[0]["name"]
                for query in (f"{name}=%", f"{name}=%zz", f"{name}=%ff", f"{name}=1&{name}=1", "&" * 500):
                    self.refused(operation, self.ask(operation.method, f"{self.path(operation)}?{query}"), 400)

    def refused_path(self, path: str, response: Response) -> None:
        """There is nothing at a path, or it is none that anybody may ask for."""
        status = 414 if len(path) > 9000 else 400 if "%00" in path else 404
        self.assertEqual((response.status, list(json.loads(response.body))), (status, ["error"]), path)

    @EXAMPLES
    @given(st.data())
    def test_names(self, data: st.DataObject) -> None:
        """Names of queues and leases that there are not are 404, whatever characters are in them."""
        operation = data.draw(st.sampled_from([each for each in TQS if each.arguments]))
        name = quote(data.draw(NAMES).encode("utf-8", "replace"), safe="")
        if operation.path.endswith("{lease}") and data.draw(st.booleans()):
            path = f"/queues/{QUEUE}/leases/{name}"
        else:
            path = operation.path.replace("{queue}", name).replace("{lease}", LEASE)
        body = None if operation.body is None else json.dumps(data.draw(good(operation.body))).encode()
        self.refused_path(path, self.ask(operation.method, path, body))

    @EXAMPLES
    @given(st.sampled_from(TQS), st.binary(max_size=30))
    def test_raw_paths(self, operation: Operation, data: bytes) -> None:
        """A path that is encoded in odd ways, or not at all, is 404."""
        encoded = "".join(f"%{byte:02x}" for byte in data)
        path = f"/queues/{encoded}%ff/x"
        self.refused_path(path, self.ask(operation.method, path))

    @EXAMPLES
    @given(st.data())
    def test_good(self, data: st.DataObject) -> None:
        """What the description allows is done, at the edges of every range as well."""
        operation = data.draw(st.sampled_from([each for each in TQS if each.path != "/queues/{queue}/leases/{lease}"]))
        if operation.method == "DELETE" and operation.path == "/queues/{queue}":
            return
        body = None if operation.body is None else json.dumps(data.draw(good(operation.body))).encode()
        query = {
            each["name"]: data.draw(good(each["schema"]))
            for each in operation.parameters
            if each["name"] != "wait_time" and data.draw(st.booleans())
        }
        response = self.ask(operation.method, target(self.path(operation), query), body)
        self.judge(operation, response)
        made_before = operation.path == "/queues" and response.status == 409
        self.assertTrue(response.status == 200 or made_before, response)

    def test_methods(self) -> None:
        """A method that a path does not have is 405, with those that it has."""
        for path in {each.path for each in TQS}:
            allowed = {each.method for each in TQS if each.path == path}
            for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
                if method not in allowed:
                    response = self.ask(method, path.replace("{queue}", QUEUE).replace("{lease}", LEASE), b"{}")
                    self.assertEqual((response.status, list(json.loads(response.body))), (405, ["error"]))
                    self.assertEqual(set(response.headers["allow"].split(", ")) - {"HEAD"}, allowed)
        self.assertEqual(self.ask("BREW", "/queues").status, 501)


class ZapqInputs(InputsCase):
    """ZapQ."""

    api = "zapq"
    more = ("--max-msgs", "20")

    def judge(self, operation: Operation, response: Response) -> None:
        self.assertIn(response.status, operation.responses, (operation.method, operation.path, response))
        self.assertTrue(response.headers["x-trace-id"])
        content = operation.responses[response.status].get("content", {})
        if "application/json" in content:
            self.assertTrue(conforms(content["application/json"]["schema"], json.loads(response.body)), response)
        elif content:
            self.assertEqual(response.headers["content-type"].split(";")[0], next(iter(content)))
        else:
            self.assertEqual(response.body, b"")

    @EXAMPLES
    @given(st.sampled_from(ZAPQ), st.binary(max_size=300), NAMES, st.text(max_size=150))
    def test_anything(self, operation: Operation, body: bytes, file: str, trace: str) -> None:
        """Whatever is sent, the answer is one of those that are described; no file name leads out of the folder."""
        value = "".join(each for each in trace if each in string.printable[:95]).strip()
        path = target(operation.path, {"file": file} if operation.parameters else {})[:8000]
        response = self.ask(
            operation.method, path, body if operation.method == "POST" else None, f"X-Trace-Id: {value}\r\n"
        )
        self.judge(operation, response)
        if operation.parameters and not conforms(operation.parameters[0]["schema"], file):
            self.assertEqual(response.status, 400, (file, response))
        outside = {path.name for path in self.running.directory.iterdir()}
        self.assertEqual(outside, {"data", "out"})

    def test_queries(self) -> None:
        """A query that names no file, or is malformed, is refused."""
        for operation in ZAPQ:
            if operation.parameters:
                for query in (
                    "",
                    "?",
                    "?file",
                    "?file=",
                    "?file=%zz",
                    "?file=%ff",
                    "?file=a&file=a",
                    "?File=a",
                    "?" + "&" * 500,
                ):
                    response = self.ask(operation.method, operation.path + query)
                    self.judge(operation, response)
                    self.assertEqual(response.status, 400)

    def test_sizes(self) -> None:
        """A message may have so many bytes, announced or not, and not one more."""
        for headers in ("", "Transfer-Encoding: chunked\r\n"):
            for size, status in ((131_072, 202), (131_073, 413), (3_000_000, 413)):
                self.assertEqual(self.ask("POST", "/enqueue", b"x" * size, headers).status, status)

    def test_methods(self) -> None:
        """A method that a path does not have is 405."""
        for operation in ZAPQ:
            for method in {"GET", "POST", "PUT", "DELETE", "PATCH"} - {operation.method}:
                self.assertEqual(self.ask(method, operation.path).status, 405)
        unknown = self.ask("BREW", "/health")
        self.assertEqual((unknown.status, unknown.headers["content-type"].split(";")[0]), (501, "text/plain"))
