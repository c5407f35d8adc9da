"""Tests for L{tqserver.supervisor.plan}."""

from __future__ import annotations

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.model import ScalingConfig
from tqserver.supervisor.changes import (
    Change,
    Generation,
    RetireSlot,
    SetCount,
    StartBuild,
    StartSlot,
    StopSlot,
)
from tqserver.supervisor.plan import (
    RETIRING_MAX,
    Desired,
    Observed,
    SlotState,
    SlotView,
    WorkerDesired,
    WorkerObserved,
    plan,
    serving,
)
from tqserver.supervisor.scaling import Demand

NOW = 1000.0


def generation(serial: int) -> Generation:
    """The worker's generation of this number."""
    return Generation("api", serial, "key", f"f{serial}")


def slot(serial: int, of: int = 1, state: SlotState = SlotState.READY, **changes: object) -> SlotView:
    """A slot; one that is ready has proved itself."""
    view = SlotView(
        id=f"api#{serial}",
        serial=serial,
        generation=generation(of),
        state=state,
        proven=state in (SlotState.READY, SlotState.UNHEALTHY),
    )
    return evolve(view, **changes)


def changes(
    *slots: SlotView, target: int | None = 1, count: int = 1, bounds: tuple[int, int] = (1, 5), off: str = ""
) -> tuple[Change, ...]:
    """The plan for one worker with nothing to build."""
    desired = WorkerDesired(
        name="api",
        target=generation(target) if target is not None else None,
        scaling=ScalingConfig(workers_min=bounds[0], workers_max=bounds[1]),
        off=off,
    )
    observed = WorkerObserved(name="api", count=count, scaled_at=NOW, slots=slots)
    return plan(Desired((desired,)), Observed((observed,)), NOW)


