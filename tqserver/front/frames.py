"""
Where the frames of a WebSocket begin and end (RFC 6455 section 5.2), told from bytes that pass by. Pure.

Nothing is decoded and nothing is kept but what is missing of a frame: a header costs a few steps, a payload one
subtraction for each read that it is in, however long it is.
"""

from __future__ import annotations

HEAD_BYTES_MAX = 14
"""Two, eight of an extended length, four of a mask."""

GOING_AWAY = 1001
"""The status of a close frame that says that the endpoint goes away (RFC 6455 section 7.4.1)."""

_CLOSE = 0x8
_FINAL = 0x80
_MASKED = 0x80
_CLOSE_REASON_BYTES_MAX = 123


def close_frame(status: int, reason: bytes = b"", mask: bytes = b"") -> bytes:
    """
    A close frame (RFC 6455 section 5.5.1).

    @param reason: UTF-8; at most 123 bytes.
    @param mask: four unpredictable bytes for a frame that goes to the server, none for one to the client.
    """
    payload = status.to_bytes(2, "big") + reason[:_CLOSE_REASON_BYTES_MAX]
    if not mask:
        return bytes((_FINAL | _CLOSE, len(payload))) + payload
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))
    return bytes((_FINAL | _CLOSE, _MASKED | len(payload))) + mask + masked


def _sizes(data: bytes, at: int) -> tuple[int, int] | None:
    """
    Measure the frame that begins at C{at}.

    @return: the bytes of its header and of its payload, or L{None} if the header is not whole yet.
    """
    have = len(data) - at
    if have < 2:
        return None
    second = data[at + 1]
    length = second & 0x7F
    size = 6 if second & _MASKED else 2
    if length == 126:
        size += 2
        if have < 4:
            return None
        length = data[at + 2] << 8 | data[at + 3]
    elif length == 127:
        size += 8
        if have < 10:
            return None
        length = int.from_bytes(data[at + 2 : at + 10], "big")
    return (size, length) if have >= size else None


class Frames:
    """
    The frames of one direction.

    @ivar closed: a close frame has begun: what its sender says after it means nothing.
    @ivar lost: a length was impossible; where the next frame begins, nobody can tell.
    """

    __slots__ = ("_head", "_missing", "closed", "lost")

    def __init__(self) -> None:
        self._head = b""
        self._missing = 0
        self.closed = False
        self.lost = False

    @property
    def between(self) -> bool:
        """Whether all frames that have begun have ended."""
        return not self._missing and not self._head and not self.lost

    def follow(self, data: bytes) -> None:
        """Some bytes pass."""
        size = len(data)
        if size < self._missing:
            self._missing -= size
            return
        at = 0
        while at < size:
            at = self._advance(data, at, size)

    def rest(self, data: bytes) -> int:
        """
        Let no more pass than the rest of the frame that has begun, if one has.

        @return: how many of the bytes that is; L{between} says whether the frame has ended.
        """
        at, size = 0, len(data)
        while at < size and not self.between:
            at = self._advance(data, at, size)
        return at

    def _advance(self, data: bytes, at: int, size: int) -> int:
        """Pass over one header, or one payload as far as it is there."""
        if self.lost:
            return size
        if self._missing:
            step = min(self._missing, size - at)
            self._missing -= step
            return at + step
        before = len(self._head)
        if before:
            # It was cut by the end of a read.
            data, at = self._head + data[at : at + HEAD_BYTES_MAX - before], at - before
            sizes = _sizes(data, 0)
            first = data[0]
        else:
            sizes = _sizes(data, at)
            first = data[at]
        if sizes is None:
            self._head = data if before else data[at:]
            return size
        self._head = b""
        head_bytes, self._missing = sizes
        if self._missing >> 63:
            self.lost, self._missing = True, 0
            return size
        if first & 0x0F == _CLOSE:
            self.closed = True
        return at + head_bytes
