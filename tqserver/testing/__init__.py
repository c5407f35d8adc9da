"""
Fakes that obey the same interfaces as the real things, for tests on fake time: ours, and those of whoever
builds on us.

    >>> clock = Clock()
    >>> spawner = FakeSpawner(clock)
    >>> process = spawner.spawn(spec, observer)
    >>> process.say("listening")            # observer.output("stdout", [b"listening"])
    >>> process.signal_group("TERM")        # recorded in process.signals
    >>> process.exit(signal="TERM")
    >>> clock.advance(0)                    # observer.exited(Exit(None, "TERM", 0.0))
"""

from .ports import FakePorts
from .probes import FakeProbe
from .spawning import FakeProcess, FakeSpawner

__all__ = ["FakePorts", "FakeProbe", "FakeProcess", "FakeSpawner"]
