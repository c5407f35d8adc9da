"""
Brings the file of a SQLite store to the present schema.

C{PRAGMA user_version} is the version of a file, C{PRAGMA application_id} says that it is ours. The whole way is one
transaction: a file is of the old version or of the new one, whatever happens meanwhile.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from importlib.resources import files

from .store import StoreFault

APPLICATION_ID = 0x74717321
"""Marks our files; "tqs!"."""

STEPS: Sequence[str] = ()
"""SQL: the first brings version 1 to version 2, and so on. What is here never changes again."""

VERSION = 1 + len(STEPS)


def schema() -> str:
    """The SQL of a new file."""
    return files(__package__).joinpath("schema.sql").read_text("utf-8")


def migrate(db: sqlite3.Connection, path: str, steps: Sequence[str] = STEPS) -> int:
    """
    Bring a file to the present version.

    @param path: of the file, for what is said of it.
    @param steps: see L{STEPS}.
    @return: the version that it had; 0 if it was new.
    @raise StoreFault: it is not ours, or newer than we are.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application != APPLICATION_ID and tables:
        raise StoreFault(
            "The file of the queues is something else.", f"{path} is not a file of this store; move it away"
        )
    last = 1 + len(steps)
    if version > last:
        raise StoreFault(
            "The file of the queues is newer than this program.",
            f"{path} has version {version} and this program knows {last}; use the newer program",
        )
    if version < last:
        script = [schema(), *steps] if not version else steps[version - 1 :]
        marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {last};"
        try:
            db.executescript("BEGIN IMMEDIATE;" + ";\n".join(script) + ";\n" + marks + "COMMIT;")
        except sqlite3.Error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
    return int(version)
