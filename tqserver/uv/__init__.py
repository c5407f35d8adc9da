"""
Twisted on uvloop, not beside it.

Twisted's asyncio reactor can run on any event loop, uvloop's too; but then it asks the loop only whether a descriptor
is ready, and reads, writes and buffers itself, in Python. That costs more than uvloop saves. This reactor leaves
connected TCP and UNIX streams to uvloop's own transports, in C, with the semantics of Twisted's transports above them.
All the rest (listening, connecting, names, UDP, processes, threads, signals) is Twisted's.

C{twistd --reactor=uv}, C{python -m twisted.trial --reactor=uv}, or L{install<tqserver.uv.reactor.install>}.
"""

from .reactor import UVReactor, install

__all__ = ["UVReactor", "install"]
