"""A machine's ports, of which a test says who listens on them."""

from __future__ import annotations


class FakePorts:
    """
    The C{bind_check} of a L{PortPool<tqserver.process.ports.PortPool>}.

    @ivar taken: ports that another program listens on; change it at will.
    @ivar asked: every port that was asked about, in order.
    """

    def __init__(self) -> None:
        self.taken: set[int] = set()
        self.asked: list[int] = []

    def __call__(self, port: int) -> bool:
        """Whether nobody listens on the port."""
        self.asked.append(port)
        return port not in self.taken
