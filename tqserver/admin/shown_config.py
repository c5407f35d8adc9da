"""The configuration as an operator sees it: every value that is in force, and no secret. Pure."""

from __future__ import annotations

from typing import Any

from attrs import fields, has

from ..config.model import Project

MASK = "***"
"""In place of a secret."""


def shown_config(project: Project) -> dict[str, object]:
    """
    The configuration in force, as plain JSON values.

    Hidden are what never shows itself in logs either, and the values of environment variables: passwords live there.
    """
    return {
        "mode": project.server.mode,
        "file": project.server.file,
        "project": project.server.project,
        "server": _shown(project.server),
        "workers": [_shown(worker) for worker in project.workers],
        "broken": [
            {"name": broken.name, "problems": [str(problem) for problem in broken.problems]}
            for broken in project.broken
        ],
    }


def _shown(value: Any) -> Any:
    """A value as JSON has it, secrets masked."""
    if has(type(value)):
        return {
            field.name: _environment(getattr(value, field.name))
            if field.name == "environment"
            else _secret(getattr(value, field.name))
            if field.repr is False
            else _shown(getattr(value, field.name))
            for field in fields(type(value))
        }
    if isinstance(value, tuple | list | frozenset | set):
        return [_shown(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _shown(item) for key, item in value.items()}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)


def _secret(value: object) -> str | None:
    return None if value is None else MASK


def _environment(value: Any) -> Any:
    """Names, and a mask for each value."""
    pairs = value.items() if isinstance(value, dict) else value
    return {str(name): MASK for name, _ in pairs}
