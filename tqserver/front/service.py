"""
A front: the site behind its listening sockets, at the other end of the supervisor's pipe.

It lives as long as the pipe. L{Retire<tqserver.plane.messages.Retire>} has it leave gracefully; when the supervisor is
gone without a word, it ends at once, for nobody would tell it where the workers are.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence

from twisted.internet.interfaces import IReactorFDSet
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from ..errors import Fault
from ..http1.exchange import ServerExchange
from ..http1.factory import HTTPServerFactory, ServerSettings
from ..http1.head import RequestHead, ResponseHead
from ..http1.outbox import Outbox
from ..http1.proxied import ProxiedFactory
from ..http1.server import HTTPServerConnection
from ..http1.sweep import Sweep
from ..plane.link import Link, OneLink, downward
from ..plane.messages import (
    Downward,
    FrontStopped,
    HTTPSettings,
    Load,
    ReopenLogs,
    Retire,
    Routing,
    Started,
    Upward,
    WorkerSaid,
)
from .accepting import SCARCE_PAUSE_S, Accepting, IAcceptingReactor
from .access_log import AccessLog
from .admission import clients_room
from .forward_http import IReactor
from .private import PrivateFactory
from .site import Site
from .static_roots import kernel_notifier

_log = Logger()

LOAD_PERIOD_S = 0.5

IDLE_LEAVE_S = 0.5
"""
While we leave, a client that has been silent for so long has nothing under way; and no connection that the kernel
began to take before we refused new ones takes longer.
"""

IDLE_LOOK_S = 0.1

IDLE_CLOSED_MAX = 256
"""At one such look. Ten thousand at once would have those wait who are served still, and all come back together."""

CLIENTS_THOROUGH = 4
"""Of periods of the sweep: each look at ten thousand idle clients takes 3 ms, and their limits are of seconds."""


class IFrontReactor(IReactor, IAcceptingReactor, IReactorFDSet):
    """What a front needs of its reactor."""


class FrontService:
    """One front process."""

    def __init__(
        self, reactor: IFrontReactor, finished: Callable[[], None], descriptors_max: int | None = None
    ) -> None:
        """
        @param finished: is called once when the front has nothing left to do.
        @param descriptors_max: how many file descriptors this process may have; L{None}: enough.
        """
        self._descriptors_max = descriptors_max
        self._reactor = reactor
        self._finished = finished
        self._ended = False
        self._retiring = False
        loop = getattr(reactor, "event_loop", None)
        # uvloop's transports write at once, Twisted's own at the end of the turn.
        outbox = Outbox(loop.call_soon if loop is not None else None)
        self._accepting = Accepting(reactor, spare=lambda: self.site.spare_descriptors())
        self.site = Site(
            reactor,
            notify=self._say,
            sweep=Sweep(reactor),
            outbox=outbox,
            make_room=self._accepting.make_room,
            make_notifier=kernel_notifier(reactor),
        )
        clients_sweep = Sweep(reactor, thorough=CLIENTS_THOROUGH)
        self._factory = HTTPServerFactory(reactor, self, ServerSettings(), clients_sweep, outbox)
        self._factory.serve = self.site.serve  # type: ignore[assignment]
        self._factory.on_count = self._counted
        self._proxied = ProxiedFactory(self._factory, self.site.trusts)
        self._private = PrivateFactory(self._factory)
        self._listen_fds: list[tuple[int, ServerFactory]] = []
        self._listening = True
        self._cut_at = 0.0
        self._link: Link[Downward] = Link(downward(), self._heard, self._abandoned)
        self._last_load: Load | None = None
        self._load_loop = LoopingCall(self._tell_load)
        self._load_loop.clock = reactor
        self._settings = HTTPSettings()

    def start(
        self,
        control_fd: int,
        listen_fds: Sequence[int],
        proxied_fds: Sequence[int] = (),
        private_fds: Sequence[int] = (),
    ) -> None:
        """
        Connect to the supervisor. Clients are accepted when the first routing has come.

        @param control_fd: our end of the pipe.
        @param listen_fds: listening sockets.
        @param proxied_fds: likewise, of those where each connection begins with a PROXY protocol header.
        @param private_fds: likewise, of those where only processes of the server connect.
        """
        self._listen_fds += [(fd, self._factory) for fd in listen_fds]
        self._listen_fds += [(fd, self._proxied) for fd in proxied_fds]
        self._listen_fds += [(fd, self._private) for fd in private_fds]
        self._reactor.adoptStreamConnection(control_fd, socket.AF_UNIX, OneLink(self._link))
        os.close(control_fd)
        self._say(Started(pid=os.getpid()))
        self._load_loop.start(LOAD_PERIOD_S, now=False)

    # The supervisor.

    def _say(self, message: Upward) -> None:
        if self._link.congested and isinstance(message, WorkerSaid):
            # The supervisor does not keep up. What workers complain of is the only thing without a bound, and the only
            # one that nobody waits for.
            return
        self._link.send(message)

    def _heard(self, message: Downward) -> None:
        if isinstance(message, Routing):
            self._settle(message.http)
            self.site.apply(message)
            if not self._retiring:
                self._listen()
                # The limit may be another one now.
                self._look_for_room()
        elif isinstance(message, Retire):
            self._retire(message)
        elif isinstance(message, ReopenLogs) and isinstance(self.site.access_log, AccessLog):
            self.site.access_log.reopen()

    def _abandoned(self) -> None:
        if not self._retiring:
            self._finish()

    def _settle(self, http: HTTPSettings) -> None:
        old, self._settings = self._settings, http
        self._factory.settings = ServerSettings(
            read_timeout_s=http.read_timeout_s,
            write_timeout_s=http.write_timeout_s,
            idle_timeout_s=http.idle_timeout_s,
            header_bytes_max=http.header_bytes_max,
            body_bytes_max=http.body_bytes_max,
            read_bytes_min_per_s=http.read_bytes_min_per_s,
        )
        if (http.access_log, http.access_log_format) != (old.access_log, old.access_log_format):
            if isinstance(self.site.access_log, AccessLog):
                self.site.access_log.close()
            self.site.access_log = (
                AccessLog(http.access_log, http.access_log_format, self._reactor) if http.access_log else None
            )

    def _tell_load(self) -> None:
        # Requests that have ended have given back descriptors, perhaps.
        self._look_for_room()
        load = self.site.load(len(self._factory.connections))
        if load != self._last_load:
            self._last_load = load
            self._say(load)

    # Clients.

    def _listen(self) -> None:
        fds, self._listen_fds = self._listen_fds, []
        for fd, factory in fds:
            self._accepting.listen(fd, factory)

    def _look_for_room(self) -> None:
        """Accept as many as there is room for: the rest waits in the kernel."""
        clients = len(self._factory.connections)
        limit = self._settings.connections_max
        self._accepting.set_room(clients_room(clients, self.site.in_flight, limit, self._descriptors_max))

    def _counted(self, count: int) -> None:
        """A client has come or gone."""
        self._look_for_room()
        if self._retiring:
            self._finish_if_empty()

    def serve(self, exchange: ServerExchange) -> None:
        """A request has come."""
        self.site.serve(exchange)  # type: ignore[arg-type]

    def refuse(self, fault: Fault, connection: HTTPServerConnection) -> tuple[ResponseHead, bytes]:
        """Something has come that is no request. What little is known of it is logged."""
        head, body = self.site.refusal(fault)
        if self.site.access_log is not None:
            exchange = ServerExchange(connection, RequestHead(b"-", b"-", b"-", None, []))
            exchange.started = self._reactor.seconds()
            exchange.status, exchange.sent_bytes = head.status, len(body)
            self.site.access_log.log(exchange, "", "", 0.0)  # type: ignore[arg-type]
        return head, body

    # The end.

    def _retire(self, message: Retire) -> None:
        if self._retiring:
            return
        self._retiring = True
        self._cut_at = self._reactor.seconds() + message.timeout_s
        self._tell_load()
        self._factory.leave()
        if message.close_listeners:
            # The kernel takes no new connections. Those that it has taken, or is just taking, are ours to serve.
            self._reactor.callLater(min(IDLE_LEAVE_S, message.timeout_s), self._accept_and_close)
        else:
            # Who waits there waits for our successor, which has the same sockets.
            self._close_listeners()
        self.site.tunnels.leave(message.timeout_s)
        self._reactor.callLater(message.timeout_s, self._cut)

    def _accept_and_close(self) -> None:
        """Accept what there is, and no more: nobody comes after us."""
        if not self._accepting.accept_waiting() and self._reactor.seconds() < self._cut_at:
            # Those who cannot be accepted for want of descriptors can be when others have gone.
            self._reactor.callLater(SCARCE_PAUSE_S, self._accept_and_close)
            return
        self._close_listeners()

    def _close_listeners(self) -> None:
        self._accepting.close()
        self._listening = False
        self._close_idle()
        self._finish_if_empty()

    def _close_idle(self) -> None:
        """Send away, now and then, the clients that have nothing under way."""
        since = self._reactor.seconds() - IDLE_LEAVE_S - self._factory.sweep.period_s
        closed = 0
        for connection in list(self._factory.connections):
            closed += connection.close_if_idle(since)
            if closed == IDLE_CLOSED_MAX:
                break
        if not self._ended:
            self._reactor.callLater(IDLE_LOOK_S, self._close_idle)

    def _cut(self) -> None:
        connections = list(self._factory.connections)
        for connection in connections:
            connection.cut()
        self._finish(len(connections))

    def _finish_if_empty(self) -> None:
        if not self._factory.connections and not self._listening:
            self._finish()

    def _finish(self, cut: int = 0) -> None:
        if self._ended:
            return
        self._ended = True
        if self._load_loop.running:
            self._tell_load()
            self._load_loop.stop()
        if isinstance(self.site.access_log, AccessLog):
            self.site.access_log.close()
        self.site.close()
        self._say(FrontStopped(cut=cut))
        self._finished()
