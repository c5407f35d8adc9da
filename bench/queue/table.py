"""The tables, for a terminal and as reStructuredText. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from bench.proxy.rows import OURS, Figures, Outcome
from bench.proxy.table import WIDTH
from bench.queue.rows import CPU_US, P50_MS, P99_MS, PER_S

BEGIN, END = ".. The table of bench.queue begins.", ".. The table of bench.queue ends."
"""Comments of reStructuredText, between which the table is in README.rst."""

PROMISES = ("", OURS, "beside", "ratio", "promised", "")
"""Headings of the first table."""
CYCLES = ("put, got and deleted", "per second", "CPU of each, µs", "p50, ms", "p99, ms")
"""Headings of the second."""

Lines = list[tuple[str, ...]]


def figure(value: float | None, digits: int) -> str:
    """A number for people; nothing for none."""
    return "" if value is None else f"{value:,.{digits}f}"


def promises(outcomes: Sequence[Outcome]) -> Lines:
    """The first table: a line for each row, with what it is compared with."""
    lines: Lines = [PROMISES]
    for outcome in outcomes:
        row = outcome.row
        beside = figure(outcome.shown.get(row.peer), row.digits) if row.peer else ""
        ratio = figure(outcome.ratio, 2) if row.peer else ""
        ours = figure(outcome.shown.get(OURS), row.digits)
        lines.append((f"{row.title}, {row.unit}", ours, beside, ratio, row.promise, outcome.verdict.value))
    return lines


def cycles(measured: Sequence[tuple[str, dict[str, Figures]]]) -> Lines:
    """
    The second table: everybody who was measured in the rows of whole cycles.

    @param measured: titles of rows, and what was measured there.
    """
    lines: Lines = [CYCLES]
    for title, found in measured:
        lines.append((f"*{title}*", "", "", "", ""))
        for name, figures in found.items():
            if figures.missing:
                lines.append((name, figures.missing, "", "", ""))
                continue
            shown = [(PER_S, 0), (CPU_US, 0), (P50_MS, 2), (P99_MS, 2)]
            lines.append((name, *(figure(figures.median(key), digits) for key, digits in shown)))
    return lines


def notes(outcomes: Sequence[Outcome]) -> list[str]:
    """What stands below the tables."""
    return [f"{outcome.row.title}: {note}" for outcome in outcomes for note in outcome.notes]


def _widths(lines: Lines) -> list[int]:
    return [max(map(len, column)) for column in zip(*lines, strict=True)]


def _padded(line: tuple[str, ...], widths: Sequence[int], words: Sequence[int]) -> str:
    cells = [
        cell.ljust(width) if column in words else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


TABLE_WORDS = {len(PROMISES): (0, 4, 5), len(CYCLES): (0,)}
"""By the number of columns: those that stand to the left."""


def as_text(tables: Sequence[Lines], machine: Sequence[str], below: Sequence[str]) -> str:
    """For a terminal."""
    parts = list(machine)
    for lines in tables:
        widths, words = _widths(lines), TABLE_WORDS[len(lines[0])]
        parts += ["", *(_padded(line, widths, words) for line in lines)]
    return "\n".join([*parts, "", *below]).rstrip() + "\n"


def as_rst(tables: Sequence[Lines], machine: Sequence[str], below: Sequence[str]) -> str:
    """As reStructuredText: the machine, simple tables, notes."""
    parts = textwrap.wrap("; ".join(machine) + ".", WIDTH)
    for lines in tables:
        escaped = [tuple(cell or "\\" for cell in line) for line in lines]
        widths, words = _widths(escaped), TABLE_WORDS[len(lines[0])]
        rule = "  ".join("=" * width for width in widths)
        head, *rest = (_padded(line, widths, words) for line in escaped)
        parts += ["", rule, head, rule, *rest, rule]
    told = [line for note in below for line in textwrap.wrap(f"- {note}", WIDTH, subsequent_indent="  ")]
    return "\n".join([*parts, *(["", *told] if told else [])]) + "\n"
