"""
How far a differential test looks.

Its profile is short and always the same, unless C{TQSERVER_DIFFERENTIAL_S} says for how many seconds each test shall
look further, each time elsewhere.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import given, seed, settings

BATCH = 400
"""Examples at a time, when it looks further."""


def look(examples: int, strategies: Mapping[str, Any], test: Callable[..., None]) -> None:
    """
    Try random examples: so many that are always the same, then others for as long as is asked for.

    @raise AssertionError: with the example that fails, which trial would not show.
    """
    try:
        _look(examples, strategies, test)
    except Exception as error:
        notes = "\n".join(getattr(error, "__notes__", ()))
        raise AssertionError(f"{error}\n{notes}") from error


def _look(examples: int, strategies: Mapping[str, Any], test: Callable[..., None]) -> None:
    fixed = settings(max_examples=examples, derandomize=True, deadline=None, database=None)
    fixed(given(**strategies)(test))()
    end = time.monotonic() + float(os.environ.get("TQSERVER_DIFFERENTIAL_S", "0"))
    while time.monotonic() < end:
        free = settings(max_examples=BATCH, deadline=None, database=None)
        seed(random.getrandbits(64))(free(given(**strategies)(test)))()
