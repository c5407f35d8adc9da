"""Tests for L{tqserver.supervisor.service}: what users see happen."""

from __future__ import annotations

import json

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.model import BrokenWorker, RecycleConfig, RouteConfig, ScalingConfig
from tqserver.errors import CommandFault, ConfigFault, Problem
from tqserver.plane.status import to_json
from tqserver.supervisor.interfaces import EndpointTotals, WorkerTotals
from tqserver.supervisor.worker import TOOL_AGAIN_S

from .world import World, server_config, worker_config


class StartTests(SynchronousTestCase):
    """From nothing to an answer."""

    def test_first_start(self) -> None:
        """I start the server: requests wait while my worker is built and boots, and then reach it."""
        world = World(worker_config())
        world.start()
        self.assertEqual(world.fronts.worker("api").closed, "")
        world.built()
        self.assertEqual(world.serving, [])
        world.come_up()
        self.assertEqual(world.fronts.endpoints, {"api.1.1": 9000})

    def test_does_not_build(self) -> None:
        """My worker does not build: requests are answered at once with the reason, the remedy and the output."""
        world = World(worker_config())
        world.start()
        world.builds.fail("api")
        world.settle()
        routing = world.fronts.worker("api")
        self.assertEqual(routing.closed, "could not be built: syntax error")
        self.assertEqual((routing.remedy, routing.output), ("mend it", "main.go:3: syntax error"))
        self.assertEqual(world.supervisor.status().workers[0].state, "failed")

    def test_mended(self) -> None:
        """I mend it and save: requests wait again, and then are answered."""
        world = World(worker_config())
        world.start()
        world.builds.fail("api")
        world.settle()
        world.save()
        self.assertEqual(world.fronts.worker("api").closed, "")
        world.built()
        world.come_up()
        self.assertEqual(world.serving, ["api.1.1"])

    def test_port_taken_by_another_program(self) -> None:
        """Another program has the first port of the range: my worker gets the next one."""
        world = World(worker_config())
        world.bind.taken = {9000}
        world.up()
        self.assertEqual(world.fronts.endpoints, {"api.1.1": 9001})

    def test_no_port_left(self) -> None:
        """All ports are taken: no crash, but a worker that is held with a reason and a remedy that names the keys."""
        world = World(worker_config())
        world.bind.taken = set(range(9000, 9020))
        world.start()
        world.built()
        world.pass_time(10.0)
        status = world.supervisor.status().workers[0]
        self.assertEqual(status.state, "held")
        self.assertIn("no port from 9000 to 9019 is free", status.reason)
        self.assertIn("port_range", status.remedy)
        self.assertIn("does not stay up", world.fronts.worker("api").closed)

    def test_environment(self) -> None:
        """My worker finds its port, name, route and mode in its environment."""
        world = World(worker_config())
        world.up()
        environment = dict(world.process().spec.environment)
        self.assertEqual(environment["WORKER_PORT"], "9000")
        self.assertEqual(environment["WORKER_INSTANCE"], "api.1.1")
        self.assertEqual(environment["WORKER_MODE"], "development")
        self.assertEqual(world.process().spec.argv, ("./run", "9000"))

    def test_words_reach_the_log(self) -> None:
        """What my worker says is kept under its instance."""
        world = World(worker_config())
        world.up()
        world.process().say("hello")
        self.assertEqual(world.logs.lines, [("api.1.1", b"hello")])


