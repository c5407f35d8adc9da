"""
The pool of TCP ports that instances listen on: leased to one owner at a time, proved free, rested after use.

A port that was just given back rests for a while and then joins the end of the line, so that a client which
still remembers the old owner does not meet a new one by accident.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime

QUARANTINE_S = 1.0
"""
Rest after a release, in seconds: long enough for every front to have applied the routing without the old
owner.
"""

RANGE_KEYS = "workers.port_range_start and workers.port_range_end"


class PortsExhausted(Exception):
    """
    No port of the range can be had.

    @ivar reason: who has them.
    @ivar remedy: what an operator can do.
    """

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.reason} ({self.remedy})"


def nobody_listens(port: int) -> bool:
    """
    Whether an instance could listen on a port, on whichever address it chooses.

    A bind to the wildcard address meets everybody who listens on the port, on any address. C{SO_REUSEADDR} is
    set, as practically every server sets it: on Linux it does not get past a listener (socket(7)), but past
    connections in TIME-WAIT which the last owner left behind. Without it such a port would look taken for a
    minute. One socket for both families (C{IPV6_V6ONLY} off) also meets those who listen on IPv6 alone.

    @param port: 1 to 65535.
    """
    refused = _bind(socket.AF_INET6, "::", port)
    if refused in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
        # No IPv6 on this machine: IPv4 alone tells.
        refused = _bind(socket.AF_INET, "0.0.0.0", port)
    return refused == 0


def _bind(family: socket.AddressFamily, address: str, port: int) -> int:
    """
    Bind a socket, and let it go.

    @return: 0, or the C{errno} of the refusal.
    """
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            probe.bind((address, port))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


class PortPool:
    """
    Ports from C{first} to C{last}, both included.

    @ivar first: the lowest port of the range.
    @ivar last: the highest.
    """

    def __init__(
        self,
        first: int,
        last: int,
        clock: IReactorTime,
        bind_check: Callable[[int], bool] = nobody_listens,
        quarantine_s: float = QUARANTINE_S,
    ) -> None:
        """
        @param bind_check: tells whether nobody listens on a port; asked before each lease, must be quick.
        @param quarantine_s: rest of a port after its release, in seconds.
        """
        self.first = first
        self.last = last
        self._clock = clock
        self._bind_check = bind_check
        self._quarantine_s = quarantine_s
        self._free = deque(range(first, last + 1))
        self._leased: set[int] = set()
        self._resting: deque[tuple[float, int]] = deque()

    @property
    def leased(self) -> frozenset[int]:
        """Ports that have an owner now."""
        return frozenset(self._leased)

    def lease(self) -> int:
        """
        Take a port.

        @return: a port of the range that has no other owner, and that nobody else listened on just now.
        @raise PortsExhausted: there is none.
        """
        self._end_rests()
        for _ in range(len(self._free)):
            port = self._free.popleft()
            if self._bind_check(port):
                self._leased.add(port)
                return port
            # Somebody else's; he may be gone when its turn comes again.
            self._free.append(port)
        raise PortsExhausted(
            f"no port from {self.first} to {self.last} is free: {len(self._leased)} in use, "
            f"{len(self._resting)} resting after use, {len(self._free)} taken by other programs",
            f"widen {RANGE_KEYS}",
        )

    def release(self, port: int) -> None:
        """
        Give a port back.

        @raise ValueError: it was not leased, which is a mistake of the caller's.
        """
        if port not in self._leased:
            raise ValueError(f"port {port} was not leased")
        self._leased.remove(port)
        if self.first <= port <= self.last:
            self._resting.append((self._clock.seconds() + self._quarantine_s, port))

    def resize(self, first: int, last: int) -> None:
        """
        Change the range. Ports outside of it that are in use stay with their owners until they are released.
        """
        resting = {port for _, port in self._resting}
        kept = [port for port in self._free if first <= port <= last]
        known = resting | self._leased | set(kept)
        self._resting = deque((until, port) for until, port in self._resting if first <= port <= last)
        self._free = deque(kept + [port for port in range(first, last + 1) if port not in known])
        self.first = first
        self.last = last

    def _end_rests(self) -> None:
        """Line up again what has rested long enough."""
        now = self._clock.seconds()
        while self._resting and self._resting[0][0] <= now:
            self._free.append(self._resting.popleft()[1])
