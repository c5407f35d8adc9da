"""
Random answers of workers, and random damage to them, in exactly the segments that are meant: the client gets what a
strict reader understands of them, or can tell that it gets nothing.
"""

from __future__ import annotations

from hypothesis import strategies as st
from twisted.internet.protocol import connectionDone
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tests.functional.looking import look
from tests.functional.mutations import CUTS, MUTATIONS, mutated, segments
from tests.functional.strict_answers import Answer, read_answer
from tests.functional.strict_reader import Refused
from tests.http1.test_server import ConnectionCase
from tqserver.errors import UpstreamFault
from tqserver.http1.client import HTTPClientConnection
from tqserver.http1.exchange import ServerExchange
from tqserver.http1.head import ResponseHead
from tqserver.http1.outbox import Outbox

HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization", "te", "trailer"}
    | {"upgrade", "transfer-encoding", "content-length", "date"}
)
"""Between neighbours, or ours to say."""

STATUSES = (b"200 OK", b"200", b"404 Not Found", b"302 Found", b"204 No Content", b"304 Not Modified", b"599 \xe4")

FIELDS = st.lists(
    st.sampled_from(
        [
            b"X: y",
            b"Set-Cookie: a=b",
            b"set-cookie: c",
            b"Location: /x",
            b"Empty:",
            b"Text:  \xc3\xa4 \t z ",
            b"Connection: keep-alive",
            b"Connection: x",
            b"Keep-Alive: timeout=5",
            b"Upgrade: h2c",
        ]
    ),
    max_size=5,
)

FRAMINGS = st.sampled_from(["length", "length", "chunks", "chunks", "end"])

BODIES = st.sampled_from([b"", b"hello", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\nX-Evil: yes\r\n\r\n", b"x" * 3000])

INTERIM = st.sampled_from(
    [b"", b"", b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"]
)

BEHIND = st.sampled_from([b"", b"", b"\r\n", b"HTTP/1.1 200 OK\r\nX-Evil: yes\r\nContent-Length: 0\r\n\r\n"])

METHODS = st.sampled_from([b"GET", b"GET", b"POST", b"HEAD"])


def on_the_wire(interim: bytes, status: bytes, fields: list[bytes], framing: str, body: bytes, behind: bytes) -> bytes:
    """An answer's bytes."""
    lines = [b"HTTP/1.1 " + status, *fields]
    if framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
    elif framing == "chunks":
        lines.append(b"Transfer-Encoding: chunked")
        half = len(body) // 2
        pieces = [piece for piece in (body[:half], body[half:]) if piece]
        body = b"".join(b"%x;a=b\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nT: t\r\n\r\n"
    return interim + b"\r\n".join([*lines, b"", body]) + behind


ANSWERS = st.builds(on_the_wire, INTERIM, st.sampled_from(STATUSES), FIELDS, FRAMINGS, BODIES, BEHIND)


def end_to_end(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The fields that go all the way."""
    options = {
        option.strip(" \t").lower() for name, value in headers if name == "connection" for option in value.split(",")
    }
    return [field for field in headers if field[0] not in HOP and field[0] not in options]


class Receiver:
    """Hands an answer to the client, as the front does."""

    def __init__(self, exchange: ServerExchange) -> None:
        self._exchange = exchange
        self.fault: UpstreamFault | None = None

    def response_interim(self, head: ResponseHead) -> None:
        if head.status != 100:
            self._exchange.inform(head)

    def response_head(self, head: ResponseHead, first: bytes) -> None:
        self._exchange.respond(head, None, first)

    def response_data(self, data: bytes) -> None:
        self._exchange.write(data)

    def response_end(self) -> None:
        self._exchange.finish()

    def response_whole(self, head: ResponseHead, body: bytes) -> None:
        self._exchange.answer(head, body)

    def response_failed(self, fault: UpstreamFault, untouched: bool) -> None:
        self.fault = fault
        if self._exchange.status:
            self._exchange.abort()
        else:
            self._exchange.answer(ResponseHead(502, b"", []), b"")


class DifferentialTests(SynchronousTestCase):
    """From the worker's bytes to the client's."""

    def passed(self, pieces: list[bytes], method: bytes) -> tuple[bytes, bool, bool]:
        """
        Give an answer in these segments, after which the worker closes.

        @return: what the client gets, whether it was cut off, and whether the answer came to its end.
        """
        client = ConnectionCase()
        client.connect()
        client.connection.dataReceived(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n")
        (exchange,) = client.recorder.exchanges
        receiver = Receiver(exchange)
        wire = StringTransport()
        connection = HTTPClientConnection(Outbox())
        connection.makeConnection(wire)
        connection.request(exchange.head, [], receiver, whole=True)
        for piece in pieces:
            if not wire.disconnected:
                connection.dataReceived(piece)
        connection.connectionLost(connectionDone)
        return client.wire.value(), client.wire.disconnected, receiver.fault is None

    def compare(self, data: bytes, pieces: list[bytes], method: bytes) -> None:
        """Check that the client gets what a strict reader reads in these bytes."""
        got, cut, whole = self.passed(pieces, method)
        try:
            expected = read_answer(data, method.decode(), ended=True)
        except Refused:
            expected = None
        if expected is None:
            self.assertFalse(whole)
        if not whole:
            # A 502 of our own, or a beginning of which the client can tell that it is no more.
            answer = None if cut else read_answer(got, method.decode(), ended=False)
            self.assertTrue(cut or (answer is not None and answer[0].status == 502))
            return
        assert expected is not None
        found = read_answer(got, method.decode(), ended=False)
        assert found is not None, got
        self.assertEqual(found[1], len(got), "nothing is behind the answer")
        self.assertEqual(self.meaning(found[0]), self.meaning(expected[0]))

    def meaning(
        self, answer: Answer
    ) -> tuple[int, list[tuple[str, str]], bytes, list[tuple[int, list[tuple[str, str]]]]]:
        """What must be the same at both sides."""
        interim = [(status, end_to_end(headers)) for status, headers in answer.interim if status != 100]
        return answer.status, end_to_end(answer.headers), answer.body, interim

    def test_meant(self) -> None:
        """A good answer arrives as it was meant, however it is framed and cut."""
        look(300, {"data": ANSWERS, "cuts": CUTS, "method": METHODS}, self.check_meant)

    def test_damaged(self) -> None:
        """What was damaged arrives as everybody would read it, or not at all; the segments do not matter."""
        strategies = {"data": ANSWERS, "steps": MUTATIONS, "cuts": CUTS, "method": METHODS}
        look(1000, strategies, self.check_damaged)

    def check_meant(self, data: bytes, cuts: list[int], method: bytes) -> None:
        """Pass on a good answer."""
        self.assertTrue(self.passed(segments(data, cuts), method)[2])
        self.compare(data, segments(data, cuts), method)

    def check_damaged(self, data: bytes, steps: list[tuple[str, int, object]], cuts: list[int], method: bytes) -> None:
        """Pass on a damaged answer."""
        data = mutated(data, steps)
        for pieces in (segments(data, cuts), segments(data, []), segments(data, list(range(400)))):
            self.compare(data, pieces, method)
