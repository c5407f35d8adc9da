"""
One process of a generation, from its start to its last trace: what it is, and the effects that its machine has.

The L{machine<tqserver.supervisor.instance_machine>} decides; nothing here does. What can fail is tried here, and comes
back to the machine as an input.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from attrs import define, field, frozen
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..config.model import PoolConfig, WorkerConfig
from ..process.interfaces import Exit, IProcessObserver, ProbeFault, Stream
from .health import Tally, Verdict, judge
from .interfaces import ILauncher, IWorkerLogs, Launched, LaunchFault, Order
from .recycle import Limits

PHP_GRACE_MIN_S = 5.0
"""
A php-fpm master that was told to quit lets its children end their requests; they have drained before, but a child may
still be writing its last words.
"""

UNPROBED = ("none", "notify")
"""Health types without questions."""


@frozen(kw_only=True)
class Ending:
    """
    How an instance ended.

    @ivar asked: whether somebody had asked for it; else it is a death.
    @ivar reason: one line for a person.
    @ivar remedy: what would mend it, or empty.
    @ivar exit: of its process; L{None} if there never was one.
    @ivar started_up: whether it was ever ready.
    @ivar uptime_s: how long it ran after it was first ready.
    @ivar output: its last lines.
    """

    asked: bool
    reason: str
    remedy: str = ""
    exit: Exit | None = None
    started_up: bool = False
    uptime_s: float = 0.0
    output: tuple[str, ...] = ()


class InstanceInputs(Protocol):
    """What can happen to an instance. All are accepted in every state."""

    def start(self) -> None:
        """Begin."""

    def launched(self) -> None:
        """Its process runs."""

    def launch_failed(self, reason: str) -> None:
        """There will be no process."""

    def became_well(self) -> None:
        """Enough checks in a row were answered well."""

    def became_unwell(self, reason: str) -> None:
        """Enough checks in a row were not."""

    def timeout(self) -> None:
        """The limit of the state has come."""

    def retire(self) -> None:
        """Let it finish what it has, then stop it."""

    def stop_now(self) -> None:
        """Stop it without waiting for what it has."""

    def drained(self) -> None:
        """No front holds it any more."""

    def exited(self) -> None:
        """Its process has ended."""


class IInstanceOwner(Protocol):
    """Who is told about an instance. The calls come while its machine moves: remember, and act later."""

    def instance_moved(self) -> None:
        """It is in another state."""

    def instance_gone(self, ending: Ending) -> None:
        """It has ended and holds nothing any more."""


class Phase:
    """
    The data of a state: timers and questions that end with it.

    @ivar over: whether the state was left.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.over = False
        self._clock = clock
        self._timers: list[IDelayedCall] = []
        self._questions: list[Deferred[None]] = []

    def after(self, delay_s: float, call: Callable[[], None]) -> None:
        """Have something called after a time, if the state has not been left by then."""
        self._timers = [timer for timer in self._timers if timer.active()]
        self._timers.append(self._clock.callLater(delay_s, call))

    def ask(self, question: Deferred[None], answered: Callable[[], None], failed: Callable[[Failure], None]) -> None:
        """Have the result of a question, if the state has not been left by then; it is cancelled when it is."""
        self._questions = [other for other in self._questions if not other.called]
        self._questions.append(question)

        def tell(_: object) -> None:
            if not self.over:
                answered()

        def tell_failure(failure: Failure) -> None:
            if not self.over:
                failed(failure)

        question.addCallbacks(tell, tell_failure)
        question.addErrback(lambda failure: _log.failure("a mistake in the supervisor", failure))

    def leave(self) -> None:
        """The state is left."""
        self.over = True
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        for question in self._questions:
            if not question.called:
                question.cancel()
        self._timers = []
        self._questions = []


_log = Logger("tqserver.supervisor.instance")


