"""
A queue as a process: C{python -m tqserver.queue --launch FD}, started by the supervisor for a worker of type queue; or
alone, C{python -m tqserver.queue --config FILE}.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..config.load import load_queue
from ..errors import ConfigFault
from ..plane.queue_launch import QueueLaunch, read_launch
from ..uv.child import choose_reactor, log_to_stderr, raise_descriptors, rarely_look_for_garbage

if TYPE_CHECKING:
    from .service import QueueService

SIGNALS = {"TERM": "stop", "INT": "stop", "USR1": "hush"}
"""What signals ask of the service; the supervisor sends the first and the last."""


def main(arguments: list[str]) -> None:
    """Run until a signal says otherwise."""
    parser = argparse.ArgumentParser(prog="python -m tqserver.queue")
    how = parser.add_mutually_exclusive_group(required=True)
    how.add_argument("--launch", type=int, metavar="FD", help="descriptor of what the supervisor tells; not for people")
    how.add_argument("--config", metavar="FILE", help="a YAML file with the keys of a queue, to run without a server")
    options = parser.parse_args(arguments)
    if options.launch is not None:
        launch = read_launch(options.launch)
    else:
        try:
            launch = QueueLaunch(settings=load_queue(options.config))
        except ConfigFault as fault:
            parser.exit(1, f"{fault}\n")
        if not launch.settings.apis.listeners:
            parser.exit(1, f"{options.config}: no service has a listen: who could reach it? (see apis.tqs.listen)\n")

    choose_reactor()
    from twisted.internet import reactor

    from .service import QueueService

    log_to_stderr()
    raise_descriptors()

    failed: list[bool] = []

    def finished(well: bool) -> None:
        failed.append(not well)
        # In a later turn, so that what was just said is written.
        reactor.callLater(0, reactor.stop)

    service = QueueService(reactor, finished)
    obey(reactor, service)
    reactor.callWhenRunning(service.start, lambda: listen(service, launch, os.environ))
    rarely_look_for_garbage()
    reactor.run(installSignalHandlers=False)  # type: ignore[call-arg]
    sys.exit(any(failed))


def obey(reactor: Any, service: QueueService) -> None:
    """Do what signals ask for, in a turn of the reactor."""
    for name, what in SIGNALS.items():
        act = getattr(service, what)
        signal.signal(getattr(signal, f"SIG{name}"), lambda *_, act=act: reactor.callFromThread(act))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def listen(service: QueueService, launch: QueueLaunch, environ: Mapping[str, str]) -> None:
    """Listen: where every worker does, and where the services have listeners of their own."""
    if path := environ.get("WORKER_SOCKET"):
        service.listen_unix(path)
    elif number := environ.get("WORKER_PORT"):
        service.listen_tcp(int(number), "127.0.0.1")
    for listener in launch.listeners:
        service.adopt(listener.fd, listener.api)
    if not launch.front:
        for api, where in launch.settings.apis.listeners:
            if where.unix is not None:
                service.listen_unix(where.unix, api)
            else:
                service.listen_tcp(where.port, where.address, api)


if __name__ == "__main__":
    main(sys.argv[1:])