class SaveTests(SynchronousTestCase):
    """A saved file."""

    def setUp(self) -> None:
        self.world = World(worker_config(), worker_config("blog"))
        self.world.start()
        self.world.built("api")
        self.world.built("blog")
        self.world.come_up()

    def test_swap_in_one_publication(self) -> None:
        """I save: one single publication takes the old version out and the new one in."""
        before = len(self.world.fronts.published)
        self.world.save()
        self.world.built(fingerprint="f2")
        self.assertEqual(len(self.world.fronts.published), before)
        self.world.come_up()
        self.assertEqual(len(self.world.fronts.published), before + 1)
        self.assertEqual(self.world.serving, ["api.2.2", "blog.1.1"])

    def test_old_version_finishes_its_requests(self) -> None:
        """A long download runs on the old version: it is stopped only when that has ended."""
        self.world.fronts.busy = {"api.1.1"}
        self.world.save()
        self.world.built(fingerprint="f2")
        self.world.come_up()
        self.world.pass_time(5.0)
        self.assertEqual(self.world.process(0).signals, [])
        self.world.fronts.drain("api.1.1")
        self.assertEqual(self.world.process(0).signals, ["TERM"])

    def test_other_workers_are_left_alone(self) -> None:
        """I save a file of one worker: the other one is neither built nor restarted."""
        self.world.builds.started.clear()
        self.world.save()
        self.world.built(fingerprint="f2")
        self.world.come_up()
        self.world.pass_time(2.0)
        self.assertEqual(self.world.builds.started, ["api"])
        self.assertEqual(self.world.process(1).signals, [])

    def test_name_that_begins_like_another(self) -> None:
        """A save in C{api2} does not reload C{api}."""
        world = World(worker_config("api"), worker_config("api2"))
        world.start()
        world.builds.started.clear()
        world.save("api2")
        self.assertEqual(world.builds.started, ["api2"])

    def test_same_result_changes_nothing(self) -> None:
        """I save without a change: the build has the same fingerprint, and no process is touched."""
        self.world.save()
        self.world.built(fingerprint="f1")
        self.world.pass_time(2.0)
        self.assertEqual(len(self.world.spawner.processes), 2)

    def test_save_during_a_build(self) -> None:
        """I save again while it builds: the first build is superseded, its failure is none, and the second counts."""
        self.world.save()
        self.world.save()
        self.assertEqual(self.world.builds.started[-2:], ["api", "api"])
        self.assertEqual(self.world.supervisor.status().workers[0].build.state, "building")
        self.world.built(fingerprint="f3")
        self.world.come_up()
        self.assertEqual(self.world.serving, ["api.2.2", "blog.1.1"])
        self.assertEqual(self.world.supervisor.status().workers[0].build.fingerprint, "f3")

    def test_broken_build_leaves_the_old_version(self) -> None:
        """I save a mistake: the old version goes on serving, and status says why."""
        self.world.save()
        self.world.builds.fail("api")
        self.world.settle()
        self.assertIn("api.1.1", self.world.serving)
        status = self.world.supervisor.status().workers[0]
        self.assertEqual((status.state, status.build.state), ("healthy", "failed"))
        self.assertEqual(status.reason, "could not be built: syntax error")

    def test_new_version_that_dies_leaves_the_old_one(self) -> None:
        """I save a version that exits at once: it is tried, then held; the old one serves all the time."""
        self.world.save()
        self.world.built(fingerprint="f2")
        for _ in range(4):
            self.world.process().exit(code=1)
            self.world.pass_time(1.5)
            self.assertIn("api.1.1", self.world.serving)
        status = self.world.supervisor.status().workers[0]
        self.assertEqual(status.state, "healthy")
        self.assertIn("4 deaths within 60 s", status.reason)
        self.assertEqual(len(self.world.spawner.processes), 2 + 4)

    def test_crash_restarts_the_version_that_serves(self) -> None:
        """The old version crashes while the new one does not build: the old build is started again."""
        self.world.save()
        self.world.builds.fail("api")
        self.world.settle()
        self.world.process(0).exit(signal="SEGV")
        self.world.come_up()
        self.world.come_up()
        self.assertEqual(self.world.serving, ["api.1.2", "blog.1.1"])

    def test_burst_of_saves(self) -> None:
        """Twenty saves in a row, each built, none awaited: one old and one new process at the end of it, then one."""
        for number in range(20):
            self.world.save()
            self.world.built(fingerprint=f"n{number}")
        self.world.come_up()
        self.world.pass_time(2.0)
        alive = [process for process in self.world.spawner.running if "api" in str(process.spec.environment)]
        self.assertEqual(len(alive), 1)
        self.assertEqual(len(self.world.ports.leased), 2)


