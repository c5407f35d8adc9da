"""Tests for L{bench.proxy}: what is measured must be measured right."""
