"""What comes again and again, told from what comes once."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tqserver.http1.recurring import HASHES_MAX, Recurring


class RecurringTests(SynchronousTestCase):
    """Guesses."""

    def test_again(self) -> None:
        """Something comes again from the second time on."""
        recurring = Recurring()
        self.assertEqual([recurring.again(data) for data in (b"a", b"b", b"a", b"a")], [False, False, True, True])
        recurring.forget()
        self.assertFalse(recurring.again(b"a"))

    def test_bounded(self) -> None:
        """However much comes once, no more than so many are known; what comes often is known again soon."""
        recurring = Recurring()
        for number in range(3 * HASHES_MAX):
            self.assertFalse(recurring.again(b"%d" % number))
            self.assertLessEqual(len(recurring._hashes), HASHES_MAX)
        self.assertTrue(recurring.again(b"%d" % (3 * HASHES_MAX - 1)))