class CrashTests(SynchronousTestCase):
    """Deaths."""

    def test_leaves_routing_at_once(self) -> None:
        """My worker is killed: in the same moment no request is sent to it any more."""
        world = World(worker_config())
        world.up()
        world.process().exit(signal="KILL")
        world.settle()
        self.assertEqual(world.serving, [])
        self.assertEqual(world.fronts.worker("api").closed, "")
        world.come_up()
        world.come_up()
        self.assertEqual(world.serving, ["api.1.2"])

    def test_status_tells_the_death(self) -> None:
        """Status shows how it ended, when, and its last words."""
        world = World(worker_config())
        world.up()
        world.process().say("panic: nil")
        world.process().exit(code=2)
        world.settle()
        exit = world.supervisor.status().workers[0].instances[0].last_exit
        assert exit is not None
        self.assertEqual((exit.reason, exit.output), ("exit code 2", ("panic: nil",)))

    def test_tool_installed_later(self) -> None:
        """A missing tool is looked for now and then; once it is there, the worker serves without a word of mine."""
        world = World(worker_config())
        world.start()
        world.builds.fail("api", "needs go, which is not installed", "missing-tool")
        world.settle()
        self.assertIn("needs go", world.fronts.worker("api").closed)
        for _ in range(3):
            world.pass_time(TOOL_AGAIN_S + 1)
            world.builds.fail("api", "needs go, which is not installed", "missing-tool")
            world.settle()
        world.pass_time(TOOL_AGAIN_S + 1)
        world.built()
        world.come_up()
        self.assertEqual(world.serving, ["api.1.1"])

    def test_held_and_released(self) -> None:
        """A crash loop ends held: requests are told why at once. I release it, and it serves again."""
        world = World(worker_config())
        world.start()
        world.built()
        for _ in range(4):
            world.process().exit(code=1)
            world.pass_time(1.5)
        self.assertIn("does not stay up: 4 deaths", world.fronts.worker("api").closed)
        world.supervisor.commands.release("api")
        world.settle()
        self.assertEqual(world.fronts.worker("api").closed, "")
        world.come_up()
        self.assertEqual(world.serving, ["api.1.5"])

    def test_held_and_hung_up(self) -> None:
        """HUP tries again what was given up."""
        world = World(worker_config())
        world.start()
        world.built()
        for _ in range(4):
            world.process().exit(code=1)
            world.pass_time(1.5)
        world.supervisor.reload()
        world.settle()
        world.built()
        self.assertEqual(world.fronts.worker("api").closed, "")
        world.come_up()
        self.assertEqual(world.serving, ["api.1.5"])

    def test_port_is_free_again(self) -> None:
        """A hundred crashes and restarts use up no ports."""
        world = World(worker_config(restart=evolve(worker_config().restart, deaths_max=1000, backoff_max_s=0.1)))
        world.start()
        world.built()
        for _ in range(100):
            world.process().exit(code=1)
            world.pass_time(0.2)
        self.assertLessEqual(len(world.ports.leased), 1)

    def test_unhealthy_is_replaced(self) -> None:
        """My instance stops answering checks: it leaves routing, another one takes its place, then it is stopped."""
        world = World(worker_config())
        world.up()
        world.pass_time(10.1, answer="no answer")
        self.assertEqual(world.serving, [])
        world.come_up()
        self.assertEqual(world.serving, ["api.1.2"])
        world.pass_time(1.0)
        self.assertEqual(world.process(0).signals, ["TERM"])


