"""Tests of what workers are told about clients."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.front.fakes import request_head
from tqserver.front.forwarded import PEER as SERVER
from tqserver.front.forwarded import PEERS_REMEMBERED_MAX, Forwarding, is_kept
from tqserver.http1.head import Headers

PEER = "203.0.113.9"
PROXY = "10.0.0.5"

Fields = Sequence[tuple[bytes, bytes]]


def entropy(size: int) -> bytes:
    """Random bytes that are always the same."""
    return bytes((7 * index + 1) % 256 for index in range(size))


def forwarding(*trusted: str) -> Forwarding:
    """A forwarding that trusts these networks."""
    return Forwarding(trusted, entropy)


def rewritten(
    fields: Fields,
    peer: str = PEER,
    *,
    trusted: Sequence[str] = ("10.0.0.0/8",),
    scheme: bytes = b"http",
    prefix: bytes = b"/blog",
    host: bytes = b"example.test",
) -> tuple[dict[bytes, bytes], str, str]:
    """What a worker gets for these fields, with duplicates joined by a bar; the id, and the client."""
    head = request_head(headers=fields, host=host)
    headers, request_id, client = Forwarding(trusted, entropy).rewrite(head, peer, scheme, prefix)
    return joined(headers), request_id, client


def joined(headers: Headers) -> dict[bytes, bytes]:
    """Fields by name."""
    result: dict[bytes, bytes] = {}
    for name, value in headers:
        result[name] = result[name] + b"|" + value if name in result else value
    return result


class StrangerTests(SynchronousTestCase):
    """Requests from anybody."""

    def test_ours_are_told(self) -> None:
        """A worker learns address, scheme, host and mount point of every request."""
        told, _, client = rewritten([], scheme=b"https")
        self.assertEqual(told[b"x-forwarded-for"], b"203.0.113.9")
        self.assertEqual(told[b"x-real-ip"], b"203.0.113.9")
        self.assertEqual(told[b"x-forwarded-proto"], b"https")
        self.assertEqual(told[b"x-forwarded-host"], b"example.test")
        self.assertEqual(told[b"x-forwarded-prefix"], b"/blog")
        self.assertEqual(client, PEER)

    def test_claims_are_replaced(self) -> None:
        """Nobody can pretend to be somebody else, whatever header they say it with."""
        told, request_id, client = rewritten(
            [
                (b"x-forwarded-for", b"127.0.0.1"),
                (b"x-forwarded-for", b"10.0.0.1"),
                (b"x-real-ip", b"127.0.0.1"),
                (b"x-forwarded-proto", b"https"),
                (b"x-forwarded-host", b"bank.test"),
                (b"x-forwarded-port", b"443"),
                (b"x-forwarded-prefix", b"/admin"),
                (b"x-forwarded-ssl", b"on"),
                (b"forwarded", b"for=127.0.0.1;proto=https"),
                (b"x-request-id", b"mine"),
                (b"x-correlation-id", b"mine"),
            ]
        )
        self.assertEqual(told[b"x-forwarded-for"], b"203.0.113.9")
        self.assertEqual(told[b"x-real-ip"], b"203.0.113.9")
        self.assertEqual(told[b"x-forwarded-proto"], b"http")
        self.assertEqual(told[b"x-forwarded-host"], b"example.test")
        self.assertEqual(told[b"x-forwarded-prefix"], b"/blog")
        for name in (b"forwarded", b"x-forwarded-port", b"x-forwarded-ssl"):
            self.assertNotIn(name, told)
        self.assertEqual(told[b"x-request-id"], request_id.encode())
        self.assertNotEqual(request_id, "mine")
        self.assertEqual(client, PEER)

    def test_underscores(self) -> None:
        """A header that a CGI-like worker would confuse with one of ours is dropped, others may have
        underscores."""
        told, _, _ = rewritten(
            [
                (b"x_forwarded_for", b"127.0.0.1"),
                (b"x-forwarded_proto", b"https"),
                (b"x_real_ip", b"127.0.0.1"),
                (b"x_request-id", b"mine"),
                (b"content_length", b"5"),
                (b"transfer_encoding", b"chunked"),
                (b"my_own", b"1"),
            ],
            PROXY,
        )
        self.assertEqual([name for name in told if b"_" in name], [b"my_own"])

    def test_what_was_meant_for_us(self) -> None:
        """Fields about the connection between client and server go no further, nor does anything that they
        name."""
        told, _, _ = rewritten(
            [
                (b"connection", b"keep-alive, X-Secret-Hop"),
                (b"connection", b"x-other"),
                (b"keep-alive", b"timeout=5"),
                (b"x-secret-hop", b"1"),
                (b"x-other", b"1"),
                (b"proxy-authorization", b"Basic eA=="),
                (b"proxy-connection", b"keep-alive"),
                (b"proxy-anything", b"1"),
                (b"proxy", b"http://evil.test"),
                (b"te", b"trailers"),
                (b"trailer", b"x"),
                (b"transfer-encoding", b"chunked"),
                (b"upgrade", b"h2c"),
                (b"expect", b"100-continue"),
                (b"content-length", b"12"),
                (b"accept", b"*/*"),
            ]
        )
        ours = {name for name in told if name.startswith(b"x-") or name in (b"traceparent", b"host")}
        self.assertEqual(set(told) - ours, {b"accept"})
        self.assertNotIn(b"x-secret-hop", told)
        self.assertNotIn(b"x-other", told)

    def test_connection_takes_nothing_of_ours(self) -> None:
        """A client cannot have our own words removed by naming them in Connection."""
        told, _, _ = rewritten([(b"connection", b"host, x-forwarded-for, x-real-ip, traceparent, cookie")])
        self.assertEqual(told[b"host"], b"example.test")
        self.assertEqual(told[b"x-forwarded-for"], b"203.0.113.9")
        self.assertEqual(told[b"x-real-ip"], b"203.0.113.9")
        self.assertIn(b"traceparent", told)

    def test_the_rest_is_kept_in_order(self) -> None:
        """Everything else reaches the worker as it was, duplicates and bytes above ASCII included; Host
        comes first."""
        fields = [(b"a", b"1"), (b"cookie", b"x=\xff"), (b"a", b"2"), (b"authorization", b"Basic eA==")]
        headers, _, _ = forwarding().rewrite(request_head(headers=fields), PEER, b"http", b"/")
        self.assertEqual(headers[:5], [(b"host", b"example.test"), *fields])

    def test_host_of_an_absolute_target(self) -> None:
        """The worker is told the host that the request is for, once, even if the Host field says another."""
        head = request_head(headers=[(b"host", b"other.test")], host=b"example.test")
        headers, _, _ = forwarding().rewrite(head, PEER, b"http", b"/")
        self.assertEqual([value for name, value in headers if name == b"host"], [b"example.test"])

    def test_root(self) -> None:
        """A worker at the root is told so."""
        self.assertEqual(rewritten([], prefix=b"/")[0][b"x-forwarded-prefix"], b"/")
        self.assertEqual(rewritten([], prefix=b"")[0][b"x-forwarded-prefix"], b"/")

    def test_addresses(self) -> None:
        """An IPv4 client on a dual-stack socket is an IPv4 client; IPv6 is written without brackets."""
        self.assertEqual(rewritten([], "::ffff:203.0.113.9")[0][b"x-forwarded-for"], b"203.0.113.9")
        self.assertEqual(rewritten([], "2001:DB8::1")[0][b"x-forwarded-for"], b"2001:db8::1")
        self.assertEqual(rewritten([], "::ffff:203.0.113.9")[2], "203.0.113.9")

    def test_unix_socket(self) -> None:
        """A client on a UNIX socket has no address, and nothing is made up; its word counts only if that
        was said."""
        fields = [(b"x-forwarded-for", b"198.51.100.1")]
        told, _, client = rewritten(fields, "")
        self.assertNotIn(b"x-forwarded-for", told)
        self.assertEqual(client, "")
        told, _, client = rewritten(fields, "", trusted=["unix"])
        self.assertEqual(told[b"x-forwarded-for"], b"198.51.100.1")
        self.assertEqual(client, "198.51.100.1")

    def test_many_peers(self) -> None:
        """A server that has seen very many clients still tells them apart, and remembers only some."""
        subject = forwarding("10.0.0.0/8")
        for number in range(PEERS_REMEMBERED_MAX + 10):
            peer = f"203.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            self.assertEqual(subject.identify(request_head(), peer)[1], peer)
        self.assertLessEqual(len(subject._peers), PEERS_REMEMBERED_MAX)
        self.assertTrue(subject.is_trusted("10.1.2.3"))


class TrustedTests(SynchronousTestCase):
    """Requests that come through a proxy of ours."""

    def test_appended(self) -> None:
        """What a trusted proxy says is kept, and its own address is added."""
        told, request_id, client = rewritten(
            [
                (b"x-forwarded-for", b"198.51.100.1"),
                (b"x-forwarded-proto", b"https"),
                (b"x-forwarded-host", b"shop.test"),
                (b"x-forwarded-prefix", b"/outer/"),
                (b"x-request-id", b"abc-1.2_3"),
            ],
            PROXY,
        )
        self.assertEqual(told[b"x-forwarded-for"], b"198.51.100.1, 10.0.0.5")
        self.assertEqual(told[b"x-real-ip"], b"198.51.100.1")
        self.assertEqual(told[b"x-forwarded-proto"], b"https")
        self.assertEqual(told[b"x-forwarded-host"], b"shop.test")
        self.assertEqual(told[b"x-forwarded-prefix"], b"/outer/blog")
        self.assertEqual((told[b"x-request-id"], told[b"x-correlation-id"]), (b"abc-1.2_3", b"abc-1.2_3"))
        self.assertEqual(request_id, "abc-1.2_3")
        self.assertEqual(client, "198.51.100.1")

    def test_client_is_the_last_stranger(self) -> None:
        """The client is the last address that no proxy of ours has; what stands before it anybody may have
        written."""
        for value, client in [
            (b"1.1.1.1, 198.51.100.1", "198.51.100.1"),
            (b"1.1.1.1, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
            (b"10.1.1.1, 10.9.9.9", "10.1.1.1"),
            (b"evil, 10.9.9.9", "10.9.9.9"),
            (b"198.51.100.1:4711", "198.51.100.1"),
            (b'"[2001:db8::1]:4711"', "2001:db8::1"),
            (b"", PROXY),
            (b"unknown", PROXY),
        ]:
            head = request_head(headers=[(b"x-forwarded-for", value)])
            self.assertEqual(forwarding("10.0.0.0/8").identify(head, PROXY)[1], client, value)

    def test_endless_chain(self) -> None:
        """A chain that is longer than any real one costs no time."""
        head = request_head(headers=[(b"x-forwarded-for", b",".join([b"1.2.3.4"] + [b"10.0.0.1"] * 2000))])
        self.assertEqual(forwarding("10.0.0.0/8").identify(head, PROXY)[1], "10.0.0.1")

    def test_several_fields(self) -> None:
        """A chain that is spread over several fields is one chain."""
        fields = [(b"x-forwarded-for", b"198.51.100.1"), (b"x-forwarded-for", b"10.0.0.7")]
        told, _, client = rewritten(fields, PROXY)
        self.assertEqual(told[b"x-forwarded-for"], b"198.51.100.1, 10.0.0.7, 10.0.0.5")
        self.assertEqual(client, "198.51.100.1")

    def test_nonsense_is_not_believed(self) -> None:
        """A trusted proxy that passes nonsense on does not get it through."""
        told, request_id, _ = rewritten(
            [
                (b"x-forwarded-proto", b"gopher"),
                (b"x-forwarded-host", b"a b<script>"),
                (b"x-forwarded-prefix", b"not a path"),
                (b"x-request-id", b"x" * 129),
            ],
            PROXY,
        )
        self.assertEqual(told[b"x-forwarded-proto"], b"http")
        self.assertEqual(told[b"x-forwarded-host"], b"example.test")
        self.assertEqual(told[b"x-forwarded-prefix"], b"/blog")
        self.assertNotIn("x" * 129, request_id)

    def test_forwarded(self) -> None:
        """The standard's own field is understood when it is the only one, and reaches workers in the usual
        words."""
        value = b'for=1.1.1.1, for="[2001:db8::7]:99";proto=https;host="shop.test:8443", FOR=10.0.0.9'
        told, _, client = rewritten([(b"forwarded", value)], PROXY)
        self.assertEqual(client, "2001:db8::7")
        self.assertEqual(told[b"x-forwarded-for"], b"1.1.1.1, 2001:db8::7, 10.0.0.9, 10.0.0.5")
        self.assertEqual(told[b"x-forwarded-proto"], b"https")
        self.assertEqual(told[b"x-forwarded-host"], b"shop.test:8443")
        self.assertNotIn(b"forwarded", told)

    def test_both_kinds(self) -> None:
        """Where the two fields could contradict each other, only one is believed."""
        fields = [(b"forwarded", b"for=1.1.1.1"), (b"x-forwarded-for", b"198.51.100.1")]
        self.assertEqual(rewritten(fields, PROXY)[2], "198.51.100.1")

    def test_malformed_forwarded(self) -> None:
        """A malformed Forwarded says nothing."""
        for value in (b"for=1.1.1.1 for=2.2.2.2", b'for="1.1.1.1', b"=", b"\xff"):
            self.assertEqual(rewritten([(b"forwarded", value)], PROXY)[2], PROXY, value)

    def test_networks(self) -> None:
        """Networks and single addresses of both families can be trusted; anything else is an error."""
        subject = forwarding("10.0.0.0/8", "fd00::/8", "192.0.2.1")
        for peer, trusted in [
            ("10.255.0.1", True),
            ("::ffff:10.1.1.1", True),
            ("fd12::1", True),
            ("192.0.2.1", True),
            ("192.0.2.2", False),
            ("11.0.0.1", False),
            ("fe80::1%eth0", False),
            ("", False),
        ]:
            self.assertEqual(subject.is_trusted(peer), trusted, peer)
        self.assertRaises(ValueError, forwarding, "example.test")


class IdTests(SynchronousTestCase):
    """Ids of requests and traces."""

    def test_new_ids_differ(self) -> None:
        """Every request has an id of its own, made of harmless characters."""
        subject = forwarding()
        ids = {subject.identify(request_head(), PEER)[0] for _ in range(100)}
        self.assertEqual(len(ids), 100)
        for request_id in ids:
            self.assertRegex(request_id, r"\A[A-Za-z0-9._-]{1,128}\Z")

    def test_processes_differ(self) -> None:
        """Two fronts never give the same id."""
        first = Forwarding([], lambda size: b"\1" * size).new_request_id()
        second = Forwarding([], lambda size: b"\2" * size).new_request_id()
        self.assertNotEqual(first, second)

    def test_same_id_all_the_way(self) -> None:
        """The id that was given at the door is the one that the worker gets."""
        subject = forwarding("10.0.0.0/8")
        head = request_head(headers=[(b"x-request-id", b"theirs")])
        for peer in (PEER, PROXY):
            request_id, _ = subject.identify(head, peer)
            headers, same, _ = subject.rewrite(head, peer, b"http", b"/", request_id)
            self.assertEqual(same, request_id)
            self.assertEqual(joined(headers)[b"x-request-id"], request_id.encode())

    def test_trace_goes_on(self) -> None:
        """A valid trace is passed on as it is, with its state."""
        parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        told, _, _ = rewritten([(b"traceparent", parent), (b"tracestate", b"a=1"), (b"tracestate", b"b=2")])
        self.assertEqual(told[b"traceparent"], parent)
        self.assertEqual(told[b"tracestate"], b"a=1|b=2")
        later = b"cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes"
        self.assertEqual(rewritten([(b"traceparent", later)])[0][b"traceparent"], later)

    def test_trace_begins(self) -> None:
        """A request without a valid trace gets a new one, and no state of another."""
        good = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        for fields in [
            [],
            [(b"traceparent", good.upper())],
            [(b"traceparent", good + b"-more")],
            [(b"traceparent", b"ff" + good[2:])],
            [(b"traceparent", b"00-" + b"0" * 32 + good[35:])],
            [(b"traceparent", good[:36] + b"0" * 16 + b"-01")],
            [(b"traceparent", good), (b"traceparent", good)],
            [(b"tracestate", b"a=1")],
        ]:
            told, _, _ = rewritten(fields)
            self.assertRegex(told[b"traceparent"], rb"\A00-[0-9a-f]{32}-[0-9a-f]{16}-01\Z")
            self.assertNotEqual(told[b"traceparent"], good)
            self.assertNotIn(b"tracestate", told)

    def test_traces_differ(self) -> None:
        """Each new trace has an id of its own, and none is all zeros."""
        subject = Forwarding(
            [], lambda size: bytes(min(size, 24)) + bytes(index % 255 + 1 for index in range(size - 24))
        )
        traces = set()
        for _ in range(10):
            headers, _, _ = subject.rewrite(request_head(), PEER, b"http", b"/")
            traces.add(joined(headers)[b"traceparent"])
        self.assertEqual(len(traces), 10)
        self.assertFalse(any(b"-" + b"0" * 32 in trace or b"-" + b"0" * 16 + b"-" in trace for trace in traces))


NAMES = st.sampled_from(
    [
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-prefix",
        b"x_forwarded_for",
        b"forwarded",
        b"x-real-ip",
        b"x-request-id",
        b"traceparent",
        b"tracestate",
        b"connection",
        b"host",
        b"accept",
    ]
)
VALUES = st.one_of(
    st.binary(max_size=40).map(lambda value: bytes(byte for byte in value if byte >= 32 and byte != 127)),
    st.lists(
        st.sampled_from([b"10.0.0.1", b"198.51.100.1", b"for=", b'"', b"\\", b";", b",", b"[::1]", b":1", b" "]),
        max_size=8,
    ).map(b"".join),
)


class AnythingTests(SynchronousTestCase):
    """Whatever comes."""

    @settings(derandomize=True, deadline=None, max_examples=150)
    @given(st.lists(st.tuples(NAMES, VALUES), max_size=8), st.sampled_from([PEER, PROXY, ""]))
    def test_always_whole(self, fields: list[tuple[bytes, bytes]], peer: str) -> None:
        """A worker can rely on each of our fields: there once, and valid, whatever the client sent."""
        headers, request_id, client = forwarding("10.0.0.0/8").rewrite(
            request_head(headers=fields), peer, b"http", b"/blog"
        )
        names = [name for name, _ in headers]
        for name in (
            b"host",
            b"x-forwarded-proto",
            b"x-forwarded-host",
            b"x-forwarded-prefix",
            b"x-request-id",
            b"x-correlation-id",
            b"traceparent",
        ):
            self.assertEqual(names.count(name), 1, name)
        told = dict(headers)
        self.assertIn(told[b"x-forwarded-proto"], (b"http", b"https"))
        self.assertTrue(told[b"x-forwarded-prefix"].endswith(b"/blog"))
        self.assertEqual(told[b"x-request-id"], request_id.encode())
        self.assertNotIn(b"connection", told)
        self.assertNotIn(b"forwarded", told)
        self.assertNotIn(b"x_forwarded_for", told)
        if peer == PEER:
            self.assertEqual((told[b"x-forwarded-for"], client), (PEER.encode(), PEER))
        for _, value in headers:
            self.assertNotIn(b"\n", value)


TASK: Fields = ((b"x-task-id", b"t1"), (b"x-task-attempt", b"2"), (b"x-task-queue", b"emails"))


class TaskTests(SynchronousTestCase):
    """Requests that are tasks."""

    def test_from_the_server(self) -> None:
        """A worker can believe what says that a request is a task; and who sends it can speak for a client."""
        fields = (
            *TASK,
            (b"x-forwarded-for", b"192.0.2.7"),
            (b"x-request-id", b"mine"),
            (b"x-forwarded-proto", b"https"),
        )
        told, request_id, client = rewritten(fields, SERVER)
        for name, value in fields:
            self.assertEqual(told[name], value)
        self.assertEqual((request_id, client), ("mine", "192.0.2.7"))
        self.assertEqual(forwarding().identify(request_head(headers=fields), SERVER), ("mine", "192.0.2.7"))

    def test_from_the_server_itself(self) -> None:
        """A task of nobody's is told as that: no address is made up."""
        told, _, client = rewritten(TASK, SERVER)
        self.assertEqual(client, "")
        self.assertNotIn(b"x-forwarded-for", told)
        self.assertNotIn(b"x-real-ip", told)
        self.assertEqual(told[b"x-forwarded-host"], b"example.test")

    def test_from_others(self) -> None:
        """Nobody else can say so: no stranger, no trusted proxy, and nobody on another UNIX socket."""
        spelled = tuple((name.replace(b"-", b"_"), value) for name, value in TASK)
        for peer in (PEER, PROXY, "", "server", "(Server)"):
            told, _, _ = rewritten((*TASK, *spelled), peer, trusted=("10.0.0.0/8", "unix"))
            self.assertEqual([name for name in told if b"task" in name], [], peer)

    def test_lines(self) -> None:
        """What goes over the wire is the same."""
        head = request_head(headers=TASK)
        for peer, passed in ((PEER, False), (PROXY, False), ("", False), (SERVER, True)):
            lines = b"".join(forwarding("10.0.0.0/8", "unix").lines(head, peer, b"http", b"/", "id"))
            self.assertEqual(b"x-task-id: t1\r\n" in lines, passed, peer)
            self.assertEqual(b"x-task-" in lines, passed, peer)

    def test_usual_task(self) -> None:
        """A usual task is written in a shorter way, and nothing about it is different."""
        for fields in (
            TASK,
            (*TASK, (b"x-request-id", b"t1"), (b"content-type", b"text/plain"), (b"content-length", b"4")),
            (*TASK, (b"x-forwarded-for", b"192.0.2.7")),
            (*TASK, (b"connection", b"keep-alive"), (b"x_task_id", b"2")),
        ):
            head = request_head(headers=fields)
            for prefix in (b"/", b"/api"):
                made = forwarding()
                request_id, _ = made.identify(head, SERVER)
                wanted, _, _ = made.rewrite(head, SERVER, b"http", prefix, request_id)
                for _ in range(2):
                    lines = b"".join(made.lines(head, SERVER, b"http", prefix, request_id)).split(b"\r\n")[:-1]
                    told = dict(line.split(b": ", 1) for line in lines)
                    self.assertEqual(len(lines), len(wanted))
                    told.pop(b"traceparent")
                    self.assertEqual(told, {name: value for name, value in wanted if name != b"traceparent"})

    def test_scripts(self) -> None:
        """A script is told no more than other workers are."""
        self.assertEqual([is_kept(name) for name, _ in TASK], [False] * 3)
        self.assertFalse(is_kept(b"x_task_id"))
        self.assertTrue(is_kept(b"x-task-color"))
