"""What somebody else wrote, made safe to show on a terminal and to keep as one line. Pure."""

from __future__ import annotations

_CONTROLS = [
    *range(0x09),
    *range(0x0A, 0x20),
    *range(0x7F, 0xA0),
    *(0x061C, 0x200E, 0x200F, 0x2028, 0x2029),
    *range(0x202A, 0x202F),
    *range(0x2066, 0x206A),
]
"""
C0 (but the tabulator) and C1 controls, line and paragraph separators, and the marks that turn the direction
of writing (Unicode Standard Annex 9), with which a text can be made to look like another.
"""

_ESCAPES = {code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" for code in _CONTROLS}


def printable(line: bytes) -> str:
    """
    A line as text that holds no line end and no control character.

    @param line: what should be UTF-8; bytes that are not are written as C{\\xNN}, as controls are.
    """
    return printable_text(line.decode("utf-8", "backslashreplace"))


def printable_text(text: str) -> str:
    """The same for what is text already; lone surrogates are escaped too, so that it can be encoded."""
    if text.isprintable():
        return text
    return text.translate(_ESCAPES).encode("utf-8", "backslashreplace").decode("utf-8")
