"""The store in memory."""

from __future__ import annotations

import random
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tqserver.queue.chances import STOCK, Chances
from tqserver.queue.memory import MemoryStore
from tqserver.queue.model import NewTask, State
from tqserver.queue.store import FullFault

from .store_contract import JOBS, StoreCase, StoreContract


class MemoryContractTests(StoreContract, StoreCase):
    """It does what every store does."""

    def make_store(self, **options: Any) -> MemoryStore:
        return MemoryStore(self.now, bits=random.Random(7), **options)


class MemoryTests(StoreCase):
    """What it does besides."""

    store: MemoryStore

    def make_store(self, **options: Any) -> MemoryStore:
        return MemoryStore(self.now, **options)

    def test_bytes(self) -> None:
        """It knows what its tasks weigh, with what their workers made of them."""
        self.put(b"12345", head=b"67", keep_ms=1000)
        self.assertEqual(self.store.bytes, 7)
        (task,) = self.claim()
        self.extend(task, progress=b"1")
        self.finish(task, result=b"22", result_head=b"333")
        self.assertEqual((self.store.bytes, len(self.store)), (13, 1))
        self.later(1000)
        self.sweep()
        self.assertEqual((self.store.bytes, len(self.store)), (0, 0))

    def test_bytes_max(self) -> None:
        """It takes no more than it may hold, and none of a batch that does not fit."""
        self.store.bytes_max = 10
        self.put(b"x" * 10)
        self.failureResultOf(self.store.create([NewTask(queue=JOBS, payload=b"y")]), FullFault)
        self.assertCounts(ready=1)
        self.claim(take=True)
        self.put(b"y" * 10)

    def test_stale_entries(self) -> None:
        """Tasks that come and go for long leave nothing behind."""
        (task,) = self.put(b"x")
        for _ in range(5000):
            (task,) = self.claim()
            self.release(task, delay_ms=0)
        held = self.store._held[JOBS]
        self.assertLess(len(held.ready) + len(self.store._due), 5000)

    def test_keys_are_forgotten(self) -> None:
        """The keys of tasks that are gone are forgotten as others come."""
        for n in range(100):
            self.put(b"x", key=str(n), key_expires=self.now() + 1000)
            self.claim(take=True)
        self.later(1000)
        self.put(b"x", key="last", key_expires=self.now() + 1000)
        self.assertEqual(len(self.store._keys), 1)
        self.assertEqual(len(self.page(State.READY).tasks), 1)


class ChancesTests(SynchronousTestCase):
    """Random numbers in stock."""

    def test_they_differ(self) -> None:
        """They are of the size that is asked for, and never come again, over many stocks."""
        chances = Chances()
        numbers = [chances.getrandbits(62) for _ in range(STOCK * 5)]
        self.assertEqual(len(set(numbers)), len(numbers))
        self.assertTrue(max(numbers) < 1 << 62)
        self.assertTrue(max(numbers) >> 61)
        self.assertTrue(all(0 <= chances.random() < 1 for _ in range(1000)))
        self.assertRaises(TypeError, chances.__reduce__)
