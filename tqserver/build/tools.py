"""Where the tools are that build workers, and the environment that they run in."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping

from attrs import frozen

PATH_DEFAULT = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""Search path of a server that was started without one."""

_PASSED = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LC_\w+|TZ|TMPDIR|XDG_\w+"
    r"|(?:https?|no|all)_proxy|(?:HTTPS?|NO|ALL)_PROXY|SSL_CERT_\w+|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE"
    r"|SSH_AUTH_SOCK|GIT_SSH\w*|GO[A-Z0-9]*|CGO_\w+|CC|CXX|PKG_CONFIG_PATH"
    r"|BUN_\w+|NPM_CONFIG_\w+|npm_config_\w+|NODE_EXTRA_CA_CERTS|PIP_\w+"
)
"""
Variables of the server's own environment that build tools get: who and where they are, how they reach the
network, and their own settings. The rest may be secrets of the server, and packages run scripts when they
are installed.
"""


@frozen
class Tools:
    """
    Finds programs.

    @ivar path: folders as in C{PATH}, of the server.
    @ivar home: the home directory; may be empty.
    @ivar project: the project directory.
    @ivar beside: the folder of the interpreter that runs the server, where packages of Python put programs.
    """

    path: str
    home: str
    project: str
    beside: str

    @classmethod
    def of(cls, environ: Mapping[str, str], project: str) -> Tools:
        """The tools of a server with this environment."""
        return cls(
            path=environ.get("PATH") or PATH_DEFAULT,
            home=environ.get("HOME", ""),
            project=project,
            beside=os.path.dirname(sys.executable),
        )

    def folders(self, *more: str) -> list[str]:
        """
        Where to look, in order: C{PATH}, beside the interpreter, then further places. C{~} is the home
        directory.
        """
        folders = [*self.path.split(os.pathsep), self.beside]
        for folder in more:
            if not folder.startswith("~"):
                folders.append(folder)
            elif self.home:
                folders.append(self.home + folder[1:])
        return [folder for folder in dict.fromkeys(folders) if os.path.isabs(folder)]

    def find(self, name: str, *more: str) -> str | None:
        """
        The absolute path of a program, or L{None}.

        @param name: a name to look for, or an absolute path.
        @param more: folders to look in after the usual ones.
        """
        if os.path.isabs(name):
            return name if is_program(name) else None
        candidates = (os.path.join(folder, name) for folder in self.folders(*more))
        return next((path for path in candidates if is_program(path)), None)

    def matching(self, pattern: re.Pattern[str], folders: Iterable[str]) -> list[str]:
        """Absolute paths of all programs in these folders whose whole name matches."""
        found: list[str] = []
        for folder in folders:
            try:
                names = os.listdir(folder)
            except OSError:
                continue
            paths = (os.path.join(folder, name) for name in names if pattern.fullmatch(name))
            found.extend(path for path in paths if is_program(path))
        return found


def is_program(path: str) -> bool:
    """Whether there is a file that can be run."""
    return os.path.isfile(path) and os.access(path, os.X_OK)


def is_native(path: str) -> bool:
    """Whether a program is machine code, not a script that starts another (ELF magic number, elf(5))."""
    try:
        with open(path, "rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return False


def tool_environment(environ: Mapping[str, str], var: str) -> dict[str, str]:
    """
    The environment of build tools.

    Tools keep caches in the home directory. A server whose home is missing or not its own (a system user)
    gets one below C{var}, which is made here.

    @raise OSError: it cannot be made.
    """
    environment = {name: value for name, value in environ.items() if _PASSED.fullmatch(name)}
    environment.setdefault("PATH", PATH_DEFAULT)
    environment.setdefault("LANG", "C.UTF-8")
    environment["NO_COLOR"] = "1"
    home = environment.get("HOME", "")
    if not home or not os.path.isdir(home) or not os.access(home, os.W_OK):
        environment["HOME"] = f"{var}/cache/home"
        os.makedirs(environment["HOME"], exist_ok=True)
    return environment


def first_on_path(environment: dict[str, str], program: str) -> None:
    """Let a program find its neighbours by putting its folder in front of C{PATH}."""
    environment["PATH"] = os.path.dirname(program) + os.pathsep + environment["PATH"]
