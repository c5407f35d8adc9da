"""
Snapshots of ZapQ: a JSON array of base64 strings, oldest first; written and read piece by piece.

Nothing here touches the queue: a writer is given the messages, a reader gives them. Both run in a thread of their own.
"""

from __future__ import annotations

import os
import re
from base64 import b64decode
from binascii import Error, b2a_base64
from collections.abc import Iterable, Iterator

import msgspec

from ...errors import ServerFault
from .places import folder_of, open_to_read, parts_of, replacing

MESSAGE_BYTES_MAX = 128 * 1024
"""Of one message."""

PIECE_BYTES = 64 * 1024
"""What is written and read at once. With each piece the other threads have their turn."""

_STRING_BYTES_MAX = 6 * (MESSAGE_BYTES_MAX * 4 // 3 + 4) + 2
"""Of a message in a file, were each of its characters escaped."""

_BLANK = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_NULL = b"null"

_text = msgspec.json.Decoder(str)


def write(data: str, name: str, messages: Iterable[bytes]) -> None:
    """
    Write a snapshot.

    @param data: directory of all snapshots.
    @param messages: oldest first.
    @raise Fault: it cannot be written; what was there is still there.
    """
    parts = parts_of(name)
    with folder_of(data, parts) as folder, replacing(folder, parts[-1]) as fd:
        for piece in _pieces(messages):
            _write_all(fd, piece)


def _pieces(messages: Iterable[bytes]) -> Iterator[bytes]:
    gathered = [b"["]
    size = 1
    before = b'"'
    for message in messages:
        text = b2a_base64(message, newline=False)
        gathered += (before, text, b'"')
        size += len(text) + 3
        before = b',"'
        if size >= PIECE_BYTES:
            yield b"".join(gathered)
            gathered.clear()
            size = 0
    gathered.append(b"]\n")
    yield b"".join(gathered)


def _write_all(fd: int, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(fd, left) :]


def read(data: str, name: str) -> Iterator[bytes]:
    """
    Read a snapshot, message by message.

    @param data: directory of all snapshots.
    @raise Fault: (perhaps after some messages) it cannot be read, or is no snapshot.
    """
    parts = parts_of(name)
    with folder_of(data, parts) as folder:
        fd = open_to_read(folder, parts[-1])
        try:
            yield from parse(iter(lambda: os.read(fd, PIECE_BYTES), b""))
        finally:
            os.close(fd)


def parse(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """
    The messages of a snapshot.

    @raise ServerFault: it is none.
    """
    tokens = _tokens(pieces)
    token = next(tokens, b"")
    if token == b"null":  # An empty queue, as Go may write it.
        token = b"]"
    elif token == b"[":
        token = next(tokens, b"")
        if token != b"]":
            yield _message(token)
            while (token := next(tokens, b"")) == b",":
                yield _message(next(tokens, b""))
    else:
        raise _bad("it is no JSON array")
    if token != b"]":
        raise _bad("it is no array of strings, or ends too early")
    if next(tokens, None) is not None:
        raise _bad("something follows the array")


def _tokens(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Brackets, commas, C{null} and strings in their quotes."""
    held = b""
    at = 0
    for piece in pieces:
        held = held[at:] + piece
        at = 0
        while (end := _end(held, at)) > 0:
            yield held[at:end].lstrip(b" \t\r\n")
            at = end
        if len(held) - at > _STRING_BYTES_MAX:
            raise _bad(f"it has a message of more than {MESSAGE_BYTES_MAX} bytes, or something that is no message")
    if _BLANK.fullmatch(held, at) is None:
        raise _bad("it ends too early")


def _end(held: bytes, at: int) -> int:
    """
    Where the token that begins here ends, with the blanks before it.

    @return: 0 if there is more to come of it.
    @raise ServerFault: nothing that a snapshot has begins so.
    """
    found = _BLANK.match(held, at)
    assert found is not None
    at = found.end()
    first = held[at : at + 1]
    if first == b'"':
        end = held.find(b'"', at + 1)
        if end > 0 and held.find(b"\\", at + 1, end) > 0:
            # One of its quotes may be escaped. Base64 needs none, but others may escape a slash.
            whole = _STRING.match(held, at)
            return whole.end() if whole is not None else 0
        return end + 1
    if first in (b"[", b"]", b","):
        return at + 1
    if not _NULL.startswith(held[at : at + len(_NULL)]):
        raise _bad("it has something in it that is no string")
    return at + len(_NULL) if len(held) - at >= len(_NULL) else 0


def _message(token: bytes) -> bytes:
    if token == b"null":
        return b""
    if not token.startswith(b'"'):
        raise _bad("it has something in it that is no string")
    try:
        message = b64decode(_text.decode(token) if b"\\" in token else token[1:-1], validate=True)
    except (Error, ValueError):
        raise _bad("it has a string that is no base64")
    if len(message) > MESSAGE_BYTES_MAX:
        raise _bad(f"it has a message of more than {MESSAGE_BYTES_MAX} bytes")
    return message


def _bad(why: str) -> ServerFault:
    return ServerFault(f"The snapshot cannot be read: {why}.", status=500)