class ConfigurationTests(SynchronousTestCase):
    """Changed configuration."""

    def setUp(self) -> None:
        self.world = World(worker_config(), worker_config("blog"))
        self.world.start()
        self.world.built("api")
        self.world.built("blog")
        self.world.come_up()

    def test_routing_only(self) -> None:
        """I change C{balance}: published at once, and no process is touched."""
        self.world.configure(worker_config(balance="random_two"), worker_config("blog"))
        self.assertEqual(self.world.fronts.worker("api").balance, "random_two")
        self.world.pass_time(2.0)
        self.assertEqual(len(self.world.spawner.processes), 2)

    def test_environment(self) -> None:
        """I change the environment: a new process beside the old one, then the switch."""
        config = worker_config()
        self.world.configure(
            evolve(config, process=evolve(config.process, environment=(("A", "1"),))), worker_config("blog")
        )
        self.world.built()
        self.world.come_up()
        self.assertEqual(self.world.serving, ["api.2.2", "blog.1.1"])
        self.assertEqual(dict(self.world.process().spec.environment)["A"], "1")

    def test_unchanged(self) -> None:
        """I save a configuration without a change: nothing is published, nothing built."""
        published, builds = len(self.world.fronts.published), len(self.world.builds.started)
        self.world.configure(worker_config(), worker_config("blog"))
        self.assertEqual(len(self.world.fronts.published), published)
        self.assertEqual(len(self.world.builds.started), builds)

    def test_server_file_that_does_not_validate(self) -> None:
        """I break C{server.yaml}: nothing changes, and status has every problem."""
        self.world.fault = ConfigFault((Problem("server.yaml", 3, "server.port", "not a number"),))
        self.world.watcher.changed("server", "server.yaml")
        self.world.settle()
        config = self.world.supervisor.status().config
        self.assertEqual(config.state, "broken")
        self.assertEqual(config.problems, ("server.yaml:3: server.port: not a number",))
        self.assertEqual(self.world.serving, ["api.1.1", "blog.1.1"])
        self.world.fault = None
        self.world.watcher.changed("server", "server.yaml")
        self.world.settle()
        self.assertEqual(self.world.supervisor.status().config.state, "ok")

    def test_worker_file_that_does_not_validate(self) -> None:
        """I break one C{worker.yaml}: the worker goes on as it was, and status says why."""
        problem = Problem("worker.yaml", 1, "path", "missing")
        self.world.project = evolve(
            self.world.project,
            workers=(worker_config("blog"),),
            broken=(BrokenWorker("api", "/project/workers/api", "worker.yaml", (problem,)),),
        )
        self.world.watcher.changed("worker:api", "config/worker.yaml")
        self.world.settle()
        self.assertEqual(self.world.serving, ["api.1.1", "blog.1.1"])
        status = self.world.supervisor.status().workers[0]
        self.assertEqual((status.state, status.name), ("healthy", "api"))
        self.assertIn("worker.yaml:1: path: missing", status.reason)

    def test_added(self) -> None:
        """I add a worker: it is built, started and routed to."""
        self.world.configure(worker_config(), worker_config("blog"), worker_config("shop"))
        self.world.built("shop")
        self.world.come_up()
        self.assertIn("shop.1.1", self.world.serving)

    def test_removed(self) -> None:
        """I remove a worker: its route is gone at once, its process after its requests, and its log is closed."""
        self.world.configure(worker_config("blog"))
        self.assertEqual([route.worker for route in self.world.fronts.routing.routes], ["blog"])
        self.world.pass_time(2.0)
        self.assertEqual(self.world.process(0).signals, ["TERM"])
        self.assertNotIn("api", self.world.supervisor.workers)
        self.assertEqual(self.world.logs.forgotten, ["api"])

    def test_removed_and_added_again(self) -> None:
        """I move a folder away and back while its requests still drain: it serves again."""
        self.world.fronts.busy = {"api.1.1"}
        self.world.configure(worker_config("blog"))
        self.world.configure(worker_config(), worker_config("blog"))
        self.world.built()
        self.world.come_up()
        self.assertEqual(self.world.serving, ["api.1.2", "blog.1.1"])

    def test_disabled_and_enabled(self) -> None:
        """I disable a worker: 503 with the reason. I enable it: it serves again."""
        self.world.configure(worker_config(enabled=False), worker_config("blog"))
        self.assertEqual(self.world.fronts.worker("api").closed, "the worker is disabled")
        self.world.pass_time(1.0)
        self.world.configure(worker_config(), worker_config("blog"))
        self.world.built()
        self.world.come_up()
        self.assertIn("api.1.2", self.world.serving)

    def test_another_type(self) -> None:
        """I turn a worker into a PHP one: while the old process serves, the fronts speak HTTP with it."""
        self.world.configure(worker_config(type="php"), worker_config("blog"))
        routing = self.world.fronts.worker("api")
        self.assertEqual((routing.protocol, [one.id for one in routing.endpoints]), ("http", ["api.1.1"]))

    def test_moved_route(self) -> None:
        """I change the path: the route moves, and the process is replaced, for it was told its route."""
        self.world.configure(worker_config(routes=(RouteConfig(prefix="/v2"),)), worker_config("blog"))
        self.assertEqual(
            [(route.prefix, route.worker) for route in self.world.fronts.routing.routes],
            [("/blog", "blog"), ("/v2", "api")],
        )
        self.world.built()
        self.world.come_up()
        self.assertEqual(dict(self.world.process().spec.environment)["WORKER_ROUTE"], "/v2")

    def test_hup(self) -> None:
        """HUP builds everything, and swaps only what has another fingerprint."""
        self.world.supervisor.reload()
        self.world.settle()
        self.world.built("api", "f1")
        self.world.built("blog", "f2")
        self.world.come_up()
        self.assertEqual(self.world.serving, ["api.1.1", "blog.2.2"])

    def test_lost_events(self) -> None:
        """The watcher lost events: everything of the worker is looked at."""
        self.world.builds.started.clear()
        self.world.watcher.changed("worker:api", "")
        self.world.settle()
        self.assertEqual(self.world.builds.started, ["api"])

    def test_not_watched_in_production(self) -> None:
        """With C{file_watcher.enabled: false} nothing is watched."""
        server = server_config()
        world = World(worker_config(), server=evolve(server, watch=evolve(server.watch, enabled=False)))
        world.start()
        self.assertEqual(world.watcher.trees, {})


