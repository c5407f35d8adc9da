"""
Values that say how files are served: names of indexes, rules for C{Cache-Control}, folders that a worker may have files
sent from. Pure.
"""

from __future__ import annotations

import re

import yaml

from .nodes import mistake, shown
from .places import entry, url_prefix
from .values import Read, file_path, plain

INDEXES_MAX = 10
"""Each is looked for in a folder."""

RULES_MAX = 50
"""Each is tried on the name of a file when it is first asked for."""

FOLDERS_MAX = 50

PATTERN_CHARS_MAX = 255

_PART = re.compile(r"(?!\.)[^/\\]{1,255}")
_VALUE = re.compile(r"[!-~](?:[ -~]{0,500}[!-~])?")


def file_name(node: yaml.Node, path: str) -> str:
    """Read the name of a file in some folder."""
    value = plain(node, path, "the name of a file")
    if _PART.fullmatch(value) is None:
        raise mistake(node, path, f"must be the name of a file, not {shown(value)}", "such as index.html")
    return value


def file_below(node: yaml.Node, path: str) -> str:
    """Read the path of a file below some folder; empty for none is the caller's affair."""
    value = plain(node, path, "the path of a file in the public folder")
    if not all(_PART.fullmatch(part) for part in value.split("/")):
        message = f"must be the path of a file in the public folder, not {shown(value)}"
        raise mistake(node, path, message, "such as index.html or app/index.html; no name may begin with a dot")
    return value


def _pattern(node: yaml.Node, path: str) -> str:
    value = plain(node, path, "a pattern")
    if not value.strip("/") or len(value) > PATTERN_CHARS_MAX:
        raise mistake(node, path, f"must be a pattern, not {shown(value)}", 'such as "*.js" or "/assets/**"')
    return value


def _header_value(node: yaml.Node, path: str) -> str:
    value = plain(node, path, "the value of a header")
    if _VALUE.fullmatch(value) is None:
        message = f"must be the value of a header, not {shown(value)}"
        raise mistake(node, path, message, "such as no-store, or public, max-age=31536000, immutable")
    return value


def cache_rule(node: yaml.Node, path: str) -> tuple[str, str]:
    """Read one rule for C{Cache-Control}: a pattern of names and the value."""
    reads: dict[str, Read[object]] = {"match": _pattern, "value": _header_value}
    found = entry(node, path, reads, "match and value", {})
    for key in reads:
        if key not in found:
            raise mistake(node, path, f"has no {key}", 'write {match: "*.js", value: "max-age=3600"}')
    pattern, value = found["match"], found["value"]
    assert isinstance(pattern, str) and isinstance(value, str)
    return pattern, value


def named_folder(node: yaml.Node, path: str) -> tuple[str, str]:
    """Read a prefix that C{X-Accel-Redirect} may name, and its folder, as written."""
    reads: dict[str, Read[object]] = {"prefix": url_prefix, "directory": file_path("a folder")}
    found = entry(node, path, reads, "prefix and directory", {})
    for key in reads:
        if key not in found:
            raise mistake(node, path, f"has no {key}", "write {prefix: /protected, directory: data/files}")
    prefix, directory = found["prefix"], found["directory"]
    assert isinstance(prefix, str) and isinstance(directory, str)
    return prefix, directory
