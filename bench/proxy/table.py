"""The table, for a terminal and as reStructuredText. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from bench.project import Unmet
from bench.proxy.rows import GO, NGINX, OURS, Outcome

BEGIN, END = ".. The table of bench.proxy begins.", ".. The table of bench.proxy ends."
"""Comments of reStructuredText, between which the table is in README.rst."""

WIDTH = 120
"""Of lines on a page."""

HEADINGS = ("", OURS, NGINX, GO, "ratio", "promised", "")


def cells(outcome: Outcome) -> tuple[str, ...]:
    """One line of the table."""
    row = outcome.row
    figures = [_figure(outcome.shown.get(name), row.digits) for name in (OURS, NGINX, GO)]
    title = f"{row.title}, {row.unit}"
    ratio = "" if outcome.ratio is None or not row.peer else f"{outcome.ratio:.2f}"
    return (title, *figures, ratio, row.promise, outcome.verdict.value)


def _figure(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:,.{digits}f}"


def notes(outcomes: Sequence[Outcome]) -> list[str]:
    """What stands below the table: other candidates' figures, and what was wrong."""
    lines = []
    for outcome in outcomes:
        row = outcome.row
        for name, value in outcome.shown.items():
            if name not in (OURS, NGINX, GO) and value is not None:
                lines.append(f"{row.title}: {name} {_figure(value, row.digits)} {row.unit}")
        lines += [f"{row.title}: {note}" for note in outcome.notes]
    return lines


def _lines(outcomes: Sequence[Outcome]) -> list[tuple[str, ...]]:
    return [HEADINGS, *map(cells, outcomes)]


def _widths(lines: Sequence[tuple[str, ...]]) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _padded(line: tuple[str, ...], widths: Sequence[int]) -> str:
    """Words to the left, numbers to the right."""
    padded = [
        cell.ljust(width) if column in (0, 5, 6) else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(padded).rstrip()


def as_text(outcomes: Sequence[Outcome], machine: Sequence[str]) -> str:
    """For a terminal."""
    lines = _lines(outcomes)
    widths = _widths(lines)
    return "\n".join([*machine, "", *(_padded(line, widths) for line in lines), "", *notes(outcomes)]).rstrip() + "\n"


def as_rst(outcomes: Sequence[Outcome], machine: Sequence[str]) -> str:
    """As reStructuredText: the machine, a simple table, notes."""
    lines = [tuple(cell or "\\" for cell in line) for line in _lines(outcomes)]
    widths = _widths(lines)
    rule = "  ".join("=" * width for width in widths)
    table = [rule, _padded(lines[0], widths), rule, *(_padded(line, widths) for line in lines[1:]), rule]
    head = textwrap.wrap("; ".join(machine) + ".", WIDTH)
    below = [line for note in notes(outcomes) for line in textwrap.wrap(f"- {note}", WIDTH, subsequent_indent="  ")]
    return "\n".join([*head, "", *table, *(["", *below] if below else [])]) + "\n"


def with_table(text: str, table: str, begin_line: str = BEGIN, end_line: str = END) -> str:
    """
    A page with another table in it.

    @param begin_line: what stands before the table, and C{end_line} after it.

    @raise Unmet: it has no place for one.
    """
    before, begin, rest = text.partition(begin_line)
    _, end, after = rest.partition(end_line)
    if not begin or not end:
        raise Unmet(f"no {begin_line!r} and {end_line!r} there")
    return f"{before}{begin_line}\n\n{table}\n{end_line}{after}"
