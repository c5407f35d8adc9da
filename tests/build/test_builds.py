"""Tests of L{tqserver.build.builds}: all builds of a server, on fake processes."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from attrs import evolve
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tqserver.build import Build, BuildFault, Builds
from tqserver.build.recipe import IBuilder, Job, Recipe, Step
from tqserver.config.model import RouteConfig, ServerConfig, WorkerConfig
from tqserver.supervisor.interfaces import IBuilds
from tqserver.testing.spawning import FakeSpawner

from .making import Workshop

_T = TypeVar("_T")


class BuildsTests(SynchronousTestCase):
    """What a worker's owner is told about its builds."""

    def setUp(self) -> None:
        """Three workers that are built by a command, two at once."""
        self.shop = Workshop(self.mktemp())
        self.server: ServerConfig = self.shop.server(build_parallel=2, build_timeout_s=10.0)
        self.clock = Clock()
        self.spawner = FakeSpawner(self.clock, obeys={"TERM"})
        self.builds = Builds(
            self.clock,
            self.spawner,
            self.server,
            environ={"PATH": "/bin", "HOME": self.shop.project},
            in_thread=execute,
            wall_ns=lambda: int((1e9 + self.clock.seconds()) * 1e9),
        )
        self.workers = [self.shop.worker("command", name, build=("make",), run=("./run", "{port}")) for name in "abc"]
        for worker in self.workers:
            self.save(worker, "first")

    def save(self, worker: WorkerConfig, text: str) -> None:
        """Write the worker's source."""
        self.shop.write(f"workers/{worker.name}/main.c", text)

    def settle(self) -> None:
        """Let later turns of the reactor come."""
        self.clock.pump([0] * 4)

    def exit(self, index: int = -1, code: int = 0) -> None:
        """Have a tool end."""
        self.spawner.processes[index].exit(code)
        self.settle()

    def fault_of(self, deferred: Deferred[Build]) -> BuildFault:
        """The fault that a build ended with."""
        fault = self.failureResultOf(deferred, BuildFault).value
        assert isinstance(fault, BuildFault)
        return fault

    def test_interface(self) -> None:
        """It does what the supervisor asks for."""
        from zope.interface import directlyProvides

        directlyProvides(self.builds, IBuilds)
        verifyObject(IBuilds, self.builds)

    def test_built(self) -> None:
        """A build tells how the worker is run, and is seen in the status while it runs and after."""
        building = self.builds.build(self.workers[0])
        self.assertEqual(self.builds.states()["a"].state, "building")
        self.spawner.processes[0].say("cc main.c")
        self.clock.advance(3)
        self.assertEqual(self.builds.states()["a"].seconds, 3.0)
        self.exit()
        build = self.successResultOf(building)
        self.assertEqual((build.worker, build.argv), ("a", ("./run", "{port}")))
        self.assertEqual((build.seconds, build.output, build.reused), (3.0, ("cc main.c",), False))
        state = self.builds.states()["a"]
        self.assertEqual((state.state, state.fingerprint), ("ok", build.fingerprint))
        self.assertEqual((state.output, state.at), (("cc main.c",), build.at))

    def test_not_built_again(self) -> None:
        """The same sources are the same build, and no tool is run."""
        first = self.builds.build(self.workers[0])
        self.exit()
        second = self.successResultOf(self.builds.build(self.workers[0]))
        self.assertTrue(second.reused)
        self.assertEqual(second.fingerprint, self.successResultOf(first).fingerprint)
        self.assertEqual(len(self.spawner.processes), 1)

    def test_settings(self) -> None:
        """A changed template is another version, for which no tool is run."""
        first = self.builds.build(self.workers[0])
        self.exit()
        self.shop.write("workers/a/views/index.html", "hello")
        second = self.successResultOf(self.builds.build(self.workers[0]))
        self.assertTrue(second.reused)
        first_build = self.successResultOf(first)
        self.assertNotEqual(second.fingerprint, first_build.fingerprint)
        self.assertEqual(second.key, first_build.key)

    def test_failed(self) -> None:
        """A failed build is a fault with the tool's words; the state keeps the good version's name."""
        good = self.builds.build(self.workers[0])
        self.exit()
        self.save(self.workers[0], "broken")
        bad = self.builds.build(self.workers[0])
        self.spawner.processes[-1].say("main.c:1: error")
        self.exit(code=1)
        fault = self.fault_of(bad)
        self.assertEqual((fault.kind, fault.output), ("failed", ("main.c:1: error",)))
        state = self.builds.states()["a"]
        self.assertEqual((state.state, state.reason), ("failed", "make failed with exit code 1"))
        self.assertEqual(state.fingerprint, self.successResultOf(good).fingerprint)

    def test_back_to_the_good_one(self) -> None:
        """Undoing a bad change is well again, without the words of the failure."""
        self.test_failed()
        self.save(self.workers[0], "first")
        self.assertTrue(self.successResultOf(self.builds.build(self.workers[0])).reused)
        state = self.builds.states()["a"]
        self.assertEqual((state.state, state.output, state.reason), ("ok", (), ""))

    def test_superseded(self) -> None:
        """A save during a build ends that build at once; the new one begins when the old one is gone."""
        self.spawner.obeys = set()
        first = self.builds.build(self.workers[0])
        self.save(self.workers[0], "second")
        second = self.builds.build(self.workers[0])
        self.assertEqual(self.fault_of(first).kind, "superseded")
        self.assertEqual(self.spawner.processes[0].signals, ["TERM"])
        self.assertEqual(len(self.spawner.processes), 1)
        self.assertEqual(self.builds.states()["a"].state, "queued")
        self.clock.advance(1)
        self.settle()
        self.assertEqual(self.spawner.processes[0].signals, ["TERM", "KILL"])
        self.assertEqual(len(self.spawner.processes), 2)
        self.exit()
        self.assertFalse(self.successResultOf(second).reused)
        self.assertEqual(self.builds.states()["a"].state, "ok")

    def test_superseded_is_no_failure(self) -> None:
        """A build that was superseded leaves the state as it was."""
        first = self.builds.build(self.workers[0])
        first.cancel()
        self.assertEqual(self.fault_of(first).kind, "superseded")
        self.settle()
        self.assertEqual(self.builds.states()["a"].state, "idle")

    def test_many_saves(self) -> None:
        """Of many saves in a row the last is built, and all others end."""
        builds = []
        for number in range(5):
            self.save(self.workers[0], f"version {number}")
            builds.append(self.builds.build(self.workers[0]))
        self.settle()
        self.assertEqual(len(self.spawner.running), 1)
        self.exit()
        self.assertEqual([self.fault_of(build).kind for build in builds[:-1]], ["superseded"] * 4)
        self.assertEqual(self.successResultOf(builds[-1]).worker, "a")

    def test_a_few_at_once(self) -> None:
        """Two builds run at once; the third waits, and waiting does not count as building."""
        building = [self.builds.build(worker) for worker in self.workers]
        self.assertEqual(len(self.spawner.running), 2)
        self.assertEqual(self.builds.states()["c"].state, "queued")
        self.clock.advance(5)
        self.exit(0)
        self.assertEqual(len(self.spawner.running), 2)
        self.clock.advance(6)
        self.settle()
        self.assertEqual(self.fault_of(building[1]).kind, "timeout")
        self.assertNoResult(building[2])
        self.exit(2)
        self.assertEqual(self.successResultOf(building[2]).seconds, 6.0)

    def test_waiting_is_left(self) -> None:
        """A build that waits for its turn can be superseded as well, and holds up nobody."""
        for worker in self.workers[:2]:
            self.builds.build(worker)
        first = self.builds.build(self.workers[2])
        second = self.builds.build(self.workers[2])
        self.assertEqual(self.fault_of(first).kind, "superseded")
        self.exit(0)
        self.exit(1)
        self.exit(2)
        self.assertEqual(self.successResultOf(second).worker, "c")

    def test_a_place_is_kept_until_the_tool_is_gone(self) -> None:
        """A tool that is slow to die still counts as one of those that run at once."""
        self.spawner.obeys = set()
        gone = self.builds.build(self.workers[0])
        self.builds.build(self.workers[1])
        waiting = self.builds.build(self.workers[2])
        self.builds.forget("a")
        self.assertEqual(self.fault_of(gone).kind, "superseded")
        self.settle()
        self.assertEqual(len(self.spawner.processes), 2)
        self.clock.advance(1)
        self.settle()
        self.assertEqual(len(self.spawner.processes), 3)
        self.assertNoResult(waiting)

    def test_more_at_once(self) -> None:
        """A new configuration counts for builds that wait."""
        for worker in self.workers:
            self.builds.build(worker)
        pool = evolve(self.server.workers, build_parallel=3)
        self.builds.reconfigure(evolve(self.server, workers=pool))
        self.assertEqual(len(self.spawner.running), 3)

    def test_too_long(self) -> None:
        """A build that takes longer than allowed is ended and told as such."""
        building = self.builds.build(self.workers[0])
        self.clock.advance(10)
        self.settle()
        self.assertEqual(self.fault_of(building).kind, "timeout")
        self.assertEqual(self.builds.states()["a"].state, "failed")

    def test_missing_tool(self) -> None:
        """A build command that is not installed is told with the way to get it."""
        self.spawner.fail_next("make is not installed", "apt install make")
        fault = self.fault_of(self.builds.build(self.workers[0]))
        self.assertEqual((fault.kind, fault.remedy), ("missing-tool", "apt install make"))

    def test_forgotten_and_new(self) -> None:
        """A worker that is removed and comes again does not build beside its own remains."""
        self.spawner.obeys = set()
        first = self.builds.build(self.workers[0])
        self.builds.forget("a")
        self.assertEqual(self.fault_of(first).kind, "superseded")
        self.assertEqual(self.builds.states(), {})
        self.builds.build(self.workers[0])
        self.assertEqual(len(self.spawner.processes), 1)
        self.clock.advance(1)
        self.settle()
        self.assertEqual(len(self.spawner.processes), 2)

    def test_stop(self) -> None:
        """At the end all builds are ended, and it is told when nothing runs any more."""
        self.spawner.obeys = set()
        building = [self.builds.build(worker) for worker in self.workers]
        stopping = self.builds.stop()
        self.assertEqual([self.fault_of(build).kind for build in building], ["superseded"] * 3)
        self.assertNoResult(stopping)
        self.clock.advance(1)
        self.settle()
        self.successResultOf(stopping)
        self.assertEqual(self.spawner.running, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_to_stop(self) -> None:
        """Stopping is at once when nothing was ever built."""
        self.successResultOf(self.builds.stop())

    def test_disk_full(self) -> None:
        """What the operating system refuses is a fault with its reason."""

        def refuse(path: str, exist_ok: bool = False) -> None:
            raise OSError(28, "No space left on device", path)

        worker = evolve(self.workers[0], type="go")
        self.shop.program("go")
        self.shop.write("workers/a/main.go")
        self.patch(os, "makedirs", refuse)
        self.builds = Builds(
            self.clock, self.spawner, self.server, environ={"PATH": self.shop.programs}, in_thread=execute
        )
        fault = self.fault_of(self.builds.build(worker))
        self.assertIn("No space left on device", fault.reason)

    def test_own_mistakes(self) -> None:
        """A mistake of ours fails that build, is logged, and does not end the server."""

        @implementer(IBuilder)
        class Broken:
            def beyond(self, worker: WorkerConfig, server: ServerConfig) -> tuple[str, ...]:
                raise ZeroDivisionError

            def recipe(self, job: Job) -> Recipe:
                raise AssertionError("never reached")

            def explain(self, output: tuple[str, ...]) -> str:
                return ""

        builds = Builds(self.clock, self.spawner, self.server, in_thread=execute, builders={"command": Broken()})
        self.assertIn("mistake", self.fault_of(builds.build(self.workers[0])).reason)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


@implementer(IBuilder)
class FakeBuilder:
    """Needs two tools for everything."""

    def beyond(self, worker: WorkerConfig, server: ServerConfig) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def recipe(self, job: Job) -> Recipe:
        """Two tools and something to finish."""
        steps = tuple(Step(title=title, argv=(job.worker.name,), directory="/") for title in "12")
        return Recipe(key=job.key(), argv=(), directory="/", steps=steps, finish=lambda: None)

    def explain(self, output: tuple[str, ...]) -> str:
        """Nothing."""
        return ""


class BuildsMachine(RuleBasedStateMachine):
    """Builds are asked for, run, fail, hang, are superseded and cancelled in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.spawner = FakeSpawner(self.clock)
        self.threads: list[Callable[[], None]] = []
        self.limit = 2
        self.server = Workshop.__new__(Workshop)
        self.server.project, self.server.mode = "/nowhere", "development"
        self.builds = Builds(
            self.clock,
            self.spawner,
            self.server.server(build_parallel=2, build_timeout_s=5.0),
            environ={"HOME": "/"},
            in_thread=self.in_thread,
            builders={"command": FakeBuilder()},
        )
        self.pending: dict[str, Deferred[Build]] = {}
        self.outcomes: list[tuple[str, object]] = []
        self.asked = 0

    def in_thread(self, function: Callable[[], _T]) -> Deferred[_T]:
        """A function that runs when the machine says so, and whose Deferred cannot be cancelled."""
        deferred: Deferred[_T] = Deferred()
        self.threads.append(lambda: execute(function).chainDeferred(deferred))
        return deferred

    @rule(name=st.sampled_from("abc"))
    def build(self, name: str) -> None:
        """Ask for a build."""
        worker = WorkerConfig(
            name=name,
            directory=f"/nowhere/{name}",
            file=f"/nowhere/{name}/config/worker.yaml",
            routes=(RouteConfig(prefix="/"),),
            type="command",
        )
        building = self.builds.build(worker)
        self.asked += 1
        self.pending[name] = building
        building.addBoth(lambda result: self.outcomes.append((name, result)))

    @precondition(lambda self: self.threads)
    @rule(data=st.data())
    def thread(self, data: st.DataObject) -> None:
        """A thread ends; they end in any order."""
        self.threads.pop(data.draw(st.integers(0, len(self.threads) - 1)))()

    @precondition(lambda self: self.spawner.running)
    @rule(data=st.data(), code=st.integers(0, 1))
    def exit(self, data: st.DataObject, code: int) -> None:
        """A tool ends."""
        running = self.spawner.running
        running[data.draw(st.integers(0, len(running) - 1))].exit(code)

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 5.0]))
    def time(self, seconds: float) -> None:
        """Time goes by."""
        self.clock.advance(seconds)

    @rule(limit=st.integers(1, 3))
    def reconfigure(self, limit: int) -> None:
        """Another number of builds at once; only a larger one counts for those that run."""
        self.limit = max(limit, len(self.spawner.running), 1)
        self.builds.reconfigure(self.server.server(build_parallel=limit, build_timeout_s=5.0))
        self.limit = max(self.limit, limit)

    @precondition(lambda self: self.pending)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """The one who asked loses interest."""
        self.pending[data.draw(st.sampled_from(sorted(self.pending)))].cancel()

    @rule(name=st.sampled_from("abc"))
    def forget(self, name: str) -> None:
        """A worker is removed."""
        self.builds.forget(name)

    @rule()
    def stop(self) -> None:
        """Everything ends within bounded time, and can begin again."""
        stopping = self.builds.stop()
        for _ in range(10):
            while self.threads:
                self.threads.pop()()
            self.clock.pump([1.0, 0, 0])
        assert stopping.called
        assert not self.spawner.running
        assert not self.clock.getDelayedCalls()
        assert len(self.outcomes) == self.asked

    @invariant()
    def one_at_a_time(self) -> None:
        """Never two tools for one worker, never more than allowed, each question answered once at most."""
        names = [process.spec.argv[0] for process in self.spawner.running]
        assert len(names) == len(set(names)), names
        assert len(names) <= 3
        assert len(self.outcomes) <= self.asked
        for _, result in self.outcomes:
            assert isinstance(result, Build) or isinstance(getattr(result, "value", None), BuildFault), result

    def teardown(self) -> None:
        """In the end everything has ended."""
        self.stop()


class BuildsMachineTests(SynchronousTestCase):
    """Nothing that may happen to builds, in whatever order, breaks their rules."""

    def test_any_order(self) -> None:
        """Never two tools for one worker, never too many, always an end, and one answer to each question."""
        run_state_machine_as_test(
            BuildsMachine,
            settings=settings(derandomize=True, deadline=None, max_examples=60, stateful_step_count=40),
        )
