"""
Whose fault it is.

Every error that can reach a person is one of these. A fault of the data plane carries the HTTP status that answers
it, so that the mapping from fault to status is written down once, here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from attrs import field, frozen

if TYPE_CHECKING:
    from typing_extensions import Self


class Fault(Exception):
    """
    Something went wrong with one request, and this is how it is answered.

    @ivar status: the HTTP status code of the answer.
    @ivar reason: one sentence for a person; it never holds internals (addresses, paths, exception texts).
    @ivar detail: what an operator may know besides; shown in development and written to logs, never to clients in
        production.
    @ivar retry_after_s: seconds for a C{Retry-After} header, or L{None}.
    """

    status = 500

    def __init__(
        self, reason: str, detail: str = "", *, status: int | None = None, retry_after_s: int | None = None
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail
        self.retry_after_s = retry_after_s
        if status is not None:
            self.status = status

    def bare(self) -> Self:
        """The same without where it was raised, to be kept: a traceback holds everybody who had a part in it."""
        self.__traceback__ = self.__context__ = None
        return self

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.status} {self.reason!r} {self.detail!r}>"


class ClientFault(Fault):
    """The request cannot be served because of what the client sent (4xx, and 501 for codings unknown to us)."""

    status = 400


class UpstreamFault(Fault):
    """The worker broke, lied or was silent for too long (502, 504)."""

    status = 502


class Unreachable(UpstreamFault):
    """No connection to the worker could be opened: nothing of the request was sent, so it may be tried for ever."""


class ScarceFault(Unreachable):
    """We have no file descriptor left to connect with. The worker is not to blame, and it may be tried again, too."""

    status = 503


class ServerFault(Fault):
    """We cannot serve now: overloaded, not built, held, stopping (503), or a mistake of our own (500)."""

    status = 503


@frozen
class Problem:
    """
    One thing that is wrong with a configuration file.

    @ivar file: the file's path as it was given.
    @ivar line: line number from 1; 0 when the file as a whole is meant.
    @ivar path: the key's place in the file, such as C{scaling.max_workers}; empty for the whole file.
    @ivar message: what is wrong.
    @ivar hint: what would mend it; empty if there is nothing to say.
    """

    file: str
    line: int
    path: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        path = f"{self.path}: " if self.path else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{where}: {path}{self.message}{hint}"


def _tuple(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    return tuple(problems)


@frozen
class ConfigFault(Exception):
    """A configuration that cannot be used, with all its problems, never only the first."""

    problems: tuple[Problem, ...] = field(converter=_tuple)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class CommandFault(Exception):
    """
    A command that cannot be obeyed: the message says why.

    @ivar unknown: whether what it names is not there.
    """

    def __init__(self, reason: str, unknown: bool = False) -> None:
        super().__init__(reason)
        self.unknown = unknown
