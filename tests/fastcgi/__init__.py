"""Tests of L{tqserver.fastcgi}."""
