"""What the supervisor needs of others: the fronts, someone to launch instances, someone to keep their words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from attrs import field, frozen
from twisted.internet.defer import Deferred
from zope.interface import Interface

from ..build import Build
from ..config.model import ServerConfig, WorkerConfig
from ..plane.messages import Routing
from ..plane.status import FrontStatus
from ..process.interfaces import IProbe, IProcessObserver, IRunningProcess, Stream
from ..process.spec import Address


@frozen(kw_only=True)
class EndpointTotals:
    """
    One endpoint's counters, summed over all fronts, those that have gone included.

    @ivar in_flight: exchanges now.
    @ivar answered: responses whose head came from the instance; never decreases.
    @ivar failed: exchanges that it broke; never decreases.
    @ivar ejected: how many fronts leave it alone now because too many went wrong.
    """

    in_flight: int = 0
    answered: int = 0
    failed: int = 0
    ejected: int = 0


@frozen(kw_only=True)
class WorkerTotals:
    """
    One worker's counters, summed over all fronts, those that have gone included.

    @ivar waiting: requests that wait for an endpoint now.
    @ivar requests: all that were routed to the worker; never decreases.
    @ivar errors: those that were answered by us instead of the worker, with a 5xx; never decreases.
    @ivar ejections: times that a front left an instance alone; never decreases.
    @ivar retries: requests that were sent again after an instance broke them; never decreases.
    @ivar unretried: requests that could have been, but for the budget; never decreases.
    @ivar latency: counts by duration, as in L{tqserver.plane.messages.WorkerLoad}.
    """

    waiting: int = 0
    requests: int = 0
    errors: int = 0
    ejections: int = 0
    retries: int = 0
    unretried: int = 0
    latency: tuple[int, ...] = ()


@frozen(kw_only=True)
class FrontLoad:
    """What all fronts carry together, by endpoint id and by worker name."""

    endpoints: Mapping[str, EndpointTotals] = field(factory=dict)
    workers: Mapping[str, WorkerTotals] = field(factory=dict)
    fronts: tuple[FrontStatus, ...] = ()


class IFronts(Interface):
    """All front processes, seen as one."""

    def publish(routing: Routing) -> None:
        """Hand a routing to every front, and later to every front that is started. Versions only grow."""

    def when_drained(endpoint_id: str) -> Deferred[None]:
        """
        Fires when no live front holds the endpoint any more; at once if none ever did. Asked after the L{publish} that
        took the endpoint away. Cancelling it forgets the question. It never fails.
        """

    def when_applied(version: int) -> Deferred[None]:
        """Fires when every live front works by this version or a later one. It never fails."""

    def stop(timeout_s: float) -> Deferred[None]:
        """
        Accept no more, let what is in flight end, and end all fronts. Fires when none is left, at most a little later
        than C{timeout_s}. It never fails.
        """

    def replace() -> Deferred[None]:
        """Replace the fronts one by one by new processes, losing nothing. Fires when all are new."""

    def on_wanted(callback: Callable[[str, int, float], None]) -> None:
        """Have C{callback(worker, waiting, oldest_s)} called for each L{Wanted<tqserver.plane.messages.Wanted>}."""

    def on_load(callback: Callable[[], None]) -> None:
        """Have C{callback} called whenever L{load} has changed."""

    def load() -> FrontLoad:
        """The counters as they were last told."""


class IBuilds(Interface):
    """What the supervisor asks of L{tqserver.build.Builds}."""

    def build(worker: WorkerConfig) -> Deferred[Build]:
        """
        Build a worker, or find that it is built already. A build of the same worker that still runs is superseded.

        @return: fires with the build, or fails with L{BuildFault<tqserver.build.BuildFault>}.
        """

    def reconfigure(server: ServerConfig) -> None:
        """Go by a new server configuration from now on."""

    def forget(name: str) -> None:
        """A worker is no more: end its build, and keep nothing of it in mind."""

    def stop() -> Deferred[None]:
        """End what runs. Fires when nothing does any more."""


class LaunchFault(Exception):
    """
    An instance could not be started, and nothing of it is left.

    @ivar reason: what is in the way, one sentence.
    @ivar remedy: what an operator can do about it; empty if there is nothing to say.
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


@frozen
class Order:
    """
    One instance to be launched.

    @ivar instance: its id; never used again.
    @ivar generation: serial number of its generation.
    """

    config: WorkerConfig
    build: Build
    instance: str
    generation: int


@frozen(eq=False)
class Launched:
    """
    An instance that was launched.

    @ivar probe: asks it whether it is well; L{None} if its health type has no questions.
    """

    process: IRunningProcess
    address: Address
    probe: IProbe | None


class ILauncher(Interface):
    """Starts instances: address, environment, files, process."""

    def launch(order: Order, observer: IProcessObserver) -> Launched:
        """
        Start one.

        @raise LaunchFault: it could not be started; the observer hears nothing then.
        """

    def clear(launched: Launched) -> None:
        """Give back what an instance held, after its exit: its port, its socket. Does not raise."""

    def forget(name: str) -> None:
        """
        Give back what was kept between the instances of a worker, which is to have none from now on. May be said again.
        Does not raise.
        """


class IWorkerLogs(Interface):
    """Where the words of workers go."""

    def write(config: WorkerConfig, instance: str, stream: Stream, lines: Sequence[bytes]) -> None:
        """Keep lines. Does not raise, and does not block for long."""

    def forget(name: str) -> None:
        """A worker is no more: close its file."""
