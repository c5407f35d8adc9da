"""
YAML text becomes a tree of nodes that know their lines, or one clear mistake; and the questions asked of a
node. Pure.

Only the shape of YAML is used, none of its construction of values: what a scalar means depends on the key
that it belongs to, and L{tqserver.config.values} decides that. So no input can make an object of ours, and
C{umask: 022} can mean what everybody means by it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

import yaml
from attrs import frozen

from ..errors import Problem

FILE_BYTES_MAX = 256 * 1024
"""A hundred times a long configuration; a larger file is something else that was named by mistake."""

EVENTS_MAX = 20_000
"""Nodes, roughly. It bounds the work that a file within L{FILE_BYTES_MAX} can cause."""

DEPTH_MAX = 32
"""Levels of nesting. The deepest key of ours is at level 4; the composer recurses, so that depth is stack."""

SHOWN_CHARS_MAX = 60
"""How much of a wrong value a message repeats."""

_LOADER: type[yaml.CSafeLoader] | type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What YAML does not allow in a file (YAML 1.1 section 5.1); the parser would not say on which line it is."""

_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = frozenset(_TAG + name for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge"))


@frozen
class Wrong:
    """A L{Problem} that does not know yet which file it is in."""

    line: int
    path: str
    message: str
    hint: str = ""

    def in_file(self, file: str) -> Problem:
        """The same as a L{Problem} of a file."""
        return Problem(file, self.line, self.path, self.message, self.hint)


class Mistake(Exception):
    """
    A value cannot be used.

    @ivar wrongs: why, at least one.
    """

    def __init__(self, *wrongs: Wrong) -> None:
        super().__init__("; ".join(wrong.message for wrong in wrongs))
        self.wrongs = wrongs


def mistake(node: yaml.Node, path: str, message: str, hint: str = "") -> Mistake:
    """A L{Mistake} at the line of a node."""
    return Mistake(Wrong(line_of(node), path, message, hint))


def line_of(node: yaml.Node) -> int:
    """The line that a node begins on, from 1."""
    return int(node.start_mark.line) + 1


def compose(data: bytes) -> yaml.Node | None:
    """
    Read a YAML document.

    @param data: the whole content of a file.
    @return: the root node, or L{None} for a document without content.
    @raise Mistake: if it is not UTF-8, not YAML, more than one document, or beyond a limit.
    """
    text = _decoded(data)
    try:
        _measure(text)
        return yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        raise _syntax_mistake(error, len((text + ".").splitlines()))
    except yaml.YAMLError as error:
        raise Mistake(Wrong(0, "", f"is not YAML: {shown(str(error))}", "mend the syntax"))


def _decoded(data: bytes) -> str:
    """UTF-8, with or without a byte order mark."""
    if len(data) > FILE_BYTES_MAX:
        raise Mistake(
            Wrong(
                0,
                "",
                f"is {len(data)} bytes long or longer; a configuration has at most {FILE_BYTES_MAX}",
                "is this the right file?",
            )
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Mistake(Wrong(1, "", "is encoded as UTF-16", "save it as UTF-8"))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # "utf-8-sig" counts from after the mark.
        line = error.object[: error.start].count(b"\n") + 1
        raise Mistake(Wrong(line, "", "is not UTF-8 text", "save it as UTF-8"))
    if (odd := _UNPRINTABLE.search(text)) is not None:
        line = text.count("\n", 0, odd.start()) + 1
        raise Mistake(Wrong(line, "", f"holds the control character U+{ord(odd.group()):04X}", "remove that character"))
    return text


def _measure(text: str) -> None:
    """Refuse what would be too deep or too much for the composer."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        mark = event.start_mark
        line = mark.line + 1 if mark else 0
        if isinstance(event, yaml.events.CollectionStartEvent):
            depth += 1
            if depth > DEPTH_MAX:
                raise _too_deep(line)
        elif isinstance(event, yaml.events.CollectionEndEvent):
            depth -= 1
        if count > EVENTS_MAX:
            raise Mistake(
                Wrong(line, "", f"holds more than {EVENTS_MAX} values", "is this the right file?"),
            )


def _too_deep(line: int) -> Mistake:
    return Mistake(Wrong(line, "", f"is nested more than {DEPTH_MAX} levels deep", "no key of ours is below level 4"))


def _syntax_mistake(error: yaml.MarkedYAMLError, lines: int) -> Mistake:
    """
    What the YAML parser says, with its line, and the remedy where it is a usual one.

    @param lines: that there are; libyaml counts some of Unicode's separators twice.
    """
    mark = error.problem_mark or error.context_mark
    line = min(mark.line + 1, lines) if mark else 0
    said = error.problem or error.context or "unknown syntax"
    if "nesting depth" in said:
        return _too_deep(line)  # PyYAML has a limit of its own since 6.0.4, and looks some way ahead.
    begun = error.context_mark
    if error.context and begun is not None and begun.line + 1 < line:
        said += f" {error.context}, which began on line {begun.line + 1}"
    hint = "mend the syntax; a value with special characters wants quotes"
    if "tab" in said or "cannot start any token" in said:
        hint = "indent with spaces, not tabs; a value that begins with %, @ or ` wants quotes"
    elif "mapping values are not allowed" in said:
        hint = "check the indentation; a value that holds ': ' wants quotes"
    elif "another document" in said:
        hint = "one file is one document: remove the '---'"
    elif "undefined alias" in said:
        hint = "a value that begins with * wants quotes"
    return Mistake(Wrong(line, "", f"is not YAML: {said}", hint))


@frozen
class Pair:
    """One key of a mapping with its value, and the line of the key."""

    key: str
    line: int
    value: yaml.Node


def pairs(node: yaml.MappingNode, path: str) -> tuple[list[Pair], list[Wrong]]:
    """
    The keys of a mapping in the order of the file, those of merged mappings (C{<<: *anchor}) last.

    @return: every key once, and what is wrong: keys given twice, keys that are no text, merges of something
        else.
    """
    wrongs: list[Wrong] = []
    found: dict[str, Pair] = {}
    merged: list[yaml.Node] = []
    for key, value in node.value:
        line = line_of(key)
        if not isinstance(key, yaml.ScalarNode) or key.tag not in _PLAIN_TAGS:
            wrongs.append(Wrong(line, path, "a key must be text", "write it as `key: value`"))
        elif key.tag == _TAG + "merge":
            merged.append(value)
        elif (first := found.get(key.value)) is not None:
            where = joined(path, key.value)
            wrongs.append(Wrong(line, where, f"is given twice, first on line {first.line}", "keep one of the two"))
        else:
            found[key.value] = Pair(key.value, line, value)
    for pair in _merged(merged, path, wrongs):
        # The mapping's own keys win, then those of the mapping that was named first (YAML merge key, type
        # registry).
        found.setdefault(pair.key, pair)
    return list(found.values()), wrongs


def _merged(sources: list[yaml.Node], path: str, wrongs: list[Wrong]) -> Iterable[Pair]:
    """
    The keys of merged mappings. Each mapping is visited once: merges of merges cannot multiply or go in
    circles.
    """
    seen: set[int] = set()
    queue = list(reversed(sources))
    while queue:
        node = queue.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            queue.extend(reversed(node.value))
        elif isinstance(node, yaml.MappingNode):
            deeper: list[yaml.Node] = []
            for key, value in node.value:
                if key.tag == _TAG + "merge":
                    deeper.append(value)
                elif isinstance(key, yaml.ScalarNode):
                    yield Pair(key.value, line_of(key), value)
            queue.extend(reversed(deeper))
        else:
            wrongs.append(Wrong(line_of(node), path, "<< merges mappings only", "write `<<: *anchor`"))


def scalar(node: yaml.Node, path: str, wanted: str) -> yaml.ScalarNode:
    """
    The node as a scalar that is not null.

    @param wanted: what the key takes, with its article, for the message.
    @raise Mistake: if it is a list, a mapping, null or has a tag of its own.
    """
    if not isinstance(node, yaml.ScalarNode):
        what = "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
        raise mistake(node, path, f"must be {wanted}, not {what}", f"write {path.rpartition('.')[2]}: and one value")
    if node.tag not in _PLAIN_TAGS:
        raise mistake(node, path, f"has the tag {shown(node.tag)}", "write the value without a tag")
    if is_null(node):
        raise mistake(node, path, f"has no value; it must be {wanted}", "remove the key to have its default")
    return node


def is_null(node: yaml.Node) -> bool:
    """Whether a value is C{null}, C{~} or missing."""
    return isinstance(node, yaml.ScalarNode) and bool(node.tag == _TAG + "null")


def is_empty(node: yaml.Node) -> bool:
    """Whether a value is null or the empty text: the ways to say "none"."""
    return is_null(node) or (isinstance(node, yaml.ScalarNode) and node.value == "")


def has_tag(node: yaml.ScalarNode, *names: str) -> bool:
    """Whether YAML takes an unquoted scalar for one of these: C{int}, C{float}, C{bool}, C{str}..."""
    return any(node.tag == _TAG + name for name in names)


def items(node: yaml.Node, path: str, wanted: str, count_max: int) -> list[yaml.Node]:
    """
    The items of a list; none for null.

    @raise Mistake: if it is not a list, or longer than C{count_max}.
    """
    if is_null(node):
        return []
    if not isinstance(node, yaml.SequenceNode):
        raise mistake(
            node, path, f"must be a list of {wanted}", "write it as [a, b], or each item on a line after '- '"
        )
    if len(node.value) > count_max:
        raise mistake(node, path, f"has {len(node.value)} items, at most {count_max} are accepted", "shorten the list")
    return list(node.value)


def mapping(node: yaml.Node, path: str, wanted: str) -> yaml.MappingNode:
    """
    The node as a mapping.

    @raise Mistake: if it is something else.
    """
    if not isinstance(node, yaml.MappingNode):
        raise mistake(node, path, f"must hold {wanted}", "write `key: value`, indented, on the lines below it")
    return node


def joined(path: str, key: str) -> str:
    """A dotted path one level deeper. Odd keys are shortened, so that a path stays one line."""
    if not key.isprintable() or len(key) > SHOWN_CHARS_MAX:
        key = shown(key)
    return f"{path}.{key}" if path else key


def shown(text: str) -> str:
    """A value for a message: quoted, on one line, not too long."""
    return repr(text if len(text) <= SHOWN_CHARS_MAX else text[: SHOWN_CHARS_MAX - 3] + "...")


def closest(word: str, known: Iterable[str]) -> str | None:
    """The known word that somebody who wrote this one most likely meant, or L{None}."""
    if len(word) > SHOWN_CHARS_MAX:
        return None
    found = difflib.get_close_matches(word.lower().replace("-", "_"), list(known), n=1, cutoff=0.7)
    return found[0] if found else None
