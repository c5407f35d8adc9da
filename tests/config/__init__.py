"""Tests of L{tqserver.config}."""
