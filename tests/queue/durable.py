"""
Puts a task into a SQLite store with its threads, as the service does, and writes C{answered} when that is answered:
what L{tests.queue.test_durability} looks at from outside.
"""

from __future__ import annotations

import os
import sys
import time

from twisted.internet import task
from twisted.internet.defer import inlineCallbacks

from tqserver.queue.model import LOCAL, NewTask, QueueName
from tqserver.queue.sqlite import SqliteStore


@inlineCallbacks
def put(reactor, directory, durability):
    """Put three tasks, one after the other."""
    store = SqliteStore(directory, reactor, lambda: int(time.time() * 1000), durability=durability)
    yield store.open()
    name = QueueName(LOCAL, "jobs")
    yield store.define(name)
    for number in range(3):
        os.write(1, b"asked %d\n" % number)
        yield store.create([NewTask(queue=name, payload=b"x")])
        os.write(1, b"answered %d\n" % number)
    yield store.close()


if __name__ == "__main__":
    task.react(put, sys.argv[1:])
