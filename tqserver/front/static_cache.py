"""Files in memory: what was found, and the content of the small ones, within bounds."""

from __future__ import annotations

from collections import OrderedDict

from .static_files import Content, StaticFile
from .static_places import Place

FILE_BYTES_MAX = 64 * 1024
"""Of a file whose content is kept. A larger one is sent by the kernel."""

CACHE_BYTES_MAX = 16 * 1024 * 1024
"""Of all that is kept, in each front."""

ENTRY_BYTES = 4096
"""What an entry counts without any content: its heads, paths and stamps, rounded up."""


class FileCache:
    """
    Keeps the files that are asked for. What has not been used for the longest goes first, roughly: a file that was used
    since its turn came the last time gets another round.
    """

    def __init__(self, bytes_max: int = CACHE_BYTES_MAX) -> None:
        self._order: OrderedDict[StaticFile, int] = OrderedDict()
        self._bytes_max = bytes_max
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._order)

    def keep(self, file: StaticFile) -> None:
        """Keep a file, without content, in the place of what there is with the same name."""
        before = file.place.files.get(file.key)
        if before is not None:
            self.drop(before)
        file.place.files[file.key] = file
        file.kept = True
        self._order[file] = ENTRY_BYTES
        self.bytes += ENTRY_BYTES
        self._shrink()

    def fill(self, file: StaticFile, content: Content, body: bytes) -> None:
        """Keep the bytes of one form of a file."""
        if file.kept and content.body is None:
            content.body = body
            self._order[file] += len(body)
            self.bytes += len(body)
            self._shrink()

    def drop(self, file: StaticFile) -> None:
        """Forget a file, if it is kept."""
        if file.kept:
            file.kept = False
            del file.place.files[file.key]
            self.bytes -= self._order.pop(file)

    def forget(self, place: Place) -> None:
        """Forget all files of a place."""
        for file in list(place.files.values()):
            self.drop(file)

    def _shrink(self) -> None:
        while self.bytes > self._bytes_max:
            file = next(iter(self._order))
            if file.used:
                file.used = False
                self._order.move_to_end(file)
            else:
                self.drop(file)
