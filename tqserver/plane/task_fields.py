"""
The header fields in which fronts, queues and workers speak of tasks. They are believed from processes of the server
alone: fronts take them from everybody else.
"""

from __future__ import annotations

TASK_ID = b"x-task-id"
"""Which task a request is."""

TASK_ATTEMPT = b"x-task-attempt"
"""Which try it is, from 1 on."""

TASK_QUEUE = b"x-task-queue"
"""The name of its queue."""

TASK_ASYNC = b"x-task-async"
"""
A front says so that a request is to be stored by the queue, and answered later. The value is where clients reach that
queue.
"""

TASK_FIELDS = frozenset([TASK_ID, TASK_ATTEMPT, TASK_QUEUE, TASK_ASYNC])
