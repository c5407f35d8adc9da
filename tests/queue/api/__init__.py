"""Tests of L{tqserver.queue.api}."""
