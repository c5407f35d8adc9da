"""
Which files mean nothing when they change. Pure.

A pattern without a slash is matched against single names, with the wildcards of L{fnmatch}. One that ends
in a slash means a folder of that name, anywhere below, with all that is in it. One that begins with a
slash, or has one inside, is matched against the path from the top of the tree, so that C{/bin/} is the
build output and C{src/bin/} is not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate

EDITOR_FILES = ("4913", ".#*", "#*#", "*~", "*.sw?", ".*.kate-swp", "*___jb_tmp___", "*___jb_old___")
"""
What editors leave beside a file while they save it; C{4913} is Vim's test whether it may write into the
folder.
"""

OUTPUT_FOLDERS = ("/bin/", "/var/", ".venv/", "node_modules/", "__pycache__/", ".git/")
"""What tools write, not people: it never counts as a change, whatever the configuration says."""

PATTERNS_MAX = 1000
"""Patterns of one tree; the regular expression made of them has to stay reasonable."""


def _one_of(patterns: Iterable[str]) -> re.Pattern[str] | None:
    """One expression that matches what any pattern matches, or L{None} if there are none."""
    parts = [translate(pattern) for pattern in patterns]
    return re.compile("|".join(parts)) if parts else None


class Ignore:
    """
    A compiled list of patterns.

    @ivar patterns: what it was made of: the patterns given, then those that always hold.
    """

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        given = [pattern for pattern in patterns if pattern.strip("/")]
        if len(given) > PATTERNS_MAX:
            raise ValueError(f"more than {PATTERNS_MAX} ignore patterns")
        self.patterns = tuple(dict.fromkeys((*given, *EDITOR_FILES, *OUTPUT_FOLDERS)))
        anchored = [pattern for pattern in self.patterns if "/" in pattern.rstrip("/")]
        free = [pattern for pattern in self.patterns if "/" not in pattern.rstrip("/")]
        self._names = _one_of(pattern for pattern in free if not pattern.endswith("/"))
        self._folder_names = _one_of(pattern[:-1] for pattern in free if pattern.endswith("/"))
        self._paths = _one_of(pattern.lstrip("/") for pattern in anchored if not pattern.endswith("/"))
        self._folder_paths = _one_of(pattern.strip("/") for pattern in anchored if pattern.endswith("/"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ignore) and other.patterns == self.patterns

    def __hash__(self) -> int:
        return hash(self.patterns)

    def __repr__(self) -> str:
        return f"Ignore({list(self.patterns)})"

    def ignores(self, relative: str, folder: bool = False) -> bool:
        """
        Whether a change of this file or folder means nothing.

        @param relative: path from the top of the tree, with slashes; empty is the top itself, which always
            counts.
        @param folder: whether it is a folder; all names before the last are folders in any case.
        """
        if not relative:
            return False
        names = relative.split("/")
        last = len(names) - 1
        for index, name in enumerate(names):
            path = "/".join(names[: index + 1])
            if self._entry(name, path, folder or index < last):
                return True
        return False

    def ignores_entry(self, relative: str, folder: bool) -> bool:
        """
        Like L{ignores}, for an entry of a folder that is known to count: only the last name is looked at.
        """
        return self._entry(relative.rsplit("/", 1)[-1], relative, folder)

    def _entry(self, name: str, path: str, folder: bool) -> bool:
        """Whether this one name, at this path, is ignored."""
        if self._names is not None and self._names.match(name):
            return True
        if self._paths is not None and self._paths.match(path):
            return True
        if not folder:
            return False
        if self._folder_names is not None and self._folder_names.match(name):
            return True
        return self._folder_paths is not None and self._folder_paths.match(path) is not None
