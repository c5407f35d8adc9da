"""
Where the server's own words and those of its workers are written.

A log must never be the reason that a request fails: a full disk, a folder without permission or a reader that
went away costs lines, which are counted, and nothing else. What comes from outside is escaped before it is
written, so that no worker and no client can forge a line or speak to the terminal of whoever reads it.

L{files} is a file whose name follows the date, L{worker} what workers say, L{server} what we say.
"""

from .files import LogFile
from .server import ServerObserver, server_observer
from .worker import WorkerLog

__all__ = ["LogFile", "ServerObserver", "WorkerLog", "server_observer"]
