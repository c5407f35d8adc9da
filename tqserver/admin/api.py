"""
The admin API: what there is, as JSON, and what an operator can do about it. C{docs/openapi/admin.yaml} describes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec
from attrs import frozen
from klein import Klein
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException

from ..errors import CommandFault
from ..plane.status import ServerStatus, WorkerStatus, to_json
from .events import load, plain, settled
from .following import Following
from .interfaces import IControl, Validation
from .log_reading import LogFault, Logs
from .metrics import CONTENT_TYPE
from .shown_config import shown_config
from .streams import EventStream

WAIT_S_MAX = 600.0
"""The longest that anybody waits for a command to take effect."""

BODY_BYTES_MAX = 64 * 1024
"""Of a request; the longest that makes sense has some twenty."""

WELL = frozenset(["healthy", "disabled", "static", "idle", "stopped"])
"""States of workers that are as they should be."""

_log = Logger("tqserver.admin")


@frozen
class Refusal(Exception):
    """A request that is not obeyed."""

    status: int
    detail: str
    remedy: str = ""


class Api:
    """The API, for one server."""

    app = Klein()

    def __init__(
        self,
        clock: IReactorTime,
        control: IControl,
        logs: Logs,
        metrics: Callable[[], bytes] | None = None,
    ) -> None:
        """
        @param metrics: the metrics as text; L{None} if there are none.
        """
        self._clock = clock
        self._control = control
        self._logs = logs
        self._metrics = metrics
        self._following = Following(clock, control)
        self._streams: set[EventStream] = set()
        self._waits: set[Callable[[], None]] = set()
        self._closed = False

    def close(self) -> None:
        """The server stops: whoever follows has come to the end, and whoever waits is answered."""
        self._closed = True
        for stream in tuple(self._streams):
            stream.end()
        for give_up in tuple(self._waits):
            give_up()

    def _stream(self, request: Request) -> EventStream:
        if self._closed:
            raise Refusal(503, "the server is stopping")
        stream = EventStream(self._clock, request)
        self._streams.add(stream)
        stream.when_over(lambda: self._streams.discard(stream))
        return stream

    def resource(self) -> IResource:
        """The API as something that C{twisted.web} serves."""
        return cast(IResource, self.app.resource())

    # What there is.

    @app.route("/status", methods=["GET"])
    def status(self, request: Request) -> bytes:
        """The status tree."""
        return _json(request, to_json(self._control.status()))

    @app.route("/health", methods=["GET"])
    def health(self, request: Request) -> bytes:
        """Whether every enabled worker serves."""
        _headers(request, b"text/plain; charset=utf-8")
        if all(worker.state in WELL for worker in self._control.status().workers):
            return b"ok\n"
        request.setResponseCode(503)
        return b"not every worker serves: see /status\n"

    @app.route("/metrics", methods=["GET"])
    def metrics(self, request: Request) -> bytes:
        """The metrics, as Prometheus reads them."""
        if self._metrics is None:
            raise Refusal(404, "there are no metrics", "metrics.enabled: true")
        _headers(request, CONTENT_TYPE)
        return self._metrics()

    @app.route("/workers", methods=["GET"])
    def workers(self, request: Request) -> bytes:
        """All workers."""
        return _json(request, {"workers": [plain(worker) for worker in self._control.status().workers]})

    @app.route("/workers/<name>", methods=["GET"])
    def worker(self, request: Request, name: str) -> bytes:
        """One worker."""
        return _json(request, plain(self._find(name)))

    @app.route("/workers/<name>/build", methods=["GET"])
    def last_build(self, request: Request, name: str) -> bytes:
        """The latest build of a worker, with its output."""
        return _json(request, plain(self._find(name).build))

    @app.route("/builds", methods=["GET"])
    def builds(self, request: Request) -> bytes:
        """The latest builds of all workers."""
        workers = self._control.status().workers
        return _json(request, {"builds": {worker.name: plain(worker.build) for worker in workers}})

    @app.route("/fronts", methods=["GET"])
    def fronts(self, request: Request) -> bytes:
        """All fronts."""
        return _json(request, {"fronts": [plain(front) for front in self._control.status().fronts]})

    @app.route("/config", methods=["GET"])
    def config(self, request: Request) -> bytes:
        """The configuration in force, without secrets."""
        return _json(request, {**shown_config(self._control.configuration()), **plain(self._control.status().config)})

    @app.route("/events", methods=["GET"])
    def events(self, request: Request) -> Deferred[None]:
        """Everything that happens, as it happens."""
        stream = self._stream(request)
        status = self._control.status()
        stream.send("status", to_json(status))
        stream.send("load", load(status))
        stream.when_over(self._following.join(stream.send))
        return stream.ended

    # Logs.

    @app.route("/logs", methods=["GET"])
    def logs(self, request: Request) -> bytes | Deferred[None]:
        """Which logs there are; or, followed, all but the access log together."""
        if _flag(request, "follow"):
            return self._follow(request, self._logs.all_names())
        return _json(request, {"logs": [{"name": name, "path": path} for name, path in self._logs.paths()]})

    @app.route("/logs/server", methods=["GET"])
    def server_log(self, request: Request) -> Deferred[Any]:
        """The server's own words."""
        return self._one_log(request, "server")

    @app.route("/logs/access", methods=["GET"])
    def access_log(self, request: Request) -> Deferred[Any]:
        """The requests."""
        return self._one_log(request, "access")

    @app.route("/logs/worker/<name>", methods=["GET"])
    def worker_log(self, request: Request, name: str) -> Deferred[Any]:
        """A worker's words."""
        self._find(name)
        return self._one_log(request, f"worker/{name}")

    def _one_log(self, request: Request, name: str) -> Deferred[Any]:
        if _flag(request, "follow"):
            return self._follow(request, [name])
        wanted = self._logs.wanted(_argument(request, "lines"), _argument(request, "since"), _argument(request, "grep"))
        read = self._logs.read(name, wanted)
        return read.addCallback(lambda records: _json(request, {"name": name, "records": records}))

    def _follow(self, request: Request, names: list[str]) -> Deferred[None]:
        wanted = self._logs.wanted(_argument(request, "lines"), _argument(request, "since"), _argument(request, "grep"))
        followed = self._logs.follow(names, wanted)
        try:
            stream = self._stream(request)
        except Refusal:
            followed.leave()
            raise
        stream.when_over(followed.leave)
        followed.begin(lambda log, text: stream.send("record", {"log": log, "text": text}))
        return stream.ended

    # What can be done.

    @app.route("/workers/<name>/<any(build, restart, start, stop, release):command>", methods=["POST"])
    def command(self, request: Request, name: str, command: str) -> bytes | Deferred[bytes]:
        """Ask something of a worker."""
        wait_s = _wait_s(request)
        self._control.command(name, command)
        return self._taken(request, name, command, wait_s)

    @app.route("/workers/<name>/scale", methods=["POST"])
    def scale(self, request: Request, name: str) -> bytes | Deferred[bytes]:
        """Have so many instances of a worker."""
        wait_s = _wait_s(request)
        body = _body(request)
        count = body.get("instances", "absent")
        if isinstance(count, bool) or not (count is None or isinstance(count, int)):
            raise Refusal(400, "instances must be a whole number or null", 'send {"instances": 2}')
        self._control.scale(name, count)
        return self._taken(request, name, "scale", wait_s)

    @app.route("/reload", methods=["POST"])
    def reload(self, request: Request) -> bytes:
        """Read all configuration again, rebuild what changed, and try again what was given up."""
        config = self._control.reload()
        return _json(request, {"good": not config.problems, "problems": list(config.problems)})

    @app.route("/config/validate", methods=["POST"])
    def validate(self, request: Request) -> Deferred[bytes]:
        """What the files on disk are worth; nothing is applied."""

        def told(validation: Validation) -> bytes:
            problems = list(validation.problems)
            return _json(request, {"good": not problems, "problems": problems, "workers": validation.workers})

        return self._control.validate().addCallback(told)

    @app.route("/fronts/replace", methods=["POST"])
    def replace_fronts(self, request: Request) -> bytes:
        """Replace all fronts, one by one."""
        self._control.replace_fronts()
        request.setResponseCode(202)
        return _json(request, {"accepted": True})

    def _taken(self, request: Request, name: str, command: str, wait_s: float) -> bytes | Deferred[bytes]:
        """Answer to a command: at once, or when it has taken effect."""
        if not wait_s:
            request.setResponseCode(202)
            return _json(request, {"worker": name, "command": command, "settled": False})

        def answer(done: bool) -> bytes:
            workers = [worker for worker in self._control.status().workers if worker.name == name]
            return _json(request, {"worker": plain(workers[0]) if workers else None, "settled": done})

        return self._settled(request, name, wait_s).addCallback(answer)

    def _settled(self, request: Request, name: str, wait_s: float) -> Deferred[bool]:
        """Whether a worker has settled in time."""
        done: Deferred[bool] = Deferred()

        def told(status: ServerStatus) -> None:
            worker = next((worker for worker in status.workers if worker.name == name), None)
            if worker is None or settled(worker):
                end(True)

        def end(well: bool) -> None:
            leave()
            self._waits.discard(give_up)
            if late.active():
                late.cancel()
            if not done.called:
                done.callback(well)

        def give_up() -> None:
            end(False)

        leave = self._control.on_status(told)
        late = self._clock.callLater(wait_s, give_up)
        self._waits.add(give_up)
        request.notifyFinish().addErrback(lambda _: give_up())
        return done

    def _find(self, name: str) -> WorkerStatus:
        for worker in self._control.status().workers:
            if worker.name == name:
                return worker
        raise CommandFault(f"there is no worker {name!r}", unknown=True)

    # What goes wrong.

    @app.handle_errors(Exception)
    def failed(self, request: IRequest, failure: Failure) -> bytes:
        """Tell what is wrong with a request, or that something is wrong with us."""
        answer, fault = cast(Request, request), failure.value
        if isinstance(fault, Refusal):
            return problem(answer, fault.status, fault.detail, fault.remedy)
        if isinstance(fault, CommandFault | LogFault):
            return problem(answer, 404 if fault.unknown else 400, str(fault))
        if isinstance(fault, HTTPException):
            for name, value in fault.get_headers():
                if name.lower() == "allow":
                    answer.setHeader(b"allow", value.encode("latin-1"))
            return problem(answer, fault.code or 500, fault.description or "there is no such thing")
        _log.failure("answering {path!r}", failure, path=answer.path)
        return problem(answer, 500, "something went wrong on our side; the server's log says what")