class CountTests(SynchronousTestCase):
    """How many instances."""

    def test_scaling_up_and_down(self) -> None:
        """Requests wait for long: a second instance. A minute of quiet: one again."""
        world = World(worker_config(scaling=ScalingConfig(workers_max=2)))
        world.up()
        world.pass_time(0.5)
        world.fronts.want("api", 3, 0.2)
        world.come_up()
        self.assertEqual(world.serving, ["api.1.1", "api.1.2"])
        world.pass_time(30.0, answer="")
        self.assertEqual(len(world.serving), 2)
        world.pass_time(40.0, answer="")
        self.assertEqual(len(world.serving), 1)

    def test_one_more_at_a_time(self) -> None:
        """Requests wait while an instance boots: that is no reason to start five."""
        world = World(worker_config())
        world.up()
        for _ in range(20):
            world.fronts.want("api", 100, 1.0)
            world.pass_time(0.05)
        self.assertEqual(len(world.spawner.processes), 2)

    def test_on_demand(self) -> None:
        """With C{min_workers: 0} nothing runs; the first request starts one; unused, it stops."""
        scaling = ScalingConfig(workers_min=0, scale_down_delay_s=10.0)
        world = World(worker_config(scaling=scaling))
        world.start()
        world.built()
        self.assertEqual(world.spawner.processes, [])
        self.assertEqual(world.fronts.worker("api").closed, "")
        world.fronts.want("api")
        world.come_up()
        self.assertEqual(world.serving, ["api.1.1"])
        world.pass_time(5.0, answer="")
        world.fronts.tell(workers={"api": WorkerTotals(requests=1)})
        world.pass_time(9.0, answer="")
        self.assertEqual(world.serving, ["api.1.1"])
        world.pass_time(2.0, answer="")
        self.assertEqual(world.serving, [])
        self.assertEqual(world.supervisor.status().workers[0].state, "idle")

    def test_long_request_keeps_its_instance(self) -> None:
        """A request runs for minutes and nothing else happens: its instance is not scaled away."""
        world = World(worker_config(scaling=ScalingConfig(workers_min=0, scale_down_delay_s=10.0)))
        world.start()
        world.built()
        world.fronts.want("api")
        world.come_up()
        world.fronts.tell(endpoints={"api.1.1": EndpointTotals(in_flight=1)})
        world.pass_time(60.0, answer="")
        self.assertEqual(world.serving, ["api.1.1"])

    def test_recycled_after_requests(self) -> None:
        """With C{max_requests} a successor is ready before the old instance goes."""
        world = World(worker_config(recycle=RecycleConfig(requests_max=10)))
        world.up()
        world.fronts.tell(endpoints={"api.1.1": EndpointTotals(answered=10)})
        world.settle()
        self.assertEqual(world.serving, ["api.1.1"])
        world.come_up()
        self.assertEqual(world.serving, ["api.1.2"])

    def test_recycled_for_memory(self) -> None:
        """My worker leaks: above C{max_memory} it is replaced."""
        world = World(worker_config(recycle=RecycleConfig(memory_max_bytes=1000)))
        world.up()
        world.memory[world.process().pid] = 2000
        world.pass_time(9.0, answer="")
        self.assertEqual(world.serving, ["api.1.1"])
        world.pass_time(8.0, answer="")
        self.assertEqual(world.serving, ["api.1.2"])

    def test_commands(self) -> None:
        """Stop, start, restart and scale do what they say; for an unknown worker they say so."""
        world = World(worker_config())
        world.up()
        world.supervisor.commands.stop("api")
        world.settle()
        self.assertEqual(world.fronts.worker("api").closed, "the worker was stopped by an operator")
        world.pass_time(1.0)
        self.assertEqual(world.supervisor.status().workers[0].state, "stopped")
        world.supervisor.commands.start("api")
        world.settle()
        world.come_up()
        self.assertEqual(world.serving, ["api.1.2"])
        world.supervisor.commands.restart("api")
        world.settle()
        world.come_up()
        self.assertEqual(world.serving, ["api.2.3"])
        world.supervisor.commands.scale("api", 3)
        world.settle()
        world.come_up()
        self.assertEqual(len(world.serving), 3)
        self.assertRaises(CommandFault, world.supervisor.commands.restart, "nobody")
        self.assertRaises(CommandFault, world.supervisor.commands.scale, "api", -1)


