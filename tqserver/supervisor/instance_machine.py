"""
The life of an instance:

    idle → starting → ready ⇄ unhealthy → draining → stopping → killing → gone

The timers of a state are its data: entering arms them, leaving cancels them (L{Instance.enter}). Every input is
declared in every state. Behaviours do not raise; see L{tqserver.supervisor.instance}.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf

from automat import TypeMachineBuilder
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from .health import next_pause_s
from .instance import UNPROBED, Checks, Instance, InstanceInputs, Phase

REKILL_S = 1.0
"""A process that KILL did not end at once hangs in the kernel; it is killed again every so often, and meanwhile keeps
its port."""

SINGLE_LEAVE_S = 1.0
"""The longest that a process which makes room for its only successor waits for the fronts, of which one may hang."""

REKILLS_TOLD_AFTER = 3
"""Kills without effect before an operator is told."""

_log = Logger("tqserver.supervisor.instance")


# What begins with each state.


def _starting(inputs: InstanceInputs, instance: Instance, /, reason: str = "") -> Phase:
    """Launch, and wait for the process to be ready, but not for ever."""
    phase = instance.enter("starting")
    phase.after(instance.pool.ready_timeout_s, inputs.timeout)
    return phase


def _ready(inputs: InstanceInputs, instance: Instance, /, reason: str = "") -> Phase:
    """Look after it from time to time."""
    if instance.ready_at is None:
        instance.ready_at = instance.clock.seconds()
    return _checked(instance, "ready")


def _unhealthy(inputs: InstanceInputs, instance: Instance, /, reason: str = "") -> Phase:
    """Give it no requests, and see whether it recovers."""
    return _checked(instance, "unhealthy")


def _checked(instance: Instance, state: str) -> Phase:
    """A state in which the instance is checked at intervals."""
    phase = instance.enter(state)
    if instance.config.health.type not in UNPROBED:
        Checks(instance, phase, lambda _: instance.config.health.interval_s).arm()
    return phase


def _draining(inputs: InstanceInputs, instance: Instance, /, reason: str = "") -> Phase:
    """
    Wait until the fronts have let go of it, and at least the configured while: a client may be between two requests
    of one exchange with state of its own making.

    Where there can be only one process, nobody is served until it has ended: there it is enough that the fronts give it
    nothing new. It ends what it has in hand after its signal.
    """
    phase = instance.enter("draining")
    single = instance.config.single
    phase.after(min(instance.pool.drain_timeout_s, SINGLE_LEAVE_S if single else inf), inputs.timeout)
    pause_s = 0.0 if single else instance.pool.restart_delay_s
    pause: Deferred[None] = deferLater(instance.clock, pause_s, lambda: None)
    both = gatherResults([maybeDeferred(instance.leave_routing, instance.id), pause], consumeErrors=True)
    phase.ask(both.addCallback(lambda _: None), inputs.drained, lambda failure: _drain_failed(inputs, failure))
    return phase


def _drain_failed(inputs: InstanceInputs, failure: Failure) -> None:
    """Nobody can tell any more whether it is drained: the limit of the state decides."""
    _log.failure("cannot tell whether an instance is drained", failure)


def _stopping(inputs: InstanceInputs, instance: Instance, /, reason: str = "") -> Phase:
    """Ask the process to end; one that was stopped (SIGSTOP) has to be woken to hear it."""
    phase = instance.enter("stopping")
    phase.after(instance.grace_s, inputs.timeout)
    instance.signal(instance.stop_signal, "CONT")
    return phase


def _killing(inputs: InstanceInputs, instance: Instance, /, reason: str = "") -> Phase:
    """Make the process end."""
    phase = instance.enter("killing")
    _kill(instance, phase, 0, inputs)
    return phase


def _kill(instance: Instance, phase: Phase, times: int, inputs: InstanceInputs) -> None:
    """Kill, and again if that has no effect."""
    if times == REKILLS_TOLD_AFTER:
        _log.error("{instance} does not end even when it is killed", instance=instance.id)
    instance.signal("KILL")
    phase.after(REKILL_S, lambda: _kill(instance, phase, times + 1, inputs))


def _gone(inputs: InstanceInputs, instance: Instance, /, reason: str = "") -> Phase:
    """Leave no trace. The reason, if one is given, is why it never came to life."""
    if reason:
        instance.failure = reason
    phase = instance.enter("gone")
    instance.clear()
    return phase


def _build() -> Callable[[Instance], InstanceInputs]:
    """Write the whole table."""
    machine = TypeMachineBuilder(InstanceInputs, Instance)
    happens = InstanceInputs

    idle = machine.state("idle")
    starting = machine.state("starting", _starting)
    ready = machine.state("ready", _ready)
    unhealthy = machine.state("unhealthy", _unhealthy)
    draining = machine.state("draining", _draining)
    stopping = machine.state("stopping", _stopping)
    killing = machine.state("killing", _killing)
    gone = machine.state("gone", _gone)

    # The way of an instance that nothing befalls.
    ready.upon(happens.became_well).loop().returns(None)
    unhealthy.upon(happens.became_well).to(ready).returns(None)
    ready.upon(happens.became_unwell).to(unhealthy).returns(None)
    draining.upon(happens.drained).to(stopping).returns(None)
    draining.upon(happens.timeout).to(stopping).returns(None)
    stopping.upon(happens.timeout).to(killing).returns(None)
    killing.upon(happens.timeout).loop().returns(None)

    @idle.upon(happens.start).to(starting)
    def start(inputs: InstanceInputs, instance: Instance) -> None:
        instance.launch()

    @starting.upon(happens.launched).loop()
    def look(inputs: InstanceInputs, instance: Instance, phase: Phase) -> None:
        if instance.config.health.type == "none":
            phase.after(instance.pool.startup_delay_s, inputs.became_well)
        elif instance.config.health.type != "notify":
            Checks(instance, phase, next_pause_s, give_up=False).arm()

    starting.upon(happens.became_well).to(ready).returns(None)

    # What befalls it. Nothing can be launched, or it does not come up, or stays unwell: a death.
    starting.upon(happens.launch_failed).to(gone).returns(None)

    @starting.upon(happens.timeout).to(stopping)
    def too_slow(inputs: InstanceInputs, instance: Instance, phase: Phase) -> None:
        instance.failure = f"not ready within {instance.pool.ready_timeout_s:g} s"
        if instance.checked:
            instance.failure += f": {instance.checked}"

    @unhealthy.upon(happens.became_unwell).to(stopping)
    def lost(inputs: InstanceInputs, instance: Instance, phase: Phase, reason: str) -> None:
        instance.failure = f"unhealthy: {reason}"

    for alive in (starting, ready, unhealthy, draining, stopping, killing):
        alive.upon(happens.exited).to(gone).returns(None)

    # What is asked of it. There is nothing to drain before it was ready.
    idle.upon(happens.retire).to(gone).returns(None)
    idle.upon(happens.stop_now).to(gone).returns(None)

    @starting.upon(happens.retire).to(stopping)
    @starting.upon(happens.stop_now).to(stopping)
    @ready.upon(happens.retire).to(draining)
    @ready.upon(happens.stop_now).to(stopping)
    @unhealthy.upon(happens.retire).to(draining)
    @unhealthy.upon(happens.stop_now).to(stopping)
    @draining.upon(happens.stop_now).to(stopping)
    def asked(inputs: InstanceInputs, instance: Instance, phase: Phase) -> None:
        instance.asked = True

    # What is too late, or comes from a state that was left, changes nothing.
    for state in (starting, ready, unhealthy, draining, stopping, killing, gone):
        state.upon(happens.start).loop().returns(None)
    for state in (draining, stopping, killing, gone):
        state.upon(happens.retire).loop().returns(None)
        state.upon(happens.became_well).loop().returns(None)
        state.upon(happens.became_unwell).loop().returns(None)
    for state in (stopping, killing, gone):
        state.upon(happens.stop_now).loop().returns(None)
    for state in (ready, unhealthy, draining, stopping, killing, gone):
        state.upon(happens.launched).loop().returns(None)
        state.upon(happens.launch_failed).loop().returns(None)
    for state in (starting, ready, unhealthy, stopping, killing, gone):
        state.upon(happens.drained).loop().returns(None)
    for state in (ready, unhealthy, gone):
        state.upon(happens.timeout).loop().returns(None)
    starting.upon(happens.became_unwell).loop().returns(None)
    gone.upon(happens.exited).loop().returns(None)
    idle.upon(happens.launched).loop().returns(None)
    idle.upon(happens.launch_failed).loop().returns(None)
    idle.upon(happens.became_well).loop().returns(None)
    idle.upon(happens.became_unwell).loop().returns(None)
    idle.upon(happens.timeout).loop().returns(None)
    idle.upon(happens.drained).loop().returns(None)
    idle.upon(happens.exited).loop().returns(None)

    return machine.build()


make_machine = _build()
