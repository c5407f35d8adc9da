"""
Finds scripts with one look at the disk, most of the time.

L{find_script<tqserver.fastcgi.scripts.find_script>} takes about a dozen system calls. What it has found is remembered,
and the next time the disk is only asked whether that still holds: whether the path leads to the very file that it led
to then, and, for what the front controller answers, whether there is still nothing at the path itself. So a script that
was added, removed, replaced or linked elsewhere is noticed by the next request.
"""

from __future__ import annotations

import os

from ..plane.messages import FastCGITarget
from .cgi import script_variables
from .scripts import (
    Files,
    Identity,
    MissingSlash,
    Script,
    below,
    decode_path,
    find_script,
    names_file,
    split_path,
    without_double_slashes,
)

SCRIPTS_REMEMBERED_MAX = 1024
"""Scripts of one worker; when there are more, all are forgotten and it begins anew."""

PATHS_REMEMBERED_MAX = 2048
"""Paths of requests that were taken apart already, likewise."""

PATH_REMEMBERED_BYTES_MAX = 512
"""Longer ones are not remembered."""

TRUSTED_S = 1.0
"""After so long all is looked up again. A folder on the way to a script can be renamed and a link put in its place, so
that the path still leads to the same file but the file is called otherwise; one look does not show that."""


_Wanted = tuple[bytes, tuple[bytes, bytes] | None]
"""The only script that a path can mean, besides the front controller, or nothing; and if it would answer the path as it
is, its name with what follows it in the path."""


class FoundScript:
    """
    A script that answers a path.

    @ivar script: which.
    @ivar variables: its variables, see L{script_variables}.
    """

    __slots__ = ("identity", "path", "script", "since", "variables")

    def __init__(self, script: Script, variables: bytes, path: bytes, identity: Identity, since: float) -> None:
        """
        @param path: where it is found, with all links that lead to it.
        @param identity: what is there.
        @param since: when it was looked up.
        """
        self.script = script
        self.variables = variables
        self.path = path
        self.identity = identity
        self.since = since


class ScriptFinder:
    """The scripts of one worker, below one mount point."""

    def __init__(self, target: FastCGITarget, mount: bytes, files: Files) -> None:
        """
        @param mount: the URL prefix under which the scripts are mounted, such as C{/blog}, or empty.
        """
        self.target = target
        self._mount = mount
        self._files = files
        self._root = os.fsencode(target.document_root)
        self._extension = target.split_path.encode()
        controller = os.fsencode(target.front_controller).lstrip(b"/")
        self._controller = b"/" + controller if controller else b""
        self._wanted: dict[bytes, _Wanted] = {}
        self._found: dict[tuple[bytes, bytes], FoundScript] = {}

    def find(self, path: bytes, now: float) -> FoundScript | MissingSlash:
        """
        The script for a request.

        @param path: of the request, as the client sent it, with the mount point.
        @param now: in seconds, perhaps of a moment ago.
        @raise Fault: see L{decode_path} and L{find_script}.
        """
        wanted = self._wanted.get(path) or self._take_apart(path)
        name, key = wanted
        if key is not None:
            found = self._found.get(key)
            if found is not None and self._holds(found, now):
                return found
        controller = self._found.get((self._controller, b""))
        if (
            controller is not None
            and (not name or not self._files.exists(self._root + name))
            and self._holds(controller, now)
        ):
            return controller
        return self._look(path, wanted, now)

    def _holds(self, found: FoundScript, now: float) -> bool:
        return found.since + TRUSTED_S > now and self._files.identity(found.path) == found.identity

    def _take_apart(self, path: bytes) -> _Wanted:
        """What L{find_script} would look for, as far as a path tells."""
        decoded = decode_path(path)
        below_mount = below(self._mount, decoded)
        wanted: _Wanted = b"", None
        if names_file(path, decoded):
            plain = without_double_slashes(below_mount)
            for name, info in split_path(self._extension, plain):
                wanted = name, (name, info)
                break
            else:
                name = plain.rstrip(b"/") + b"/index" + self._extension
                # Without its slash, a folder is not answered with its index.
                wanted = name, (name, b"") if plain.endswith(b"/") else None
        if len(path) <= PATH_REMEMBERED_BYTES_MAX:
            if len(self._wanted) >= PATHS_REMEMBERED_MAX:
                self._wanted.clear()
            self._wanted[path] = wanted
        return wanted

    def _look(self, path: bytes, wanted: _Wanted, now: float) -> FoundScript | MissingSlash:
        """Look it up in earnest, and remember what was found."""
        files, root = self._files, self._root
        # Before the look: what changes in between is noticed the next time.
        identities = {name: files.identity(root + name) for name in (wanted[0], self._controller) if name}
        decoded = decode_path(path)
        script = find_script(self.target, below(self._mount, decoded), names_file(path, decoded), files)
        if isinstance(script, MissingSlash):
            return script
        identity = identities.get(script.name)
        found = FoundScript(
            script, script_variables(script, self._mount), root + script.name, identity or (0, 0, 0), now
        )
        if identity is not None and len(path) <= PATH_REMEMBERED_BYTES_MAX:
            if len(self._found) >= SCRIPTS_REMEMBERED_MAX:
                self._found.clear()
            self._found[script.name, script.info] = found
        return found