class StopTests(SynchronousTestCase):
    """The end."""

    def test_fronts_first(self) -> None:
        """At a stop the fronts let their requests end before any worker is stopped."""
        world = World(worker_config())
        world.up()
        world.fronts.stop_at_once = False
        stopped = world.supervisor.stopService()
        world.pass_time(2.0)
        self.assertEqual(world.process().signals, [])
        self.assertEqual(world.serving, ["api.1.1"])
        world.fronts.gone()
        world.settle()
        self.assertEqual(world.process().signals, ["TERM"])
        self.successResultOf(stopped)
        self.assertEqual(world.clock.getDelayedCalls(), [])
        self.assertEqual(world.ports.leased, frozenset())

    def test_crash_while_draining(self) -> None:
        """A worker crashes while the last requests are served: it is started again for those that wait."""
        world = World(worker_config())
        world.up()
        world.fronts.stop_at_once = False
        world.supervisor.stopService()
        world.process().exit(code=1)
        world.come_up()
        world.come_up()
        self.assertEqual(world.serving, ["api.1.2"])

    def test_deaf_worker(self) -> None:
        """A worker ignores TERM: it is killed, and the stop ends."""
        world = World(worker_config())
        world.spawner.obeys = set()
        world.up()
        stopped = world.supervisor.stopService()
        world.pass_time(0.4)
        self.assertNoResult(stopped)
        world.pass_time(0.2)
        self.assertEqual(world.process().signals, ["TERM", "CONT", "KILL"])
        self.successResultOf(stopped)

    def test_while_starting_and_building(self) -> None:
        """I stop the server right after its start: nothing is started later, nothing is left."""
        world = World(worker_config(), worker_config("blog"))
        world.start()
        world.built("blog")
        stopped = world.supervisor.stopService()
        world.pass_time(1.0)
        self.successResultOf(stopped)
        self.assertEqual(world.spawner.running, [])
        world.pass_time(100.0)
        self.assertEqual(len(world.spawner.processes), 1)

    def test_twice(self) -> None:
        """An impatient second TERM changes nothing, and both are answered."""
        world = World(worker_config())
        world.up()
        first, second = world.supervisor.stopService(), world.supervisor.stopService()
        world.pass_time(1.0)
        self.successResultOf(first)
        self.successResultOf(second)
        self.successResultOf(world.supervisor.stopService())

    def test_fronts_that_never_end(self) -> None:
        """The fronts hang: the stop goes on without them after its limit."""
        world = World(worker_config())
        world.up()
        world.fronts.stop_at_once = False
        stopped = world.supervisor.stopService()
        world.pass_time(16.0)
        self.successResultOf(stopped)


class StatusTests(SynchronousTestCase):
    """Status."""

    def test_json(self) -> None:
        """Status is plain JSON with all that the contract names."""
        world = World(worker_config())
        world.up()
        world.fronts.tell(
            {"api.1.1": EndpointTotals(in_flight=2, answered=7)},
            {"api": WorkerTotals(requests=9, latency=(0, 5, 5))},
        )
        status = json.loads(json.dumps(to_json(world.supervisor.status())))
        worker = status["workers"][0]
        instance = worker["instances"][0]
        self.assertEqual((worker["state"], worker["route"], worker["generation"]), ("healthy", "/api", 1))
        self.assertEqual((instance["id"], instance["port"], instance["served"]), ("api.1.1", 9000, 7))
        self.assertEqual((worker["p50_s"], worker["p99_s"]), (0.001, 0.002))
        self.assertEqual(worker["watched"], "/project/workers/api")