def _headers(request: Request, kind: bytes) -> None:
    request.setHeader(b"content-type", kind)
    request.setHeader(b"cache-control", b"no-store")
    request.setHeader(b"x-content-type-options", b"nosniff")


def _json(request: Request, value: object) -> bytes:
    _headers(request, b"application/json")
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def problem(request: Request, status: int, detail: str, remedy: str = "") -> bytes:
    """An answer of RFC 9457."""
    request.setResponseCode(status)
    title = request.code_message.decode("latin-1")
    told = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    if remedy:
        told["remedy"] = remedy
    body = _json(request, told)
    request.setHeader(b"content-type", b"application/problem+json")
    return body


def _argument(request: Request, name: str) -> str:
    """A parameter of the query that may be there once."""
    values = request.args.get(name.encode(), [])
    if len(values) > 1:
        raise Refusal(400, f"{name} is given more than once")
    return values[0].decode("utf-8", "replace") if values else ""


def _flag(request: Request, name: str) -> bool:
    word = _argument(request, name)
    if word not in ("", "true", "false", "1", "0"):
        raise Refusal(400, f"{name} must be true or false, not {word!r}")
    return word in ("true", "1")


def _wait_s(request: Request) -> float:
    """How long somebody waits; 0: not at all."""
    word = _argument(request, "wait")
    try:
        wait_s = float(word or 0)
    except ValueError:
        wait_s = -1.0
    if not 0 <= wait_s <= WAIT_S_MAX:
        raise Refusal(400, f"wait must be seconds from 0 to {WAIT_S_MAX:g}, not {word!r}")
    return wait_s


def _body(request: Request) -> dict[str, Any]:
    data = request.content.read(BODY_BYTES_MAX + 1)  # type: ignore[union-attr]
    if len(data) > BODY_BYTES_MAX:
        raise Refusal(413, f"the body is longer than {BODY_BYTES_MAX} bytes")
    try:
        body = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, f"the body is no JSON: {error}")
    if not isinstance(body, dict):
        raise Refusal(400, "the body must be an object of JSON")
    return body
