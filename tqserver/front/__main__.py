"""
A front as a process: C{python -m tqserver.front --control FD --listen FD … --listen-proxied FD …}, started by the
supervisor.

The file descriptors are inherited. Nobody starts this by hand.
"""

from __future__ import annotations

import argparse
import signal
import sys

from ..uv.child import choose_reactor, log_to_stderr, raise_descriptors, rarely_look_for_garbage


def main(arguments: list[str]) -> None:
    """Run until the supervisor says otherwise or is gone."""
    parser = argparse.ArgumentParser(prog="python -m tqserver.front")
    parser.add_argument("--control", type=int, required=True, help="file descriptor of the pipe to the supervisor")
    parser.add_argument("--listen", type=int, action="append", default=[], help="listening file descriptor")
    parser.add_argument(
        "--listen-proxied",
        type=int,
        action="append",
        default=[],
        help="likewise, of a socket where each connection begins with a PROXY protocol header",
    )
    parser.add_argument(
        "--listen-private",
        type=int,
        action="append",
        default=[],
        help="likewise, of a socket where only processes of the server connect, which are believed",
    )
    options = parser.parse_args(arguments)

    choose_reactor()
    from twisted.internet import reactor

    from .service import FrontService

    log_to_stderr()

    def finished() -> None:
        # In a later turn, so that what was just said is written.
        reactor.callLater(0, reactor.stop)

    service = FrontService(reactor, finished, raise_descriptors())  # type: ignore[arg-type]
    reactor.callWhenRunning(
        service.start, options.control, options.listen, options.listen_proxied, options.listen_private
    )
    for name in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        # The supervisor gets the signals, and says over the pipe what is to be done.
        signal.signal(name, signal.SIG_IGN)
    rarely_look_for_garbage()
    reactor.run(installSignalHandlers=False)  # type: ignore[call-arg]


if __name__ == "__main__":
    main(sys.argv[1:])