class PlanTests(SynchronousTestCase):
    """The rules, one by one."""

    def test_first_start(self) -> None:
        """A worker that was just built is started."""
        self.assertEqual(changes(count=0), (SetCount("api", 1), StartSlot(generation(1))))

    def test_nothing_to_do(self) -> None:
        """What should be is: nothing happens."""
        self.assertEqual(changes(slot(1)), ())

    def test_build(self) -> None:
        """A new reason to build starts a build, and takes nothing away from what runs."""
        desired = WorkerDesired(name="api", target=generation(1), source=2)
        observed = WorkerObserved(name="api", source=1, count=1, scaled_at=NOW, slots=(slot(1),))
        self.assertEqual(plan(Desired((desired,)), Observed((observed,)), NOW), (StartBuild("api", 2),))

    def test_new_version_is_started_beside(self) -> None:
        """I save: the new version starts, and the old one is not touched before the new one is ready."""
        self.assertEqual(changes(slot(1), target=2), (StartSlot(generation(2)),))
        self.assertEqual(changes(slot(1), slot(2, 2, SlotState.STARTING), target=2), ())

    def test_switch(self) -> None:
        """The new version is ready: the old one is retired, all its instances at once."""
        self.assertEqual(
            changes(slot(1), slot(2), slot(3, 2), slot(4, 2), target=2, count=2),
            (RetireSlot("api#1", "replaced by api.2"), RetireSlot("api#2", "replaced by api.2")),
        )

    def test_new_version_must_be_complete(self) -> None:
        """With two instances the old version serves until both new ones are ready."""
        slots = (slot(1), slot(2), slot(3, 2), slot(4, 2, SlotState.STARTING))
        self.assertEqual(changes(*slots, target=2, count=2), ())
        self.assertEqual([view.id for view in serving(slots, generation(2))], ["api#1", "api#2"])

    def test_new_version_that_cannot_start(self) -> None:
        """The new version dies at every start and is held: the old one goes on serving."""
        slots = (slot(1), slot(2, 2, SlotState.HELD))
        self.assertEqual(changes(*slots, target=2), ())
        self.assertEqual([view.id for view in serving(slots, generation(2))], ["api#1"])

    def test_superseded(self) -> None:
        """I save twice in a row: the first of the two, which never served, is stopped at once."""
        self.assertEqual(
            changes(slot(1), slot(2, 2, SlotState.STARTING), target=3),
            (StartSlot(generation(3)), RetireSlot("api#2", "superseded by api.3")),
        )

    def test_crashed_old_version_is_kept_for_the_case(self) -> None:
        """The old version has just crashed and is in its backoff while the new one starts: it stays."""
        self.assertEqual(
            changes(slot(1, 1, SlotState.BACKOFF, proven=True), slot(2, 2, SlotState.STARTING), target=2), ()
        )

    def test_what_serves_beats_what_served_last(self) -> None:
        """Version 2 crashed before it was complete, version 1 still serves: version 3 replaces 1, not 2."""
        self.assertEqual(
            changes(slot(1), slot(2, 2, SlotState.BACKOFF, proven=True), slot(3, 3, SlotState.STARTING), target=3),
            (RetireSlot("api#2", "superseded by api.3"),),
        )

    def test_unhealthy_gets_a_successor(self) -> None:
        """My instance does not answer its checks: another one starts beside it, and then it goes."""
        unwell = slot(1, 1, SlotState.UNHEALTHY)
        self.assertEqual(changes(unwell), (StartSlot(generation(1)),))
        self.assertEqual(changes(unwell, slot(2)), (RetireSlot("api#1", "replaced by api.1"),))

    def test_unhealthy_that_recovers(self) -> None:
        """It answers again before its successor is ready: the successor is not needed."""
        self.assertEqual(changes(slot(1), slot(2, 1, SlotState.STARTING)), (RetireSlot("api#2", "not needed"),))

    def test_recycled_one_at_a_time(self) -> None:
        """All my instances have served enough: the oldest is replaced first, and only that one."""
        old = [slot(number, due="served 10 requests") for number in (1, 2, 3)]
        self.assertEqual(changes(*old, count=3), (StartSlot(generation(1)),))
        self.assertEqual(changes(*old, slot(4, 1, SlotState.STARTING), count=3), ())
        self.assertEqual(changes(*old, slot(4), count=3), (RetireSlot("api#1", "served 10 requests"),))

    def test_scaled_down(self) -> None:
        """One instance fewer is wanted: the one with the least to do goes."""
        self.assertEqual(
            changes(slot(1, in_flight=2), slot(2, in_flight=1), slot(3, in_flight=4), count=2),
            (RetireSlot("api#2", "not needed"),),
        )

    def test_held_is_not_forgotten_by_idleness(self) -> None:
        """My C{min_workers: 0} worker is held; idleness does not start the crash loop anew."""
        self.assertEqual(changes(slot(1, 1, SlotState.HELD), bounds=(0, 5)), ())

    def test_off(self) -> None:
        """I disable a worker: all its instances are retired."""
        self.assertEqual(
            changes(slot(1), slot(2, 1, SlotState.RETIRING), off="disabled"), (RetireSlot("api#1", "disabled"),)
        )

    def test_removed(self) -> None:
        """I remove a worker's folder: its instances are retired."""
        observed = WorkerObserved(name="api", count=1, slots=(slot(1),))
        self.assertEqual(plan(Desired(), Observed((observed,)), NOW), (RetireSlot("api#1", "the worker was removed"),))

    def test_drains_do_not_pile_up(self) -> None:
        """I save every second while long downloads run: the oldest old versions are cut."""
        retiring = [slot(number, number, SlotState.RETIRING) for number in range(1, RETIRING_MAX + 2)]
        self.assertEqual(changes(*retiring, slot(50, 50), target=50), (StopSlot("api#1", "too many are draining"),))
        retiring[0] = evolve(retiring[0], cut=True)
        self.assertEqual(changes(*retiring, slot(50, 50), target=50), ())


STATES = st.sampled_from(list(SlotState))


