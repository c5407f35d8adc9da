"""Those with much to do share the reactor's turns."""

from __future__ import annotations

from collections.abc import Callable

from twisted.trial.unittest import SynchronousTestCase

from tqserver.turns import TURN_BYTES_MAX, TURN_CALLS_MAX, Turns


class TurnsTests(SynchronousTestCase):
    """Who has their go when."""

    def setUp(self) -> None:
        self.soon: list[Callable[[], None]] = []
        self.turns = Turns(self.soon.append)
        self.went: list[int] = []

    def turn(self) -> None:
        """The next turn begins."""
        calls, self.soon[:] = list(self.soon), []
        for call in calls:
            call()

    def wait(self, *numbers: int, each: int = 0) -> None:
        """Some queue; each passes on so many bytes when it is its turn."""

        def go(number: int) -> None:
            self.went.append(number)
            self.turns.passed(each)

        for number in numbers:
            self.turns.wait(lambda number=number: go(number))  # type: ignore[misc]

    def test_alone(self) -> None:
        """Who is alone never queues, whatever it passes on in many turns."""
        for _ in range(10):
            self.turns.passed(TURN_BYTES_MAX // 4)
            self.assertFalse(self.turns.crowded)
            self.turn()
        self.assertEqual(self.soon, [], "nothing goes on when nothing comes")

    def test_full(self) -> None:
        """When much was passed on, others queue until the next turn."""
        self.turns.passed(TURN_BYTES_MAX)
        self.assertTrue(self.turns.crowded)
        self.turn()
        self.assertFalse(self.turns.crowded)

    def test_few_at_once(self) -> None:
        """In each turn the first few go, in the order in which they came; who comes while some wait is behind them."""
        count = TURN_CALLS_MAX * 2 + 1
        self.wait(*range(count))
        self.assertEqual(self.went, [])
        self.turn()
        self.assertEqual(self.went, list(range(TURN_CALLS_MAX)))
        self.assertTrue(self.turns.crowded)
        self.wait(count)
        self.turn()
        self.turn()
        self.assertEqual(self.went, list(range(count + 1)))
        self.assertFalse(self.turns.crowded)
        self.turn()
        self.assertEqual(self.soon, [])

    def test_large_ones(self) -> None:
        """A turn also ends when enough was passed on in it."""
        self.wait(*range(5), each=TURN_BYTES_MAX // 2)
        self.turn()
        self.assertEqual(self.went, [0, 1])
        self.turn()
        self.turn()
        self.assertEqual(self.went, list(range(5)))

    def test_mistake(self) -> None:
        """A mistake of one ends nobody else's turns."""
        self.turns.wait(lambda: 1 // 0)  # type: ignore[arg-type,return-value]
        self.wait(1)
        self.turn()
        self.assertEqual(self.went, [1])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
