"""What SQLite and the disk say, as a L{StoreFault}. Pure."""

from __future__ import annotations

import sqlite3

from .store import StoreFault

RETRY_AFTER_S = 2
"""When to ask again after most faults, in seconds."""

_KINDS = (
    # A part of SQLite's message, what a client is told, and whether the connection is of no use any more.
    ("is full", "The disk of the queues is full.", False),
    ("is locked", "The file of the queues is locked by another program.", False),
    ("readonly", "The file of the queues cannot be written.", True),
    ("malformed", "The file of the queues is damaged.", True),
    ("not a database", "The file of the queues is damaged.", True),
    ("unable to open", "The file of the queues cannot be opened.", True),
    ("disk I/O error", "The disk of the queues does not work.", True),
)


class BrokenFault(StoreFault):
    """The connection to the file is of no use any more; another may be."""


def fault_of(error: Exception, path: str) -> StoreFault | None:
    """
    @param path: the file, for the operator.
    @return: L{None} if the error is none of the disk or the file, but our own mistake.
    """
    if isinstance(error, StoreFault):
        return error
    detail = f"{path}: {error}"
    if isinstance(error, OSError):
        return BrokenFault("The file of the queues cannot be opened.", detail, retry_after_s=RETRY_AFTER_S)
    if not isinstance(error, sqlite3.Error):
        return None
    name = getattr(error, "sqlite_errorname", "")  # Since Python 3.11.
    if name:
        detail += f" ({name})"
    text = str(error)
    for part, reason, broken in _KINDS:
        if part in text:
            return (BrokenFault if broken else StoreFault)(reason, detail, retry_after_s=RETRY_AFTER_S)
    if isinstance(error, sqlite3.DatabaseError) and not isinstance(
        error, sqlite3.IntegrityError | sqlite3.ProgrammingError | sqlite3.DataError
    ):
        return BrokenFault("The file of the queues cannot be used.", detail, retry_after_s=RETRY_AFTER_S)
    return None
