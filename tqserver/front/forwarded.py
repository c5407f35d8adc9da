"""
What a worker is told of a request: the client's header fields, without what was only meant for us and
without what a client may not say, and with our own words about who asks, for what address, under which
name. Pure.

The fields that carry identity (C{X-Forwarded-*}, C{X-Real-IP}, C{X-Request-ID}) are believed from a peer in
a trusted network and replaced from everybody else, also when they are spelled with an underscore, which
many workers cannot tell from a dash. The fields that say that a request is a task (C{X-Task-Id} and others)
are passed on only from a process of the server.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import count

from attrs import frozen

from ..http1.head import Headers, RequestHead
from ..http1.hop import HOP_BY_HOP, connection_options
from ..plane.task_fields import TASK_ATTEMPT, TASK_FIELDS, TASK_ID
from .claims import Address, Claims, address_of, claims_of, is_claim, mounted
from .task_seen import TaskHead

PEER = "(server)"
"""The peer of connections that only processes of the server can open; no address is written like that."""

PEERS_REMEMBERED_MAX = 4096
"""Peers whose address was parsed already; when there are more, all are forgotten and it begins anew."""

NAMES_REMEMBERED_MAX = 1024
"""Header names that were judged already. A client that invents names fills this once and then only costs
itself."""

NAME_BYTES_REMEMBERED_MAX = 64
"""Longer ones are not remembered: nobody uses them, and a client may make one of some kilobytes."""

HOPS_MAX = 32
"""Addresses of an C{X-Forwarded-For} that are looked at, from the right; a chain of trusted proxies is
shorter."""

TRACES_AT_ONCE = 64
"""So many trace and parent ids are drawn at once."""

TRACE_BYTES = 24
"""Random bytes of a trace id and a parent id."""

_NO_ID = 16 * "0"
"""Hexadecimal digits of a parent id, and some of a trace id, that is none."""

TOLD_REMEMBERED_MAX = 4096
"""Combinations of peer, scheme, host and prefix whose fields were written already. A client that invents hosts fills
this and then only costs itself."""

WRITTEN_REMEMBERED_MAX = 512
"""
Combinations of fields that came before, peer, scheme and prefix that were written for a worker already, in some
kilobytes each.
"""

PERSISTENCE = frozenset([b"keep-alive", b"close", b"Keep-Alive", b"Close"])
"""Values of C{Connection} that name no field."""

_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]*)?")
"""W3C Trace Context, section 3.2: versions that are not known yet may be longer."""

_Network = IPv4Network | IPv6Network


class _Fate(enum.Enum):
    """What becomes of a client's header field."""

    KEEP = enum.auto()
    """Passed on as it is."""
    DROP = enum.auto()
    """Never passed on: meant for us, or not to be believed from anybody."""
    CONNECTION = enum.auto()
    """Not passed on, and names others that are not."""
    CLAIM = enum.auto()
    """Says who the client is: believed from trusted peers only, and always written anew."""
    TRACE = enum.auto()
    """C{traceparent} and C{tracestate}: passed on if they are valid."""
    TASK = enum.auto()
    """Says which task the request is: passed on from processes of the server, and from nobody else."""


_KEEP, _DROP, _CONNECTION, _TRACE, _TASK = _Fate.KEEP, _Fate.DROP, _Fate.CONNECTION, _Fate.TRACE, _Fate.TASK

_IN_TOLD = frozenset([TASK_ID, TASK_ATTEMPT, b"x-request-id"])
"""Fields that a L{TaskHead} has as they go over the wire."""

_OURS = frozenset([b"host", b"content-length", b"expect", b"proxy"])
"""Dropped because we write them ourselves (framing is the forwarder's), answer them, or because of
httpoxy."""


def _fate(name: bytes) -> _Fate:
    """What becomes of fields of this name (in lower case)."""
    if name == b"connection":
        return _Fate.CONNECTION
    if name in HOP_BY_HOP or name in _OURS or name.startswith(b"proxy-"):
        return _Fate.DROP
    if name in (b"traceparent", b"tracestate"):
        return _Fate.TRACE
    if is_claim(name):
        return _Fate.CLAIM
    if name in TASK_FIELDS:
        return _Fate.TASK
    if b"_" in name and _fate(name.replace(b"_", b"-")) is not _Fate.KEEP:
        return _Fate.DROP
    return _Fate.KEEP


def is_kept(name: bytes) -> bool:
    """
    Whether a client's fields of this name are passed on as they are.

    @param name: in lower case.
    """
    return _fate(name) is _KEEP


@frozen
class _Peer:
    """
    What is known of an address that talks to us.

    @ivar text: the address in its usual form: an IPv4 address that came mapped into IPv6 is an IPv4 address.
    @ivar headers: what an untrusted peer's requests are given.
    """

    text: str
    trusted: bool
    headers: tuple[tuple[bytes, bytes], ...]


