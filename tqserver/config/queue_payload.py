"""
Any YAML value as what a task holds: text as it is, everything else as JSON. Pure.

Scalars mean what they mean in JSON: C{true}, C{null} and decimal numbers are themselves, and whatever else is not
quoted (C{yes}, C{0x10}, C{2026-01-05}) is the text that stands there.
"""

from __future__ import annotations

import json
import re
from math import isfinite

import yaml
from attrs import define

from .nodes import DEPTH_MAX, SHOWN_CHARS_MAX, has_tag, is_null, line_of, mistake
from .values import clean

PAYLOAD_BYTES_MAX = 64 * 1024
"""Of a task that a configuration file writes out; what is larger belongs into a file that the worker reads."""

VALUES_MAX = 10_000
"""Of one payload. An alias can repeat a large part many times; this bounds what that costs."""

_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})(?:\.[0-9]{1,18})?(?:[eE][-+]?[0-9]{1,3})?", re.ASCII)

Payload = tuple[str, str]
"""The text, and its media type: C{text/plain} or C{application/json}."""


def payload(node: yaml.Node, path: str) -> Payload:
    """Read a payload."""
    value = _Reading(path).value(node, 0)
    if isinstance(value, str):
        written, kind = value, "text/plain"
    else:
        written, kind = json.dumps(value, ensure_ascii=False, separators=(",", ":")), "application/json"
    if len(written.encode()) > PAYLOAD_BYTES_MAX:
        message = f"is longer than {PAYLOAD_BYTES_MAX} bytes"
        raise mistake(node, path, message, "shorten it; the worker can read what is large from a file")
    return written, kind


@define
class _Reading:
    """One look at a value and all that is in it."""

    path: str
    count: int = 0

    def value(self, node: yaml.Node, depth: int) -> object:
        """What a node stands for."""
        self.count += 1
        if self.count > VALUES_MAX or depth > DEPTH_MAX:
            raise mistake(node, self.path, f"holds more than {VALUES_MAX} values", "shorten it")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, depth + 1) for item in node.value]
        assert isinstance(node, yaml.MappingNode)
        found: dict[str, object] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or has_tag(key, "merge"):
                raise mistake(key, self.path, "has a key that is no text", "write it as `key: value`")
            if key.value in found:
                told = key.value[:SHOWN_CHARS_MAX]
                raise mistake(key, self.path, f"has the key {told!r} twice", "keep one of the two")
            found[self._text(key)] = self.value(value, depth + 1)
        return found

    def _scalar(self, node: yaml.ScalarNode) -> object:
        if is_null(node):
            return None
        written = node.value
        if has_tag(node, "bool") and written in ("true", "false"):
            return bool(written == "true")
        if has_tag(node, "int") and _INTEGER.fullmatch(written):
            return int(written)
        # YAML 1.1 does not see a number in 1e3.
        if has_tag(node, "float") and _NUMBER.fullmatch(written) and isfinite(number := float(written)):
            return number
        return self._text(node)

    def _text(self, node: yaml.ScalarNode) -> str:
        if not clean(node.value, "\t\n\r"):
            raise mistake(node, self.path, f"holds a control character on line {line_of(node)}", "remove it")
        return str(node.value)
