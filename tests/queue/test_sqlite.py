"""The store in a SQLite file."""

from __future__ import annotations

import random
from typing import Any

from tqserver.queue.sqlite import SqliteStore

from .store_contract import StoreCase, StoreContract


class SqliteContractTests(StoreContract, StoreCase):
    """It does what every store does."""

    def make_store(self, **options: Any) -> SqliteStore:
        return SqliteStore(
            self.mktemp(), self.clock, self.now, durability="process", bits=random.Random(7), threads=False, **options
        )