class Forwarding:
    """
    Turns the head that a client sent into the header fields that a worker gets.

    @ivar trusted_unix: whether peers without an address (UNIX sockets) are trusted.
    """

    def __init__(self, trusted: Iterable[str], entropy: Callable[[int], bytes]) -> None:
        """
        @param trusted: networks in CIDR form, or addresses, whose word is taken; C{unix} for peers on a
            UNIX socket.
        @param entropy: gives so many random bytes; C{os.urandom} will do.
        @raise ValueError: one of C{trusted} is neither.
        """
        networks = list(trusted)
        self.trusted_unix = "unix" in networks
        self._networks: tuple[_Network, ...] = tuple(
            ip_network(network, strict=False) for network in networks if network != "unix"
        )
        self._entropy = entropy
        self._traces: list[bytes] = []
        self._told: dict[tuple[str, bytes, bytes, bytes], bytes] = {}
        self._told_tasks: dict[tuple[bytes, bytes, bytes], bytes] = {}
        self._written_tasks: dict[tuple[bytes, bytes, bytes], bytes] = {}
        self._written: dict[tuple[bytes, str, bytes, bytes], bytes] = {}
        self._id_prefix = entropy(8).hex() + "-"
        self._ids = count(1)
        self._fates: dict[bytes, _Fate] = {}
        self._peers: dict[str, _Peer] = {}

    def new_request_id(self) -> str:
        """An id that nobody else gives: random for this process, counted within it."""
        return f"{self._id_prefix}{next(self._ids):x}"

    def is_trusted(self, peer: str) -> bool:
        """Whether a peer's word about others is taken."""
        return self._peer(peer).trusted

    def identify(self, head: RequestHead, peer: str) -> tuple[str, str]:
        """
        The two things that are wanted of every request, whether or not it reaches a worker.

        @param peer: address of whoever opened the connection; empty for a UNIX socket.
        @return: the request's id, and whom to call the client in logs and in C{REMOTE_ADDR}: the peer, or if that is a
            trusted proxy, the last address of its C{X-Forwarded-For} that is not one too.
        """
        known = self._peers.get(peer) or self._peer(peer)
        if not known.trusted:
            return f"{self._id_prefix}{next(self._ids):x}", known.text
        if type(head) is TaskHead:
            return head.request_id.decode("ascii"), known.text
        claims = claims_of(head.headers)
        return claims.request_id.decode("ascii") or self.new_request_id(), self._client(claims.chain, known)

    def rewrite(
        self, head: RequestHead, peer: str, scheme: bytes, prefix: bytes, request_id: str = ""
    ) -> tuple[Headers, str, str]:
        """
        The request's header fields as the worker gets them: names in lower case, C{Host} first and as the
        client asked for it, no framing and nothing hop-by-hop. Whoever forwards adds the framing, and
        C{Connection} and C{Upgrade} if it means to tunnel.

        @param peer: address of whoever opened the connection; empty for a UNIX socket.
        @param scheme: C{http} or C{https}, of the peer's connection.
        @param prefix: where the worker is mounted; C{/} at the root.
        @param request_id: what L{identify} gave out for this request; empty: decide now.
        @return: the fields, the request's id, and the client's effective address.
        """
        known = self._peer(peer)
        headers: Headers = [(b"host", head.host)]
        fates = self._fates
        claimed: Headers = []
        traced: Headers = []
        connections: list[bytes] = []
        for field in head.headers:
            name = field[0]
            fate = fates.get(name) or self._judge(name)
            if fate is _KEEP:
                headers.append(field)
            elif fate is _DROP:
                continue
            elif fate is _CONNECTION:
                connections.append(field[1])
            elif fate is _TRACE:
                traced.append(field)
            elif fate is not _TASK:
                claimed.append(field)
            elif peer == PEER:
                headers.append(field)
        if connections:
            headers = _without_options(headers, connections)
        if known.trusted:
            claims = claims_of(claimed)
            client = self._client(claims.chain, known)
            _tell(headers, claims, known.text, client, scheme, head.host, prefix)
            request_id = request_id or claims.request_id.decode("ascii")
        else:
            client = known.text
            headers.extend(self._own_words(known, scheme, head.host, prefix))
        request_id = request_id or self.new_request_id()
        written_id = request_id.encode("ascii", "replace")
        headers.append((b"x-request-id", written_id))
        headers.append((b"x-correlation-id", written_id))
        headers.extend(self._trace(traced))
        return headers, request_id, client

    def lines(self, head: RequestHead, peer: str, scheme: bytes, prefix: bytes, request_id: str) -> list[bytes]:
        """
        What L{rewrite} gives, as it goes over the wire: pieces of lines, with line ends.

        @param request_id: what L{identify} gave out.
        """
        fields = head.fields
        if peer == PEER:
            lines = self._task_lines(head, scheme, prefix, request_id)
            if lines:
                return lines
        if fields:
            key = fields, peer, scheme, prefix
            written = self._written.get(key)
            if written is None:
                written = self._write(head, peer, scheme, prefix)
                if len(self._written) >= WRITTEN_REMEMBERED_MAX:
                    self._written.clear()
                self._written[key] = written
        else:
            written = self._write(head, peer, scheme, prefix)
        if not written:
            # Who has something to say about others, or names fields, is listened to.
            rewritten, _, _ = self.rewrite(head, peer, scheme, prefix, request_id)
            return [b"%b: %b\r\n" % field for field in rewritten]
        written_id = request_id.encode("ascii", "replace")
        traces = self._traces or self._draw()
        return [
            written,
            b"x-request-id: ",
            written_id,
            b"\r\nx-correlation-id: ",
            written_id,
            b"\r\ntraceparent: ",
            traces.pop(),
            b"\r\n",
        ]

    def _task_lines(self, head: RequestHead, scheme: bytes, prefix: bytes, request_id: str) -> list[bytes]:
        """
        What is usual from a process of the server: a task, with nothing said of a client but an id. Empty if there is
        more to it.
        """
        written_id = request_id.encode("ascii", "replace")
        if type(head) is TaskHead:
            key = head.beginning, scheme, prefix
            written = self._written_tasks.get(key)
            if written is None:
                headers = [field for field in head.headers if field[0] not in _IN_TOLD]
                if len(self._written_tasks) >= WRITTEN_REMEMBERED_MAX:
                    self._written_tasks.clear()
                written = self._written_tasks[key] = self._write_task(headers, head.host, scheme, prefix)
            lines = [written, head.told]
        else:
            written = self._write_task(head.headers, head.host, scheme, prefix)
            lines = [written, b"x-request-id: ", written_id, b"\r\n"]
        if not written:
            return []
        traces = self._traces or self._draw()
        lines += (b"x-correlation-id: ", written_id, b"\r\ntraceparent: ", traces.pop(), b"\r\n")
        return lines

    def _write_task(self, headers: Headers, host: bytes, scheme: bytes, prefix: bytes) -> bytes:
        """All but the ids of a usual task; empty if it is none."""
        lines = [b"host: ", host, b"\r\n"]
        fates = self._fates
        for name, value in headers:
            fate = fates.get(name) or self._judge(name)
            if fate is _KEEP or fate is _TASK:
                lines += (name, b": ", value, b"\r\n")
            elif fate is not _DROP and name != b"x-request-id":
                return b""
        key = scheme, host, prefix
        told = self._told_tasks.get(key)
        if told is None:
            fields = self._own_words(self._peer(PEER), scheme, host, prefix)
            told = b"".join(b"%b: %b\r\n" % field for field in fields)
            if len(self._told_tasks) >= TOLD_REMEMBERED_MAX:
                self._told_tasks.clear()
            self._told_tasks[key] = told
        lines.append(told)
        return b"".join(lines)

    def _write(self, head: RequestHead, peer: str, scheme: bytes, prefix: bytes) -> bytes:
        """
        What is the same for all requests of an untrusted peer with the same fields; empty for a trusted one, and where
        fields are to be looked at together.
        """
        lines = [b"host: ", head.host, b"\r\n"]
        fates = self._fates
        for field in head.headers:
            name, value = field
            fate = fates.get(name) or self._judge(name)
            if fate is _KEEP:
                lines += (name, b": ", value, b"\r\n")
            elif fate is _TRACE or (fate is _CONNECTION and value not in PERSISTENCE):
                return b""
        key = peer, scheme, head.host, prefix
        told = self._told.get(key)
        if told is None:
            told = self._tell_untrusted(key)
        if not told:
            return b""
        lines.append(told)
        return b"".join(lines)

    def reached(self, head: RequestHead, peer: str, scheme: bytes, prefix: bytes) -> tuple[bytes, bytes]:
        """
        How the client comes to a worker, as the worker is told.

        @return: the scheme, and where the worker is mounted in the client's eyes.
        """
        if not self._peer(peer).trusted:
            return scheme, prefix
        claims = claims_of(head.headers)
        return claims.scheme or scheme, mounted(claims, prefix)

    def own_words(self, peer: str, scheme: bytes, host: bytes, prefix: bytes) -> Headers | None:
        """
        What is told of an untrusted peer with all of its requests, as C{rewrite} has it; L{None} for a trusted one, who
        speaks for itself.
        """
        known = self._peer(peer)
        return None if known.trusted else self._own_words(known, scheme, host, prefix)

    def new_trace(self) -> bytes:
        """The C{traceparent} of a trace that begins here."""
        return (self._traces or self._draw()).pop()

    def _tell_untrusted(self, key: tuple[str, bytes, bytes, bytes]) -> bytes:
        """Our own words about an untrusted peer, the same for all of its requests; empty for a trusted one."""
        peer, scheme, host, prefix = key
        known = self._peer(peer)
        told = b""
        if not known.trusted:
            fields = self._own_words(known, scheme, host, prefix)
            told = b"".join(b"%b: %b\r\n" % field for field in fields)
        if len(self._told) >= TOLD_REMEMBERED_MAX:
            self._told.clear()
        self._told[key] = told
        return told

    @staticmethod
    def _own_words(peer: _Peer, scheme: bytes, host: bytes, prefix: bytes) -> Headers:
        fields = [*peer.headers, (b"x-forwarded-proto", scheme)]
        if host:
            fields.append((b"x-forwarded-host", host))
        fields.append((b"x-forwarded-prefix", prefix or b"/"))
        return fields

    def _judge(self, name: bytes) -> _Fate:
        fate = _fate(name)
        if len(self._fates) < NAMES_REMEMBERED_MAX and len(name) <= NAME_BYTES_REMEMBERED_MAX:
            self._fates[name] = fate
        return fate

    def _peer(self, peer: str) -> _Peer:
        known = self._peers.get(peer)
        if known is None:
            if len(self._peers) >= PEERS_REMEMBERED_MAX:
                self._peers.clear()
            known = self._peers[peer] = self._meet(peer)
        return known

    def _meet(self, peer: str) -> _Peer:
        if peer == PEER:
            return _Peer("", True, ())
        address = address_of(peer) if peer else None
        if address is None:
            return _Peer(peer, self.trusted_unix and not peer, ())
        text = str(address)
        written = text.encode("ascii", "replace")
        headers = ((b"x-forwarded-for", written), (b"x-real-ip", written))
        return _Peer(text, self._within(address), headers)

    def _within(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def _client(self, chain: tuple[bytes, ...], peer: _Peer) -> str:
        """The first address from the right that is not a trusted proxy; else the last that is an address at
        all."""
        client = peer.text
        for written in chain[: -HOPS_MAX - 1 : -1]:
            address = address_of(written.decode("ascii", "replace"))
            if address is None:
                break
            client = str(address)
            if not self._within(address):
                break
        return client

    def _trace(self, traced: Headers) -> Headers:
        """The trace that goes on, or one that begins here (W3C Trace Context, section 3)."""
        if traced:
            parents = [value for name, value in traced if name == b"traceparent"]
            if len(parents) == 1 and _TRACEPARENT.fullmatch(parents[0]):
                version = parents[0][:2]
                if version != b"00" or len(parents[0]) == 55:
                    return traced
        return [(b"traceparent", self.new_trace())]

    def _draw(self) -> list[bytes]:
        """Begin some traces, to be used one after the other."""
        drawn = self._entropy(TRACE_BYTES * TRACES_AT_ONCE).hex()
        if _NO_ID in drawn:
            # Zeros alone mean that there is no id.
            drawn = drawn.replace(_NO_ID, _NO_ID[:-1] + "1")
        # Flagged as sampled: most tracers record nothing below a parent that was not.
        self._traces = [
            f"00-{drawn[at : at + 32]}-{drawn[at + 32 : at + 48]}-01".encode()
            for at in range(0, len(drawn), 2 * TRACE_BYTES)
        ]
        return self._traces


def _without_options(headers: Headers, connections: list[bytes]) -> Headers:
    """Leave out what C{Connection} names. C{Host} stays: no client may take it away."""
    named = connection_options(connections) - {b"keep-alive", b"close", b"upgrade", b"host"}
    if not named:
        return headers
    return [field for field in headers if field[0] not in named]


def _tell(headers: Headers, claims: Claims, peer: str, client: str, scheme: bytes, host: bytes, prefix: bytes) -> None:
    """Add what is told of a request that came through a trusted proxy: its words, and ours after them."""
    hops = list(claims.chain)
    if peer:
        hops.append(peer.encode("ascii", "replace"))
    if hops:
        headers.append((b"x-forwarded-for", b", ".join(hops)))
    if client:
        headers.append((b"x-real-ip", client.encode("ascii", "replace")))
    headers.append((b"x-forwarded-proto", claims.scheme or scheme))
    host = claims.host or host
    if host:
        headers.append((b"x-forwarded-host", host))
    headers.append((b"x-forwarded-prefix", mounted(claims, prefix)))
