"""The load: wrk, ab and our own generator of a constant rate, on the cores that are theirs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.proxy.machine import find, run_on_cores
from bench.proxy.reading import WRK_SCRIPT, LoadResult, parse_ab, parse_pace, parse_wrk

CONNECTIONS = 32
"""That wrk keeps."""
NEW_AT_ONCE = 16
"""That ab opens at a time."""
SETTLE_S = 60.0
"""Longest that a load generator may take beyond the time that it was given."""
AB_REQUESTS_MAX = 500_000
"""ab keeps a record of each."""


@dataclass(frozen=True)
class Load:
    """
    Makes load for a time.

    @ivar cores: where it may run.
    @ivar programs: the folder of our own programs.
    @ivar threads: of wrk.
    """

    cores: frozenset[int]
    programs: Path
    threads: int = 1

    def keep_alive(self, port: int, path: str, seconds: float, connections: int = CONNECTIONS) -> LoadResult:
        """Requests on kept connections, the next as soon as the last is answered."""
        script = self.programs / "result.lua"
        script.write_text(WRK_SCRIPT)
        argv = [
            *(find("wrk"), f"-t{self.threads}", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "30s"),
            *("-s", str(script), f"http://127.0.0.1:{port}{path}"),
        ]
        return parse_wrk(self._run(argv, seconds))

    def new_connections(self, port: int, path: str, seconds: float) -> LoadResult:
        """A connection for each request."""
        argv = [
            *(find("ab"), "-q", "-r", "-c", str(NEW_AT_ONCE), "-t", str(max(1, round(seconds)))),
            *("-n", str(AB_REQUESTS_MAX), f"http://127.0.0.1:{port}{path}"),
        ]
        return parse_ab(self._run(argv, seconds))

    def constant_rate(self, port: int, path: str, seconds: float, rate: float, body_bytes: int) -> LoadResult:
        """So many requests a second, whether or not the last are answered."""
        argv = [
            *(str(self.programs / "pace"), "-address", f"127.0.0.1:{port}", "-path", path, "-rate", str(rate)),
            *("-seconds", str(seconds), "-connections", str(CONNECTIONS), "-body", str(body_bytes)),
        ]
        return parse_pace(self._run(argv, seconds))

    def _run(self, argv: list[str], seconds: float) -> str:
        return run_on_cores(self.cores, argv, seconds + SETTLE_S)