@implementer(IProcessObserver)
@define(eq=False, kw_only=True)
class Instance:
    """
    One instance. Its machine's inputs are L{inputs}; the rest is for reading, and for the machine.

    @ivar id: such as C{api.3.17}: worker, generation, serial number within the worker.
    @ivar config: replaced when a new configuration asks for no new process.
    @ivar leave_routing: takes an endpoint's id out of routing and fires when no front holds it any more.
    @ivar answered: how many requests an endpoint (by id) has answered so far.
    @ivar failure: why it is being stopped though nobody asked; empty if somebody did, or it is not.
    @ivar ready_at: when it first became ready, monotonic seconds; L{None} if it never was.
    @ivar launched_at: when it was launched, in wall clock seconds; 0 if it was not.
    @ivar checked_at: when it was last checked, in wall clock seconds; 0 if it never was.
    @ivar checked: how that went: empty for well, else the reason.
    @ivar limits: what it may reach before it is recycled.
    @ivar memory_bytes: resident memory of its process group when it was last measured, 0 if it never was.
    """

    id: str
    order: Order
    config: WorkerConfig
    pool: PoolConfig
    clock: IReactorTime
    wall_clock: Callable[[], float]
    launcher: ILauncher
    logs: IWorkerLogs
    leave_routing: Callable[[str], Deferred[None]]
    answered: Callable[[str], int]
    owner: IInstanceOwner
    limits: Limits = field(factory=Limits)
    memory_bytes: int = 0
    inputs: InstanceInputs = field(init=False)
    state: str = "idle"
    phase: Phase = field(init=False)
    launched: Launched | None = None
    launched_at: float = 0.0
    exit: Exit | None = None
    failure: str = ""
    remedy: str = ""
    asked: bool = False
    ready_at: float | None = None
    gone_at: float | None = None
    checked_at: float = 0.0
    checked: str = ""

    def __attrs_post_init__(self) -> None:
        self.phase = Phase(self.clock)

    # What the machine does.

    def enter(self, state: str) -> Phase:
        """Leave one state's data behind and begin another's."""
        self.phase.leave()
        self.phase = Phase(self.clock)
        self.state = state
        self.owner.instance_moved()
        return self.phase

    def launch(self) -> None:
        """Try to have a process; the machine hears how it went."""
        try:
            self.launched = self.launcher.launch(self.order, self)
        except LaunchFault as fault:
            self.remedy = fault.remedy
            self.inputs.launch_failed(fault.reason)
        else:
            self.launched_at = self.wall_clock()
            self.inputs.launched()

    def signal(self, *names: str) -> None:
        """Signal the process group, if there is one."""
        if self.launched is None:
            return
        for name in names:
            try:
                self.launched.process.signal_group(name)
            except (OSError, ValueError) as error:
                _log.error("{instance}: {signal}: {error}", instance=self.id, signal=name, error=error)

    def clear(self) -> None:
        """Give back what it held and tell the owner; the machine's last act."""
        self.gone_at = self.clock.seconds()
        if self.launched is not None:
            self.launcher.clear(self.launched)
        self.owner.instance_gone(self._ending())

    @property
    def stop_signal(self) -> str:
        """The first signal of the escalation. php-fpm drops its requests on TERM and ends gracefully on QUIT."""
        asked = self.config.process.stop_signal
        return "QUIT" if self.config.type == "php" and asked == "TERM" else asked

    @property
    def grace_s(self) -> float:
        """Seconds from that signal to KILL."""
        grace_s = self.config.process.shutdown_grace_s
        return max(grace_s, PHP_GRACE_MIN_S) if self.config.type == "php" else grace_s

    @property
    def uptime_s(self) -> float:
        """Seconds since it was first ready, or until it was gone; 0 if it never was ready."""
        if self.ready_at is None:
            return 0.0
        return (self.clock.seconds() if self.gone_at is None else self.gone_at) - self.ready_at

    def last_lines(self) -> tuple[str, ...]:
        """What it said last."""
        return self.launched.process.last_lines() if self.launched is not None else ()

    def _ending(self) -> Ending:
        """How it ended."""
        reason = self.failure or (self.exit.describe() if self.exit is not None else "stopped")
        return Ending(
            asked=not self.failure and (self.asked or self.exit is None),
            reason=reason,
            remedy=self.remedy,
            exit=self.exit,
            started_up=self.ready_at is not None,
            uptime_s=self.uptime_s,
            output=self.last_lines(),
        )

    # IProcessObserver

    def output(self, stream: Stream, lines: Sequence[bytes]) -> None:
        """See L{IProcessObserver}."""
        self.logs.write(self.config, self.id, stream, lines)

    def notified(self) -> None:
        """See L{IProcessObserver}."""
        if self.config.health.type == "notify":
            self.inputs.became_well()

    def exited(self, exit: Exit) -> None:
        """See L{IProcessObserver}."""
        self.exit = exit
        self.inputs.exited()


@define(eq=False)
class Checks:
    """
    Checks of one instance for as long as a phase lasts, one at a time.

    @ivar pause_s: tells the pause before the next check from the pause before the last (0 at first), in seconds.
    @ivar give_up: whether failed checks may lead to a verdict.
    """

    instance: Instance
    phase: Phase
    pause_s: Callable[[float], float]
    give_up: bool = True
    _paused_s: float = 0.0
    _tally: Tally = field(factory=Tally)
    _answered: int = 0
    _reason: str = ""

    def arm(self) -> None:
        """Check after the next pause."""
        self._answered = self.instance.answered(self.instance.id)
        self._paused_s = self.pause_s(self._paused_s)
        self.phase.after(self._paused_s, self._check)

    def _check(self) -> None:
        """
        Check once. An instance that answered requests since the last time is not asked: a busy single-threaded
        worker may well have no time for our questions.
        """
        instance = self.instance
        if instance.ready_at is not None and instance.answered(instance.id) > self._answered:
            self._count("")
            return
        if instance.launched is None or instance.launched.probe is None:
            return
        question = maybeDeferred(instance.launched.probe.check)
        question.addTimeout(instance.config.health.timeout_s, instance.clock)
        self.phase.ask(question, lambda: self._count(""), self._failed)

    def _failed(self, failure: Failure) -> None:
        """A check was not answered well, or not in time."""
        if isinstance(failure.value, ProbeFault):
            self._count(str(failure.value))
        else:
            self._count(f"no answer within {self.instance.config.health.timeout_s:g} s")

    def _count(self, reason: str) -> None:
        """Take the result of a check, and check again later unless it decided the matter."""
        instance, health = self.instance, self.instance.config.health
        instance.checked_at = instance.wall_clock()
        instance.checked = reason
        failures = health.failures if self.give_up else 2**31
        self._tally, verdict = judge(self._tally, not reason, health.successes, failures)
        if verdict is Verdict.WELL:
            instance.inputs.became_well()
        elif verdict is Verdict.UNWELL:
            instance.inputs.became_unwell(reason)
        if not self.phase.over:
            self.arm()
