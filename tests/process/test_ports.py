"""The pool of ports."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.process.ports import PortPool, PortsExhausted
from tqserver.testing import FakePorts


class Pools(SynchronousTestCase):
    """Instances get ports."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.ports = FakePorts()
        self.pool = PortPool(9000, 9002, self.clock, self.ports)

    def test_round(self) -> None:
        """Every port has its turn, and one that was just given back comes last."""
        self.assertEqual(self.pool.lease(), 9000)
        self.pool.release(9000)
        self.clock.advance(1)
        self.assertEqual([self.pool.lease() for _ in range(3)], [9001, 9002, 9000])

    def test_rest(self) -> None:
        """A port that was given back rests for a second."""
        for _ in range(3):
            self.pool.lease()
        self.pool.release(9001)
        self.clock.advance(0.9)
        self.assertRaises(PortsExhausted, self.pool.lease)
        self.clock.advance(0.1)
        self.assertEqual(self.pool.lease(), 9001)

    def test_other_programs(self) -> None:
        """A port that another program listens on is passed over, until it is free."""
        self.ports.taken = {9000}
        self.assertEqual([self.pool.lease(), self.pool.lease()], [9001, 9002])
        self.ports.taken = set()
        self.assertEqual(self.pool.lease(), 9000)

    def test_exhausted(self) -> None:
        """When there is none left I am told who has them, and which keys to change."""
        self.pool.lease()
        self.pool.release(self.pool.lease())
        self.ports.taken = {9002}
        fault = self.assertRaises(PortsExhausted, self.pool.lease)
        self.assertEqual(
            str(fault),
            "no port from 9000 to 9002 is free: 1 in use, 1 resting after use, 1 taken by other programs "
            "(widen workers.port_range_start and workers.port_range_end)",
        )

    def test_wrong_release(self) -> None:
        """Giving back what one does not have is a mistake, and is told."""
        self.assertRaises(ValueError, self.pool.release, 9000)
        self.pool.release(self.pool.lease())
        self.assertRaises(ValueError, self.pool.release, 9000)

    def test_resize(self) -> None:
        """A changed range holds for new leases; old owners keep theirs."""
        self.pool.lease()
        self.pool.resize(9002, 9003)
        self.assertEqual(self.pool.leased, {9000})
        self.assertEqual([self.pool.lease(), self.pool.lease()], [9002, 9003])
        self.pool.release(9000)
        self.clock.advance(10)
        self.assertRaises(PortsExhausted, self.pool.lease)


class PoolMachine(RuleBasedStateMachine):
    """Leases, releases, other programs, time and new ranges, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.ports = FakePorts()
        self.pool = PortPool(1, 6, self.clock, self.ports)
        self.owned: set[int] = set()
        self.released: dict[int, float] = {}

    @rule()
    def lease(self) -> None:
        """Somebody wants a port: it has no other owner, is in the range, free, and rested."""
        try:
            port = self.pool.lease()
        except PortsExhausted:
            for candidate in range(self.pool.first, self.pool.last + 1):
                resting = self.released.get(candidate, -9.0) + 1.0 > self.clock.seconds()
                assert candidate in self.owned | self.ports.taken or resting, f"{candidate} was to be had"
            return
        assert port not in self.owned, "two owners"
        assert port not in self.ports.taken
        assert self.pool.first <= port <= self.pool.last
        assert self.released.get(port, -9.0) + 1.0 <= self.clock.seconds(), "not rested"
        self.owned.add(port)

    @precondition(lambda self: self.owned)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """An owner gives his port back."""
        port = data.draw(st.sampled_from(sorted(self.owned)))
        self.owned.remove(port)
        self.pool.release(port)
        if self.pool.first <= port <= self.pool.last:
            self.released[port] = self.clock.seconds()

    @rule(port=st.integers(1, 9))
    def toggle(self, port: int) -> None:
        """Another program comes or goes."""
        self.ports.taken ^= {port}

    @rule(quarters=st.integers(1, 6))
    def wait(self, quarters: int) -> None:
        """Time passes."""
        self.clock.advance(quarters / 4)

    @rule(first=st.integers(1, 5), size=st.integers(0, 4))
    def resize(self, first: int, size: int) -> None:
        """The configuration has changed."""
        self.pool.resize(first, first + size)
        self.released = {port: at for port, at in self.released.items() if first <= port <= first + size}

    @invariant()
    def owners(self) -> None:
        """The pool knows who has what."""
        assert self.pool.leased == self.owned


class PoolMachineCase(SynchronousTestCase):
    """The state machine, run by trial."""

    def test_any_order(self) -> None:
        """Whatever happens in whichever order, a port never has two owners, and none is lost."""
        case = PoolMachine.TestCase()
        case.settings = settings(derandomize=True, deadline=None, max_examples=100, stateful_step_count=30)
        case.runTest()