@st.composite
def workers(draw: st.DrawFn) -> tuple[WorkerDesired, WorkerObserved]:
    """One worker in any state that can be thought of."""
    slots = []
    for serial in range(1, draw(st.integers(0, 12)) + 1):
        state = draw(STATES)
        slots.append(
            slot(
                serial,
                draw(st.integers(1, 4)),
                state,
                proven=state in (SlotState.READY, SlotState.UNHEALTHY) or draw(st.booleans()),
                due=draw(st.sampled_from(["", "ran for 60 s"])),
                in_flight=draw(st.integers(0, 2)),
            )
        )
    least = draw(st.integers(0, 3))
    times = st.sampled_from([float("-inf"), NOW - 100, NOW - 1, NOW])
    desired = WorkerDesired(
        name="api",
        target=draw(st.none() | st.builds(generation, st.integers(3, 4))),
        source=draw(st.integers(0, 2)),
        scaling=ScalingConfig(workers_min=least, workers_max=least + draw(st.integers(0, 3))),
        off=draw(st.sampled_from(["", "", "", "disabled"])),
    )
    observed = WorkerObserved(
        name="api",
        source=draw(st.integers(0, 2)),
        count=draw(st.integers(0, 5)),
        scaled_at=draw(times),
        demand=Demand(
            waiting=draw(st.integers(0, 20)),
            oldest_s=draw(st.sampled_from([0.0, 1.0])),
            wanted_at=draw(times),
            crowded_at=draw(times),
            used_at=draw(times),
        ),
        slots=tuple(slots),
    )
    return desired, observed


def carry_out(observed: WorkerObserved, steps: tuple[Change, ...]) -> WorkerObserved:
    """What is there after the steps were taken."""
    for step in steps:
        if isinstance(step, StartBuild):
            observed = evolve(observed, source=step.source)
        elif isinstance(step, SetCount):
            observed = evolve(observed, count=step.count, scaled_at=NOW)
        elif isinstance(step, StartSlot):
            serial = max((view.serial for view in observed.slots), default=0) + 1
            new = slot(serial, step.generation.serial, SlotState.STARTING)
            observed = evolve(observed, slots=(*observed.slots, new))
        else:
            cut = isinstance(step, StopSlot)
            observed = evolve(
                observed,
                slots=tuple(
                    evolve(view, state=SlotState.RETIRING, cut=view.cut or cut) if view.id == step.slot else view
                    for view in observed.slots
                ),
            )
    return observed


class PlanProperties(SynchronousTestCase):
    """What holds whatever the state is."""

    @settings(derandomize=True, deadline=None, max_examples=250)
    @given(workers())
    def test_second_run_changes_nothing(self, worker: tuple[WorkerDesired, WorkerObserved]) -> None:
        """
        Two runs with nothing new change nothing. Only where several instances are due, the end of one may begin the
        replacement of the next; that comes to an end, too.
        """
        desired, observed = worker
        steps = plan(Desired((desired,)), Observed((observed,)), NOW)
        once = [step for step in steps if not isinstance(step, StartSlot)]
        self.assertEqual(len(once), len(set(once)))
        observed = carry_out(observed, steps)
        for _ in [view for view in observed.slots if view.due]:
            observed = carry_out(observed, plan(Desired((desired,)), Observed((observed,)), NOW))
        self.assertEqual(plan(Desired((desired,)), Observed((observed,)), NOW), ())

    @settings(derandomize=True, deadline=None, max_examples=250)
    @given(workers())
    def test_never_without_an_endpoint(self, worker: tuple[WorkerDesired, WorkerObserved]) -> None:
        """While an instance is wanted and one is ready, no plan leaves me without one."""
        desired, observed = worker
        after = carry_out(observed, plan(Desired((desired,)), Observed((observed,)), NOW))
        if not desired.off and after.count and any(view.ready for view in observed.slots):
            self.assertTrue(any(view.ready for view in after.slots))
            self.assertTrue(serving(after.slots, desired.target))

    @settings(derandomize=True, deadline=None, max_examples=250)
    @given(workers())
    def test_bounded(self, worker: tuple[WorkerDesired, WorkerObserved]) -> None:
        """The new version never has more slots than are wanted, besides those that are being replaced."""
        desired, observed = worker
        after = carry_out(observed, plan(Desired((desired,)), Observed((observed,)), NOW))
        if desired.off or desired.target is None:
            return
        live = [view for view in after.slots if view.state is not SlotState.RETIRING]
        counted = [
            view
            for view in live
            if view.generation == desired.target and not view.due and view.state is not SlotState.UNHEALTHY
        ]
        self.assertLessEqual(len(counted), after.count)
        self.assertLessEqual(len({view.generation for view in live}), 2)

    @settings(derandomize=True, deadline=None, max_examples=150)
    @given(workers())
    def test_one_version_serves(self, worker: tuple[WorkerDesired, WorkerObserved]) -> None:
        """Requests never go to two versions at once."""
        desired, observed = worker
        chosen = serving(observed.slots, desired.target)
        self.assertLessEqual(len({view.generation for view in chosen}), 1)
        self.assertTrue(all(view.ready for view in chosen))


