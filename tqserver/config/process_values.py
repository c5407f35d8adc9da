"""
Values that a process is given: its command, environment, php.ini settings, account, umask, signals. Pure.
"""

from __future__ import annotations

import re

import yaml

from .nodes import Mistake, Wrong, closest, is_null, joined, mapping, mistake, pairs, scalar, shown
from .values import ITEMS_MAX, PLACEHOLDER, clean, each, plain

VALUE_CHARS_MAX = 32 * 1024
"""Of one environment variable; Linux takes 128 KiB for a single one."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}", re.ASCII)
_SETTING = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,254}", re.ASCII)
_UMASK = re.compile(r"(?:0o?)?([0-7]{1,3})", re.ASCII)
_ACCOUNT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,31}", re.ASCII)
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z\-]{1,128}", re.ASCII)


def argument(node: yaml.Node, path: str) -> str:
    """Read one argument of a command; numbers are taken as they were written."""
    value = plain(node, path, "an argument", loose=True)
    for name in PLACEHOLDER.findall(value):
        known = ("port", "socket", "name")
        if name not in known and (meant := closest(name, known)):
            raise mistake(node, path, f"holds {{{name}}}, which is unknown", f"did you mean {{{meant}}}?")
    return value


_arguments = each(argument, "arguments")


def argv(node: yaml.Node, path: str) -> tuple[str, ...]:
    """Read a command: a list of arguments, the first of which is the program."""
    if isinstance(node, yaml.ScalarNode) and not is_null(node):
        words = ", ".join(repr(word) for word in node.value.split()[:8])
        raise mistake(node, path, "must be a list of arguments: no shell reads it", f"write [{words[:200]}]")
    found = _arguments(node, path)
    if found and not found[0]:
        raise mistake(node, path, "has no program: the first argument is empty", "write the program first")
    return found


def _free_keys(node: yaml.Node, path: str, wanted: str) -> list[tuple[str, int, yaml.Node]]:
    """The pairs of a mapping whose keys are the user's own."""
    if is_null(node):
        return []
    found, wrongs = pairs(mapping(node, path, wanted), path)
    if len(found) > ITEMS_MAX:
        raise mistake(node, path, f"has {len(found)} entries, at most {ITEMS_MAX} are accepted", "shorten it")
    if wrongs:
        raise Mistake(*wrongs)
    return [(pair.key, pair.line, pair.value) for pair in found]


RESERVED = frozenset(
    "WORKER_" + name for name in ("PORT", "NAME", "ROUTE", "MODE", "PATH", "TYPE", "SOCKET", "INSTANCE", "GENERATION")
) | {"PORT"}
"""
The environment variables that tell a worker its place; a worker with others would listen where nobody asks.
"""


def variable_fault(name: str, value: str) -> tuple[str, str] | None:
    """
    What is wrong with an environment variable.

    The value is never repeated in a message: it may be a secret, and messages go to logs.

    @return: message and hint, or L{None}.
    """
    if _VARIABLE.fullmatch(name) is None:
        return f"{shown(name)} is no name of a variable", "letters, digits and _, no digit first"
    if name in RESERVED:
        return f"{name} is set by the server", "remove it: the worker is told its own"
    if len(value) > VALUE_CHARS_MAX:
        return f"{name} is longer than {VALUE_CHARS_MAX} characters", "put it in a file"
    if not clean(value, allowed="\t\n\r"):
        return f"{name} holds a control character", "remove it"
    return None


def environment(node: yaml.Node, path: str) -> tuple[tuple[str, str], ...]:
    """Read environment variables: a mapping of names to texts; the pairs are sorted."""
    values: list[tuple[str, str]] = []
    wrongs: list[Wrong] = []
    for name, line, item in _free_keys(node, path, "variables"):
        where = joined(path, name)
        try:
            value = "" if is_null(item) else str(scalar(item, where, "a text").value)
            if fault := variable_fault(name, value):
                wrongs.append(Wrong(line, where, *fault))
            values.append((name, value))
        except Mistake as wrong:
            wrongs.extend(wrong.wrongs)
    if wrongs:
        raise Mistake(*wrongs)
    return tuple(sorted(values))


def settings(node: yaml.Node, path: str) -> tuple[tuple[str, str], ...]:
    """Read php.ini settings: a mapping of names to texts, numbers and switches; the pairs are sorted."""
    values: list[tuple[str, str]] = []
    wrongs: list[Wrong] = []
    for name, line, item in _free_keys(node, path, "php.ini settings"):
        where = joined(path, name)
        if _SETTING.fullmatch(name) is None:
            wrongs.append(Wrong(line, where, f"{shown(name)} is no name of a setting", "such as memory_limit"))
            continue
        try:
            values.append((name, "" if is_null(item) else plain(item, where, "a text", loose=True)))
        except Mistake as wrong:
            wrongs.extend(wrong.wrongs)
    if wrongs:
        raise Mistake(*wrongs)
    return tuple(sorted(values))


def umask(node: yaml.Node, path: str) -> int:
    """Read a umask, which is octal however it is written: C{022}, C{22}, C{"0022"}, C{0o22}."""
    value = scalar(node, path, "a umask").value.strip()
    found = _UMASK.fullmatch(value)
    if found is None:
        raise mistake(node, path, f"must be an octal number up to 777, not {shown(value)}", "such as 022")
    return int(found.group(1), 8)


def account(node: yaml.Node, path: str) -> str:
    """Read the name or the number of a user or a group."""
    value = plain(node, path, "a name or a number", loose=True)
    if _ACCOUNT.fullmatch(value) is None:
        raise mistake(node, path, f"is no name or number of an account: {shown(value)}", "as in /etc/passwd")
    return value


_SIGNALS = ("TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "ABRT", "WINCH", "KILL")


def signal(node: yaml.Node, path: str) -> str:
    """Read the name of a signal, with or without C{SIG}; the value is without."""
    value = plain(node, path, "the name of a signal").strip().upper()
    value = value[3:] if value.startswith("SIG") else value
    if value not in _SIGNALS:
        raise mistake(node, path, f"is no signal to stop with: {shown(value)}", f"one of {', '.join(_SIGNALS)}")
    return value


def cookie_name(node: yaml.Node, path: str) -> str:
    """Read the name of a cookie (RFC 6265 section 4.1.1)."""
    value = plain(node, path, "the name of a cookie").strip()
    if _TOKEN.fullmatch(value) is None:
        raise mistake(node, path, f"is no name of a cookie: {shown(value)}", "such as instance")
    return value


def hash_on(node: yaml.Node, path: str) -> str:
    """Read what C{balance: hash} goes by."""
    value = plain(node, path, "ip, header:NAME or cookie:NAME")
    kind, colon, name = value.partition(":")
    if value.lower() == "ip":
        return "ip"
    if kind.lower() in ("header", "cookie") and colon and _TOKEN.fullmatch(name.strip()):
        return f"{kind.lower()}:{name.strip()}"
    raise mistake(node, path, f"must be ip, header:NAME or cookie:NAME, not {shown(value)}", "such as cookie:session")
