"""
What stands beside a C{worker.yaml}: the files that tell a worker's type, and its C{environment_file}. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import frozen

from ..errors import Problem
from .model import WorkerType
from .process_values import variable_fault
from .shape import Found

REQUIREMENTS = "requirements.txt"

SECTIONS: tuple[WorkerType, ...] = ("php", "bun", "python")
"""
Types with a section of their name that means nothing to others. C{go} is none of them: older files have it
anywhere.
"""


@frozen
class Folder:
    """
    What a worker's folder holds.

    @ivar names: files right in it.
    @ivar source: files in its C{src}.
    @ivar public: files in its C{public}.
    """

    names: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    public: tuple[str, ...] = ()
    has_public: bool = False


def guess_type(found: Found, folder: Folder) -> WorkerType | None:
    """
    The type of a worker that does not say it.

    What the file says goes before what lies around: a command to run, or the section of one type. Then the
    folder, the most telling files first.

    @return: the type, or L{None} if nothing gives it away.
    """
    if "run" in found:
        return "command"
    told = [type_ for type_ in SECTIONS if any(path.startswith(f"{type_}.") for path in found.values)]
    if len(told) == 1:
        return told[0]
    names = folder.names
    if "go.mod" in names or _any(names + folder.source, ".go"):
        return "go"
    if "package.json" in names or _any(names, ".ts"):
        return "bun"
    if _any(names + folder.public, ".php"):
        return "php"
    if REQUIREMENTS in names or _any(names, ".py"):
        return "python"
    return "static" if folder.has_public else None


def _any(names: Sequence[str], suffix: str) -> bool:
    return any(name.endswith(suffix) for name in names)


def environment_lines(text: str, file: str) -> tuple[tuple[tuple[str, str], ...], tuple[Problem, ...]]:
    """
    Read an C{environment_file}: C{KEY=VALUE} a line, as C{env} prints them.

    Empty lines and those that begin with C{#} mean nothing; C{export} in front and quotes around the value
    are dropped. There are no escapes and no substitution: the value is what stands there.

    @return: the pairs in order, and what is wrong.
    """
    pairs: dict[str, str] = {}
    problems: list[Problem] = []
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        name, equals, value = line.removeprefix("export ").partition("=")
        name, value = name.strip(), value.strip()
        if not equals:
            # The line is not repeated: it may be the half of a secret.
            problems.append(Problem(file, number, "", "is no variable", "write KEY=VALUE, or # before a remark"))
            continue
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            value = value[1:-1]
        if fault := variable_fault(name, value):
            problems.append(Problem(file, number, "", *fault))
        pairs[name] = value
    return tuple(pairs.items()), tuple(problems)
