"""
A file's shape is a table of keys; reading a file against it gives the values found, and everything that is
wrong. Pure.

L{Key} is a row of the table: where the value stands in the file, what it may be, where it goes in the model.
A default is not in the table: it is the one of the model's field, which is thus written down once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import yaml
from attrs import Factory, define, frozen

from ..errors import ConfigFault, Problem
from .nodes import Mistake, Wrong, closest, compose, is_null, joined, mapping, pairs
from .values import Read

T = TypeVar("T")

PROBLEMS_MAX = 200
"""Nobody reads more at once; what is beyond is counted."""

NAMES_IN_HINT_MAX = 14
"""As many known keys are listed where none resembles the unknown one."""


@frozen
class Key:
    """
    One key of a file.

    @ivar path: its documented place, dotted.
    @ivar read: makes the value of the node.
    @ivar to: the dotted field of the model that the value goes to; empty if it is looked up by C{path}
        instead.
    @ivar also: other places where it is accepted, older spellings mostly.
    """

    path: str
    read: Read[object]
    to: str = ""
    also: tuple[str, ...] = ()


@frozen
class Later:
    """
    A key of the contract that this version does not have yet. To ignore it would be worse than to refuse it.

    @ivar path: its documented place, dotted.
    @ivar meanwhile: what to do without it.
    """

    path: str
    meanwhile: str


@frozen
class Value:
    """
    A value that was found.

    @ivar value: as its key's reader made it.
    @ivar line: of the key, from 1.
    @ivar path: as it was spelled in the file.
    @ivar node: what it was read from.
    """

    value: object
    line: int
    path: str
    node: yaml.Node

    @property
    def place(self) -> tuple[int, int]:
        """Line and column, to tell which of two values is the later."""
        return self.line, int(self.node.start_mark.column)


@define
class Found:
    """
    What a file holds: values by their documented paths, and what is wrong so far.

    @ivar file: the file's path, for problems.
    @ivar failed: documented paths whose values cannot be used.
    """

    file: str
    shape: Shape
    values: dict[str, Value] = Factory(dict)
    failed: set[str] = Factory(set)
    wrongs: list[Wrong] = Factory(list)
    others: list[Problem] = Factory(list)
    """Problems of files that this one names."""

    def __contains__(self, path: str) -> bool:
        return path in self.values

    def get(self, path: str, kind: type[T]) -> T | None:
        """
        The value of a key, which is of this type; L{None} if it is not in the file, failed, or is none
        itself.
        """
        found = self.values.get(path)
        if found is None or found.value is None:
            return None
        assert isinstance(found.value, kind), (path, found.value)
        return found.value

    def fill(self, make: Callable[..., T], to: str, **others: object) -> T:
        """
        Make a part of the model.

        @param make: its class.
        @param to: the dotted place of this part in the model, empty for the whole.
        @param others: fields that come from elsewhere; what the file says wins.
        @return: the instance, with the class's own defaults for the rest.
        """
        fields = dict(others)
        for key in self.shape.keys:
            place, _, name = key.to.rpartition(".")
            if name and place == to and key.path in self.values:
                fields[name] = self.values[key.path].value
        return make(**fields)

    def wrong(self, path: str, message: str, hint: str) -> None:
        """Something is wrong with a key; if the file does not have it, with the file as a whole."""
        found = self.values.get(path)
        line, spelled = (found.line, found.path) if found else (0, path)
        self.wrongs.append(Wrong(line, spelled, message, hint))

    def check(self, right: bool, paths: Sequence[str], message: str, hint: str) -> None:
        """
        Report a contradiction between keys, at the last of them that the file has.

        Silent while one of them failed: a default in its place would only make a second, wrong message.
        """
        if right or any(path in self.failed for path in paths):
            return
        at = [path for path in paths if path in self.values]
        last = max(at, key=lambda path: self.values[path].place) if at else paths[-1]
        self.wrong(last, message, hint)

    def problems(self) -> tuple[Problem, ...]:
        """Everything that is wrong, in the order of the file; other files last."""
        here = sorted(self.wrongs, key=lambda wrong: wrong.line)
        found = [wrong.in_file(self.file) for wrong in here] + self.others
        return bounded(found, self.file)

    def raise_problems(self) -> None:
        """@raise ConfigFault: if anything is wrong."""
        if found := self.problems():
            raise ConfigFault(found)


def bounded(found: Sequence[Problem], file: str) -> tuple[Problem, ...]:
    """The first L{PROBLEMS_MAX} problems, and how many more there are."""
    if len(found) <= PROBLEMS_MAX:
        return tuple(found)
    more = Problem(file, 0, "", f"has {len(found) - PROBLEMS_MAX} more problems", "mend these first")
    return (*found[:PROBLEMS_MAX], more)


class Shape:
    """All keys of one kind of file."""

    def __init__(self, keys: Iterable[Key], later: Iterable[Later] = ()) -> None:
        self.keys = tuple(keys)
        self._later = {key.path: key for key in later}
        self._leaves: dict[str, Key] = {}
        self._children: dict[str, list[str]] = {}
        for key in self.keys:
            for spelling in (key.path, *key.also):
                assert spelling not in self._leaves, spelling
                self._leaves[spelling] = key
        for spelling in (*self._leaves, *self._later):
            self._grow(spelling)

    def _grow(self, spelling: str) -> None:
        """Make a place for a key, and for the sections above it."""
        while spelling:
            section, _, name = spelling.rpartition(".")
            names = self._children.setdefault(section, [])
            if name not in names:
                names.append(name)
            assert section not in self._leaves, spelling
            spelling = section

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every dotted path that is accepted."""
        return tuple(self._leaves)

    def read(self, data: bytes, file: str) -> Found:
        """
        Read a file's content against the table.

        @param data: the whole content.
        @param file: its path, for problems.
        @return: what was found; never raises for what is in a file.
        """
        found = Found(file, self)
        try:
            root = compose(data)
            if root is not None and not is_null(root):
                self._section(mapping(root, "", "keys and values at its top"), "", found)
        except Mistake as wrong:
            found.wrongs.extend(wrong.wrongs)
            # Whatever the file would have said: nobody can tell that something is missing.
            found.failed.update(key.path for key in self.keys)
        return found

    def _section(self, node: yaml.MappingNode, path: str, found: Found) -> None:
        keys, wrongs = pairs(node, path)
        found.wrongs.extend(wrongs)
        for pair in keys:
            where = f"{path}.{pair.key}" if path else pair.key
            if where in self._leaves:
                self._value(self._leaves[where], where, pair.line, pair.value, found)
            elif where in self._later:
                message = "is something that this version does not have yet"
                found.wrongs.append(Wrong(pair.line, where, message, self._later[where].meanwhile))
            elif where not in self._children:
                hint = self._hint(path, pair.key) if len(found.wrongs) < PROBLEMS_MAX else ""
                found.wrongs.append(Wrong(pair.line, joined(path, pair.key), "is not a known key", hint))
            elif not is_null(pair.value):
                self._subsection(pair.value, where, found)

    def _subsection(self, value: yaml.Node, where: str, found: Found) -> None:
        try:
            inner = mapping(value, where, f"the keys {self._names(where)}")
        except Mistake as wrong:
            found.wrongs.extend(wrong.wrongs)
        else:
            self._section(inner, where, found)

    def _value(self, key: Key, where: str, line: int, node: yaml.Node, found: Found) -> None:
        earlier = found.values.get(key.path)
        if earlier is not None:
            message = f"says the same as {earlier.path} on line {earlier.line}"
            found.wrongs.append(Wrong(line, where, message, f"keep one of the two, {key.path} by preference"))
            return
        try:
            found.values[key.path] = Value(key.read(node, where), line, where, node)
        except Mistake as wrong:
            found.wrongs.extend(wrong.wrongs)
            found.failed.add(key.path)

    def _hint(self, section: str, name: str) -> str:
        """What was meant by an unknown key: one like it here, the same one elsewhere, or what there is."""
        here = self._children[section]
        if (meant := closest(name, here)) is not None:
            return f"did you mean {joined(section, meant)}?"
        plain = name.lower().replace("-", "_")
        for spelling, key in self._leaves.items():
            if spelling.rpartition(".")[2] == plain:
                return f"did you mean {key.path}?"
        if (meant := closest(name, self._children)) is not None and meant:
            return f"did you mean {meant}?"
        return f"known here: {self._names(section)}"

    def _names(self, section: str) -> str:
        names = self._children[section]
        more = ", ..." if len(names) > NAMES_IN_HINT_MAX else ""
        return ", ".join(names[:NAMES_IN_HINT_MAX]) + more


def whole_file(file: str, message: str, hint: str) -> ConfigFault:
    """A fault of a file as a whole."""
    return ConfigFault((Problem(file, 0, "", message, hint),))
