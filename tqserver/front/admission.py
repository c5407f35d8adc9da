"""
How much is taken on at once, and when those who are sent away shall come again. Pure.
"""

from __future__ import annotations

from ..errors import Fault, ServerFault

BUSY_S = 1
"""Until a crowd has gone."""

ABSENT_S = 5
"""Until somebody has mended what keeps a service from running."""

DESCRIPTORS_OURS = 64
"""File descriptors of a front for other things than clients and requests: listeners, the link, logs, modules."""

WAKING_SHARE = 4
"""
A quarter of the other descriptors is not given to clients that are silent: some of them will ask for something, and
kept connections to workers need some.
"""


def clients_room(clients: int, in_flight: int, clients_max: int, descriptors_max: int | None) -> int:
    """
    How many clients may be accepted yet.

    A client takes a file descriptor, and a request another one, for a connection to a worker or a file. Who is silent
    needs none for that, and is not counted as if; but those in flight have theirs for sure, and there is always
    something left for more of them. If all who are silent ask for something at the same moment and it is not enough,
    requests wait for each other's descriptors, and nobody is sent away.

    @param clients: how many are here.
    @param in_flight: requests, tunnels among them.
    @param clients_max: how many there may be, were there descriptors enough.
    @param descriptors_max: how many the process may have; L{None}: enough.
    @return: none if it is negative.
    """
    room = clients_max - clients
    if descriptors_max is None:
        return room
    theirs = descriptors_max - DESCRIPTORS_OURS
    # Whoever comes next may have a request at once.
    waking = max(theirs // WAKING_SHARE, in_flight + 1)
    # However few there are, one at a time can be served.
    return min(room, max(theirs - waking, 1) - clients)


def retry_after_s(fault: Fault, chance: float) -> int | None:
    """
    When to come again: what the fault says, up to twice as late, so that those who are sent away at the same moment do
    not come back at the same moment.

    @param chance: a random number from [0, 1).
    @return: seconds for C{Retry-After}, at least 1; L{None} if there is nothing to wait for.
    """
    least = fault.retry_after_s
    if least is None:
        if fault.status != 503:
            return None
        least = BUSY_S
    return max(least, 1) + int(chance * (least + 1))


def too_busy() -> ServerFault:
    """The server has all in hand that it may have."""
    return ServerFault("The server is busy.", "server.max_in_flight is reached")


def worker_too_busy() -> ServerFault:
    """A worker has all in hand that it may have."""
    return ServerFault("This service is busy.", "max_in_flight is reached")


def line_full() -> ServerFault:
    """Too many wait already."""
    return ServerFault("Too many requests wait for this service.", "queue.max_requests is reached")


def absent(reason: str) -> ServerFault:
    """
    A worker is not there, and will not be soon.

    @param reason: why; for the developer and the operator alone.
    """
    return ServerFault("This service is not available now.", reason, retry_after_s=ABSENT_S)
