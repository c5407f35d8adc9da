"""
The ceiling: SQLite alone, one thread, batches of 100, C{synchronous=FULL}. A program of its own, so that it can be
bound to the core that the servers have: C{python -m bench.queue.raw FOLDER SECONDS}.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from pathlib import Path

from bench.queue.rows import BATCH, BODY_BYTES

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE tasks (id INTEGER PRIMARY KEY, body BLOB NOT NULL, lease TEXT);
"""


def cycles(folder: Path, seconds: float) -> dict[str, float | int | str]:
    """
    Put a batch, lease it, delete it, each in a transaction of its own, again and again.

    @return: how many messages went through whole, in how many seconds, with how much CPU time.
    """
    with sqlite3.connect(folder / "raw.sqlite", isolation_level=None) as database:
        database.executescript(SCHEMA)
        body = b"x" * BODY_BYTES
        done = 0
        began, cpu = time.monotonic(), time.process_time()
        while time.monotonic() - began < seconds:
            database.execute("BEGIN IMMEDIATE")
            database.executemany("INSERT INTO tasks (body) VALUES (?)", [(body,)] * BATCH)
            database.execute("COMMIT")
            database.execute("BEGIN IMMEDIATE")
            found = database.execute(
                "SELECT id, body FROM tasks WHERE lease IS NULL ORDER BY id LIMIT ?", (BATCH,)
            ).fetchall()
            database.executemany("UPDATE tasks SET lease = ? WHERE id = ?", [(f"{id:032x}", id) for id, _ in found])
            database.execute("COMMIT")
            database.execute("BEGIN IMMEDIATE")
            database.executemany("DELETE FROM tasks WHERE id = ?", [(id,) for id, _ in found])
            database.execute("COMMIT")
            done += len(found)
        took_s, cpu_s = time.monotonic() - began, time.process_time() - cpu
        (left,) = database.execute("SELECT count(*) FROM tasks").fetchone()
    trouble = f"{left} messages are left" if left else ""
    return {"done": done, "seconds": took_s, "cpu_s": cpu_s, "trouble": trouble}


if __name__ == "__main__":
    print(json.dumps(cycles(Path(sys.argv[1]), float(sys.argv[2]))))
