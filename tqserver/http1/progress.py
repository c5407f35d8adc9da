"""What a transport can tell beyond its interfaces: whether its peer makes progress, whether it can be half closed."""

from __future__ import annotations

import fcntl
import struct
import termios

from twisted.internet.interfaces import ITCPTransport


def can_half_close(transport: object) -> bool:
    """Whether a transport can be closed for writing alone."""
    return ITCPTransport.providedBy(transport) or hasattr(transport, "loseWriteConnection")


def unsent_bytes(transport: object) -> int:
    """
    Bytes that the peer has not taken yet, in our buffer and the kernel's (tcp(7), SIOCOUTQ).

    @return: a number that changes whenever there is progress.
    """
    waiting = len(getattr(transport, "dataBuffer", b"")) - getattr(transport, "offset", 0)
    waiting += getattr(transport, "_tempDataLen", 0) + getattr(transport, "unsent_bytes", 0)
    return waiting + _asked(transport, termios.TIOCOUTQ)


def unread_bytes(transport: object) -> int:
    """Bytes that have come and wait in the kernel to be read (tcp(7), SIOCINQ)."""
    return _asked(transport, termios.FIONREAD)


def _asked(transport: object, request: int) -> int:
    """What the kernel answers about a socket (ioctl(2)); 0 if there is none."""
    try:
        fileno: int = transport.fileno()  # type: ignore[attr-defined]
        answer: int = struct.unpack("i", fcntl.ioctl(fileno, request, b"\0\0\0\0"))[0]
    except (OSError, ValueError, AttributeError, TypeError):
        return 0
    return answer