class SingleTests(SynchronousTestCase):
    """A worker of which there can be only one process at a time."""

    def changes(
        self, *slots: SlotView, target: int = 1, count: int = 1, bounds: tuple[int, int] = (1, 1), off: str = ""
    ) -> tuple[Change, ...]:
        """The plan for it."""
        desired = WorkerDesired(
            name="api",
            target=generation(target),
            scaling=ScalingConfig(workers_min=bounds[0], workers_max=bounds[1]),
            single=True,
            off=off,
        )
        observed = WorkerObserved(name="api", count=count, scaled_at=NOW, slots=slots)
        return plan(Desired((desired,)), Observed((observed,)), NOW)

    def test_start(self) -> None:
        """It is started when nothing is there, and then there is nothing to do."""
        self.assertEqual(self.changes(count=0), (SetCount("api", 1), StartSlot(generation(1))))
        self.assertEqual(self.changes(slot(1)), ())
        self.assertEqual(self.changes(slot(1, state=SlotState.STARTING)), ())

    def test_replacement(self) -> None:
        """The old one ends; only when nothing of it is left the new one starts."""
        (retired,) = self.changes(slot(1), target=2)
        self.assertEqual(retired, RetireSlot("api#1", "makes room for api.2"))
        self.assertEqual(self.changes(slot(1, state=SlotState.RETIRING), target=2), ())
        self.assertEqual(self.changes(target=2), (StartSlot(generation(2)),))

    def test_one_that_is_due(self) -> None:
        """One that has grown too old or too large ends before its successor starts."""
        (retired,) = self.changes(slot(1, due="too old"))
        self.assertEqual(retired, RetireSlot("api#1", "too old"))

    def test_unhealthy(self) -> None:
        """One that does not answer is left to recover or to be given up."""
        self.assertEqual(self.changes(slot(1, state=SlotState.UNHEALTHY)), ())

    def test_held(self) -> None:
        """One that does not stay up waits for a change, and a change replaces it."""
        held = slot(1, state=SlotState.HELD)
        self.assertEqual(self.changes(held), ())
        self.assertEqual([type(change) for change in self.changes(held, target=2)], [RetireSlot])

    def test_an_operator_wants_more(self) -> None:
        """However many an operator asks for: there is one, or none."""
        self.assertEqual(self.changes(slot(1), bounds=(5, 5)), ())
        changes = self.changes(slot(1), bounds=(0, 0))
        self.assertEqual([type(change) for change in changes], [SetCount, RetireSlot])

    def test_off(self) -> None:
        """When it is switched off, it ends; switched on again at once, it waits for its own end."""
        self.assertEqual([type(change) for change in self.changes(slot(1), off="stopped")], [RetireSlot])
        self.assertEqual(self.changes(slot(1, state=SlotState.RETIRING)), ())

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(
        st.lists(st.tuples(st.sampled_from(SlotState), st.integers(1, 3), st.booleans()), max_size=4),
        st.integers(1, 3),
        st.integers(0, 3),
    )
    def test_never_two(self, there: list[tuple[SlotState, int, bool]], target: int, most: int) -> None:
        """Whatever is there: nothing is started beside it."""
        slots = [
            slot(serial, of=of, state=state, due="old" if due else "")
            for serial, (state, of, due) in enumerate(there, 1)
        ]
        started = [
            change for change in self.changes(*slots, target=target, bounds=(0, most)) if isinstance(change, StartSlot)
        ]
        self.assertEqual(started, [StartSlot(generation(target))] if most and not slots else [])
