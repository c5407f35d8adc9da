"""
What the server itself keeps in a queue's store, out of sight of every service.
"""

from __future__ import annotations

from .model import QueueName

OWN = ".tqserver"
"""The tenant. No other can be called so, as names of tenants begin with a letter."""

REQUESTS = QueueName(OWN, "async")
"""Clients' requests that are answered later."""

MARKS = QueueName(OWN, "schedules")
"""How far schedules have come; nobody claims these."""
