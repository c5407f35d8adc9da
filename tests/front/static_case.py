"""What tests of static files share: a folder, and what serves it."""

from __future__ import annotations

import os
from email.utils import formatdate
from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.front.fakes import FakeExchange, request_head
from tqserver.front.static import StaticFiles
from tqserver.front.static_files import StaticFile
from tqserver.plane.messages import HTTPSettings, Routing, StaticSettings

MODIFIED_S = 1_700_000_000
MODIFIED = formatdate(MODIFIED_S, usegmt=True).encode()


def open_below(folder: Path) -> list[str]:
    """The files below a folder that this process has open."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
        except FileNotFoundError:
            continue  # The one that listed them.
    return [link for link in links if link.startswith(f"{folder}/")]


class StaticTestCase(SynchronousTestCase):
    """
    A directory of files and what serves them.

    @ivar now_s: the time of day for the server: by default long after all files were written.
    @ivar serving: how the files are served.
    """

    serving = StaticSettings()

    def setUp(self) -> None:
        self.clock = Clock()
        self.now_s = 4_000_000_000.0
        self.files = StaticFiles(self.clock, now_ns=lambda: int(self.now_s * 1e9))
        self.base = Path(self.mktemp()).absolute()
        self.root = self.base / "public"
        self.root.mkdir(parents=True)
        self._http: HTTPSettings | None = None

    def tearDown(self) -> None:
        self.assertEqual(open_below(self.base), [], "a file was left open")

    def put(self, name: str, data: bytes = b"hello", modified_s: float = MODIFIED_S) -> Path:
        """Write a file below the root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (modified_s, modified_s))
        return path

    def find(self, path: bytes, root: Path | None = None) -> StaticFile | None:
        """The file that a path means, in the server's own folder."""
        http = HTTPSettings(public=str(root or self.root), static=self.serving)
        if http != self._http:
            self._http = http
            self.files.catalogue.update(Routing(version=1, http=http))
        for place, below in self.files.catalogue.server.candidates(path, 0):
            return self.files.find(place, below)
        return None

    def found(self, path: bytes) -> bool:
        """Whether a path means a file."""
        return self.find(path) is not None

    def get(
        self, path: bytes, *fields: tuple[bytes, bytes], method: bytes = b"GET", below: bytes = b""
    ) -> FakeExchange:
        """
        Ask for a file.

        @param below: the path after the prefix, if the route has one.
        """
        exchange = FakeExchange(request_head(method, path, fields))
        found = self.find(below or path.partition(b"?")[0])
        assert found is not None, path
        self.files.serve(exchange, found)
        return exchange
