"""
What the value of a key may be: functions that turn a YAML node into a typed value, or say what would mend it.
Pure.

A L{Read} takes a node and the key's path and returns the value or raises L{Mistake}. The functions here make
such readers from their limits. An unquoted number in a place for text is taken as it was written only where
any text will do (arguments, environment, php.ini settings); a quoted number in a place for a number is the
number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import isfinite
from typing import TypeVar

import yaml

from ..units import SIZE_BYTES_MAX, duration_s, go_memory_limit, size_bytes, size_text
from .nodes import Mistake, Wrong, closest, has_tag, is_empty, items, mistake, scalar, shown

T = TypeVar("T")
Read = Callable[[yaml.Node, str], T]
"""From a node and the dotted path of its key to a value. @raise Mistake: if it cannot be used."""

TEXT_CHARS_MAX = 4096
"""A longer text is no name, path or argument (PATH_MAX of Linux)."""

ITEMS_MAX = 200
"""Of any list, and of any mapping with free keys."""

_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9_]{0,24})", re.ASCII)
_NUMBER = re.compile(r"[-+]?(?:[0-9][0-9_]{0,24}(?:\.[0-9]{0,24})?|\.[0-9]{1,24})(?:[eE][-+]?[0-9]{1,3})?", re.ASCII)
_TRUE = ("true", "yes", "on")
_FALSE = ("false", "no", "off")
PLACEHOLDER = re.compile(r"\{([A-Za-z_]{1,32})\}", re.ASCII)
"""A name in braces that the server puts a value for."""


def whole(low: int, high: int, unit: str = "", remedy: str = "") -> Read[int]:
    """A reader of whole numbers from C{low} to C{high}."""
    wanted = f"a whole number from {low} to {high}" + (f" ({unit})" if unit else "")

    def read(node: yaml.Node, path: str) -> int:
        text = scalar(node, path, wanted).value.strip()
        if _INTEGER.fullmatch(text) is None:
            raise mistake(node, path, f"must be {wanted}, not {shown(text)}", remedy or "write digits only")
        return _within(int(text), low, high, node, path, unit, remedy)

    return read


def _within(number: T, low: float, high: float, node: yaml.Node, path: str, unit: str, remedy: str) -> T:
    assert isinstance(number, (int, float))
    if not low <= number <= high:
        said = f"must be from {low:.12g} to {high:.12g}" + (f" {unit}" if unit else "")
        nearest = low if number < low else high
        raise mistake(node, path, f"{said}, not {number:.12g}", remedy or f"the nearest is {nearest:.12g}")
    return number


def _number(node: yaml.Node, path: str, wanted: str) -> float:
    text = scalar(node, path, wanted).value.strip()
    if _NUMBER.fullmatch(text) is None or not isfinite(number := float(text)):
        raise mistake(node, path, f"must be {wanted}, not {shown(text)}", "write a number; the key says the unit")
    return number


def seconds(low: float = 0.001, high: float = 86_400.0, remedy: str = "") -> Read[float]:
    """A reader of durations whose key ends in C{_seconds}."""

    def read(node: yaml.Node, path: str) -> float:
        return _within(_number(node, path, "a number of seconds"), low, high, node, path, "seconds", remedy)

    return read


def millis(low: float = 0.0, high: float = 3_600_000.0) -> Read[float]:
    """A reader of durations whose key ends in C{_ms}; the value is in seconds."""

    def read(node: yaml.Node, path: str) -> float:
        number = _within(_number(node, path, "a number of milliseconds"), low, high, node, path, "milliseconds", "")
        return number / 1000

    return read


def duration(low: float = 0.0, high: float = 86_400.0) -> Read[float]:
    """
    A reader of durations whose key tells no unit: a number of seconds, or a number with its unit (C{90s}).
    """

    def read(node: yaml.Node, path: str) -> float:
        text = scalar(node, path, "a duration").value
        try:
            number = duration_s(text.replace("_", ""))
        except ValueError:
            raise mistake(node, path, f"must be a duration, not {shown(text)}", "write seconds, or 500ms, 60s, 2m, 1h")
        return _within(number, low, high, node, path, "seconds", "")

    return read


def size(low: int = 0, high: int = SIZE_BYTES_MAX) -> Read[int]:
    """A reader of sizes: bytes, or a number with its unit (C{256M})."""

    def read(node: yaml.Node, path: str) -> int:
        text = scalar(node, path, "a size").value
        try:
            number = size_bytes(text.replace("_", ""))
        except ValueError as error:
            raise mistake(node, path, f"must be a size: {error}", "write bytes, or 16KiB, 256M, 1.5G")
        if not low <= number <= high:
            raise mistake(
                node,
                path,
                f"must be from {size_text(low)} to {size_text(high)}, not {shown(text)}",
                f"the nearest is {size_text(low if number < low else high)}",
            )
        return number

    return read


def go_limit(node: yaml.Node, path: str) -> str:
    """Read C{GOMEMLIMIT}."""
    if is_empty(node):
        return ""
    text = scalar(node, path, "a size").value
    try:
        return go_memory_limit(text.replace("_", ""))
    except ValueError as error:
        raise mistake(node, path, f"must be a size: {error}", 'write 256MiB, 1.5G, off, or "" for no limit')


def boolean(node: yaml.Node, path: str) -> bool:
    """Read true or false."""
    text = scalar(node, path, "true or false").value
    if text.lower() in _TRUE:
        return True
    if text.lower() in _FALSE:
        return False
    raise mistake(node, path, f"must be true or false, not {shown(text)}", "write true or false")


def choice(*known: str, also: dict[str, str] | None = None) -> Read[str]:
    """A reader of one of several words; C{also} maps other accepted spellings to them."""
    others = also or {}

    def read(node: yaml.Node, path: str) -> str:
        text = scalar(node, path, f"one of {', '.join(known)}").value.strip()
        word: str = others.get(text.lower(), text.lower())
        if word in known:
            return word
        meant = closest(text, known)
        hint = f"did you mean {meant}?" if meant else f"write one of {', '.join(known)}"
        raise mistake(node, path, f"must be one of {', '.join(known)}, not {shown(text)}", hint)

    return read


def plain(node: yaml.Node, path: str, wanted: str, loose: bool = False) -> str:
    """
    The text of a scalar: no control characters, not endless.

    @param loose: take numbers, booleans and dates as they were written.
    """
    text = scalar(node, path, wanted)
    if not loose and not has_tag(text, "str"):
        raise mistake(
            node,
            path,
            f"must be {wanted}, not {shown(text.value)}",
            f'if you mean it, quote it: "{text.value[:40]}"',
        )
    if len(text.value) > TEXT_CHARS_MAX:
        raise mistake(node, path, f"is longer than {TEXT_CHARS_MAX} characters", "shorten it")
    if not clean(text.value):
        raise mistake(node, path, f"holds a control character: {shown(text.value)}", "remove it")
    return str(text.value)


def clean(text: str, allowed: str = "") -> bool:
    """Whether a text has no control characters but those allowed, and no halves of surrogate pairs."""
    return all(
        character in allowed or not (character < " " or character == "\x7f" or "\ud800" <= character <= "\udfff")
        for character in text
    )


def text(wanted: str, remedy: str, pattern: str = r".+") -> Read[str]:
    """A reader of text that matches a pattern as a whole."""
    compiled = re.compile(pattern, re.ASCII)

    def read(node: yaml.Node, path: str) -> str:
        value = plain(node, path, wanted)
        if compiled.fullmatch(value) is None:
            raise mistake(node, path, f"must be {wanted}, not {shown(value)}", remedy)
        return value

    return read


def file_path(wanted: str) -> Read[str]:
    """A reader of paths, as written: whoever knows the directory makes them absolute."""

    def read(node: yaml.Node, path: str) -> str:
        value = plain(node, path, wanted)
        if not value.strip():
            raise mistake(node, path, f"must be {wanted}, not empty", "write a path, or remove the key")
        if value.startswith("~"):
            raise mistake(
                node, path, f"begins with ~, which means nothing here: {shown(value)}", "write the whole path"
            )
        return value

    return read


def or_none(read: Read[T]) -> Read[T | None]:
    """A reader that also takes null, C{~} and the empty text, which mean none."""

    def read_or_none(node: yaml.Node, path: str) -> T | None:
        return None if is_empty(node) else read(node, path)

    return read_or_none


def or_word(word: str, read: Read[T]) -> Read[T | None]:
    """A reader that also takes one word, which leaves the choice to us: L{None}."""

    def read_or_word(node: yaml.Node, path: str) -> T | None:
        if isinstance(node, yaml.ScalarNode) and node.value.strip().lower() == word:
            return None
        return read(node, path)

    return read_or_word


def log_path(*placeholders: str) -> Read[str | None]:
    """A reader of a log file's path, which may hold some placeholders; null means no log."""
    path_of = file_path("the path of a log file")

    def read(node: yaml.Node, path: str) -> str:
        value = path_of(node, path)
        if value.endswith("/"):
            raise mistake(node, path, f"is a folder: {shown(value)}", "write the path of a file")
        _check_placeholders(value, placeholders, node, path)
        return value

    return or_none(read)


def _check_placeholders(value: str, known: Sequence[str], node: yaml.Node, path: str) -> None:
    for name in PLACEHOLDER.findall(value):
        if name not in known:
            names = ", ".join(f"{{{name}}}" for name in known)
            raise mistake(node, path, f"holds {{{name}}}, which is unknown", f"known here: {names}")


def each(read: Read[T], wanted: str, count_max: int = ITEMS_MAX, count_min: int = 0) -> Read[tuple[T, ...]]:
    """A reader of lists. All items are read, and all that are wrong are reported."""

    def read_each(node: yaml.Node, path: str) -> tuple[T, ...]:
        values: list[T] = []
        wrongs: list[Wrong] = []
        for index, item in enumerate(items(node, path, wanted, count_max)):
            where = f"{path}[{index}]"
            try:
                values.append(read(item, where))
            except Mistake as wrong:
                wrongs.extend(wrong.wrongs)
        if wrongs:
            raise Mistake(*wrongs)
        if len(values) < count_min:
            raise mistake(node, path, f"is empty; it must be a list of {wanted}", "add one, or remove the key")
        return tuple(values)

    return read_each
