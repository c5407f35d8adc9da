"""
A queue as a process: C{python -m tqserver.queue --launch FD}, started by the supervisor for a worker of type queue; or
alone, by hand, see L{tqserver.queue.options}.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..config.queue_model import ApiListen, ApiName
from ..errors import Fault
from ..plane.queue_launch import QueueLaunch, read_launch
from ..uv.child import choose_reactor, log_to_stderr, raise_descriptors, rarely_look_for_garbage
from .options import Started, read_options

if TYPE_CHECKING:
    from .service import QueueService
    from .tls import Wrap

SIGNALS = {"TERM": "stop", "INT": "stop", "USR1": "hush"}
"""What signals ask of the service; the supervisor sends the first and the last."""


def main(arguments: list[str]) -> None:
    """Run until a signal says otherwise."""
    started = read_options(arguments, os.environ)
    supervised = started.launch is not None
    launch = read_launch(started.launch) if started.launch is not None else QueueLaunch(settings=started.settings)
    wrap = None if supervised else _tls(started)

    choose_reactor()
    from twisted.internet import reactor

    from .assembly import assemble
    from .outward import add_outward
    from .service import QueueService

    log_to_stderr()
    raise_descriptors()

    failed: list[bool] = []

    def finished(well: bool) -> None:
        failed.append(not well)
        # In a later turn, so that what was just said is written.
        reactor.callLater(0, reactor.stop)

    service = QueueService(reactor, finished)
    assembly = assemble(service, launch.settings, reactor)
    add_outward(service, assembly, launch.settings, launch.front, reactor)
    obey(reactor, service)
    begin = (
        (lambda: listen(service, launch, os.environ)) if supervised else (lambda: listen_alone(service, launch, wrap))
    )
    reactor.callWhenRunning(service.start, begin)
    rarely_look_for_garbage()
    reactor.run(installSignalHandlers=False)  # type: ignore[call-arg]
    sys.exit(any(failed))


def _tls(started: Started) -> Wrap | None:
    """What speaks TLS, if that is wanted."""
    if not started.tls_cert:
        return None
    from .tls import tls_around

    try:
        return tls_around(started.tls_cert, started.tls_key)
    except Fault as fault:
        sys.exit(fault.reason)


def obey(reactor: Any, service: QueueService) -> None:
    """Do what signals ask for, in a turn of the reactor."""
    for name, what in SIGNALS.items():
        act = getattr(service, what)
        signal.signal(getattr(signal, f"SIG{name}"), lambda *_, act=act: reactor.callFromThread(act))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def listen(service: QueueService, launch: QueueLaunch, environ: Mapping[str, str]) -> None:
    """Listen where every worker does, and where the services have listeners of their own."""
    if path := environ.get("WORKER_SOCKET"):
        service.listen_unix(path)
    elif number := environ.get("WORKER_PORT"):
        service.listen_tcp(int(number), "127.0.0.1")
    for listener in launch.listeners:
        service.adopt(listener.fd, listener.api)


def listen_alone(service: QueueService, launch: QueueLaunch, wrap: Wrap | None) -> None:
    """Listen where the services are to be, and say where that is."""
    for api, where in launch.settings.apis.listeners:
        print(f"{api} listens at {_listen(service, api, where, wrap)}", file=sys.stderr, flush=True)


def _listen(service: QueueService, api: ApiName, where: ApiListen, wrap: Wrap | None) -> str:
    if where.unix is not None:
        service.listen_unix(where.unix, api)
        return where.unix
    port = service.listen_tcp(where.port, where.address, api, wrap)
    host = f"[{where.address}]" if ":" in where.address else where.address
    return f"{'http' if wrap is None else 'https'}://{host}:{port}"


if __name__ == "__main__":
    main(sys.argv[1:])
