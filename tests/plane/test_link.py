"""The pipe between the planes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.protocol import connectionDone
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from tqserver.plane.link import MESSAGE_BYTES_MAX, Link, LinkFault, downward, encode, upward
from tqserver.plane.messages import (
    Applied,
    Drained,
    Endpoint,
    EndpointLoad,
    FastCGITarget,
    FrontStopped,
    HTTPSettings,
    Load,
    Message,
    ReopenLogs,
    Retire,
    Route,
    Routing,
    Started,
    Upward,
    Wanted,
    WorkerLoad,
    WorkerRouting,
    WorkerSaid,
)

ROUTING = Routing(
    version=7,
    http=HTTPSettings(development=True, trusted_proxies=("10.0.0.0/8",)),
    routes=(Route(prefix="/", worker="index"), Route(prefix="/blog", worker="blog", host="a.test")),
    workers=(
        WorkerRouting(name="index", type="go", endpoints=(Endpoint(id="index.1.1", host="127.0.0.1", port=9000),)),
        WorkerRouting(
            name="blog", type="php", protocol="fastcgi", closed="not built", fastcgi=FastCGITarget(document_root="/x")
        ),
    ),
)
DOWN: list[Message] = [ROUTING, Retire(timeout_s=1.5, close_listeners=True), ReopenLogs()]
UP: list[Message] = [
    Started(pid=1),
    Applied(version=7),
    Drained(endpoint="index.1.1", version=8),
    Wanted(worker="blog", waiting=3, oldest_s=0.25),
    Load(endpoints=(EndpointLoad(id="a", in_flight=1),), workers=(WorkerLoad(name="b", latency=(1, 2)),)),
    WorkerSaid(worker="blog", request_id="x-1", line="PHP Notice: ünï"),
    FrontStopped(cut=2),
]


class CodecTests(SynchronousTestCase):
    """What is said arrives."""

    @settings(max_examples=40, derandomize=True, deadline=None)
    @given(st.lists(st.integers(0, 2000), max_size=20))
    def test_split_anywhere(self, cuts: list[int]) -> None:
        """However the bytes are split, the same messages arrive in the same order, both ways."""
        for decoder, messages in [(downward(), DOWN), (upward(), UP)]:
            stream = b"".join(map(encode, messages))
            bounds = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
            got: list[object] = []
            for start, end in pairwise(bounds):
                got += decoder.feed(stream[start:end])
            self.assertEqual(got, messages)

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(st.binary(max_size=200))
    def test_garbage(self, data: bytes) -> None:
        """Anything else is a fault of the link, or not yet a message."""
        try:
            upward().feed(data)
        except LinkFault:
            pass

    def test_wrong_plane(self) -> None:
        """A front does not take what only fronts say, and the length of a message is bounded."""
        self.assertRaises(LinkFault, downward().feed, encode(Started(pid=1)))
        self.assertRaises(LinkFault, downward().feed, (MESSAGE_BYTES_MAX + 1).to_bytes(4, "big"))


class LinkTests(SynchronousTestCase):
    """The protocol around the codec."""

    def test_both_ways(self) -> None:
        """Messages go both ways until the other end is gone, which is told once."""
        got: list[Upward] = []
        lost: list[str] = []
        link = Link(upward(), got.append, lambda: lost.append("lost"))
        link.send(ROUTING)
        wire = StringTransport()
        link.makeConnection(wire)
        link.send(ROUTING)
        self.assertEqual(downward().feed(wire.value()), [ROUTING])
        link.dataReceived(encode(Started(pid=5)))
        self.assertEqual(got, [Started(pid=5)])
        link.connectionLost(connectionDone)
        self.assertEqual(lost, ["lost"])
