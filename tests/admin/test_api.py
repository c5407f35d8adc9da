"""What an operator is told, and what is done when an operator asks."""

from __future__ import annotations

import json
from collections.abc import Callable

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.supervisor.world import World, worker_config
from tqserver.admin.log_reading import Followed, Wanted
from tqserver.admin.streams import BEHIND_BYTES_MAX, HEARTBEAT_S
from tqserver.errors import ConfigFault, Problem
from tqserver.logs.worker import FOLLOWERS_MAX
from tqserver.supervisor.discovery import News
from tqserver.supervisor.interfaces import WorkerTotals
from tqserver.watch import Kind

from .desk import Desk, events, read


class ApiCase(SynchronousTestCase):
    """A worker that serves, and a desk."""

    def setUp(self) -> None:
        self.world = World(worker_config())
        self.world.up()
        self.desk = Desk(self.world)


class DocumentTests(ApiCase):
    """What there is."""

    def test_status(self) -> None:
        """The status tree, the workers and one worker agree."""
        status, tree = self.desk.ask("GET", "/status")
        self.assertEqual((status, tree["workers"][0]["state"]), (200, "healthy"))
        self.assertEqual(self.desk.ask("GET", "/workers"), (200, {"workers": tree["workers"]}))
        self.assertEqual(self.desk.ask("GET", "/workers/api"), (200, tree["workers"][0]))

    def test_health(self) -> None:
        """Health is 200 while every worker serves, and 503 when one does not."""
        self.assertEqual(self.desk.ask("GET", "/health"), (200, "ok\n"))
        self.world.configure(worker_config(), worker_config("other"))
        self.assertEqual(self.desk.ask("GET", "/health")[0], 503)

    def test_builds(self) -> None:
        """The latest build is told with its output, of one worker and of all."""
        self.world.save()
        self.world.builds.fail("api", "syntax error")
        self.world.settle()
        status, build = self.desk.ask("GET", "/workers/api/build")
        self.assertEqual((status, build["state"], build["reason"]), (200, "failed", "syntax error"))
        self.assertEqual(self.desk.ask("GET", "/builds"), (200, {"builds": {"api": build}}))

    def test_config(self) -> None:
        """The configuration in force is shown, and what is in environment variables is not."""
        process = evolve(worker_config().process, environment=(("PASSWORD", "hunter2"),))
        self.world.configure(worker_config(process=process))
        wire = self.desk.wire("GET", "/config")
        self.assertNotIn(b"hunter2", wire.value())
        status, shown = read(wire)
        self.assertEqual((status, shown["workers"][0]["process"]["environment"]), (200, {"PASSWORD": "***"}))
        self.assertEqual((shown["state"], shown["problems"]), ("ok", []))

    def test_nothing_else(self) -> None:
        """What is not there is 404, the wrong method 405 with those that are right, both as RFC 9457 says it."""
        status, problem = self.desk.ask("GET", "/other")
        self.assertEqual((status, problem["status"]), (404, 404))
        wire = self.desk.wire("POST", "/status")
        self.assertTrue(wire.value().startswith(b"HTTP/1.1 405 "))
        self.assertIn(b"application/problem+json", wire.value())
        self.assertRegex(wire.value(), rb"(?i)allow: .*GET")

    def test_unknown_worker(self) -> None:
        """A worker that is not there is 404 everywhere."""
        for method, path in (("GET", ""), ("GET", "/build"), ("POST", "/restart"), ("POST", "/stop?wait=5")):
            status, problem = self.desk.ask(method, f"/workers/nobody{path}")
            self.assertEqual((status, problem["detail"]), (404, "there is no worker 'nobody'"))

    def test_mistake_of_ours(self) -> None:
        """When something breaks the answer is 500 and shows nothing of the inside."""

        def broken(*_: object) -> None:
            raise RuntimeError("a secret")

        self.world.supervisor.status = broken  # type: ignore[method-assign,assignment]
        status, problem = self.desk.ask("GET", "/status")
        self.assertEqual(status, 500)
        self.assertNotIn("secret", json.dumps(problem))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class CommandTests(ApiCase):
    """What can be done."""

    def test_restart(self) -> None:
        """A restart is accepted at once, and replaces the instance."""
        before = self.world.supervisor.status().workers[0].generation
        self.assertEqual(
            self.desk.ask("POST", "/workers/api/restart"),
            (202, {"worker": "api", "command": "restart", "settled": False}),
        )
        self.world.settle()
        self.world.come_up()
        self.assertGreater(self.world.supervisor.status().workers[0].generation, before)

    def test_wait(self) -> None:
        """Who waits is answered when the new instance serves and the old one has gone, not before."""
        wire = self.desk.wire("POST", "/workers/api/restart?wait=30")
        self.world.settle()
        self.assertEqual(wire.value(), b"")
        self.world.come_up()
        self.drain()
        status, told = read(wire)
        self.assertEqual((status, told["settled"], told["worker"]["state"]), (200, True, "healthy"))
        self.assertEqual(len(told["worker"]["instances"]), 1)

    def drain(self) -> None:
        """The fronts have ended what they had on old instances."""
        serving = set(self.world.serving)
        for worker in self.world.supervisor.workers.values():
            for slot in worker.slots.values():
                if slot.instance is not None and slot.instance.id not in serving:
                    self.world.fronts.drain(slot.instance.id)
        self.world.pass_time(1.0, answer="")

    def test_waited_too_long(self) -> None:
        """Who waits in vain is told so when the time is over."""
        wire = self.desk.wire("POST", "/workers/api/build?wait=2")
        self.world.settle()
        self.world.leap(2.1)
        status, told = read(wire)
        self.assertEqual((status, told["settled"]), (200, False))

    def test_server_stops(self) -> None:
        """When the server stops whoever waits is answered, whoever follows comes to the end, and nobody can join."""
        waiting = self.desk.wire("POST", "/workers/api/build?wait=60")
        following = self.desk.wire("GET", "/events")
        self.desk.api.close()
        self.assertEqual(read(waiting)[1]["settled"], False)
        self.assertTrue(following.value().endswith(b"0\r\n\r\n"))
        self.assertEqual(self.desk.ask("GET", "/events")[0], 503)

    def test_stop_and_start(self) -> None:
        """A worker is stopped and started again."""
        self.desk.ask("POST", "/workers/api/stop")
        self.world.settle()
        self.drain()
        self.assertEqual(self.desk.ask("GET", "/workers/api")[1]["state"], "stopped")
        self.desk.ask("POST", "/workers/api/start")
        self.world.settle()
        self.world.come_up()
        self.assertEqual(self.desk.ask("GET", "/workers/api")[1]["state"], "healthy")

    def test_scale(self) -> None:
        """A worker is given more instances, and then as many as its configuration says."""
        self.assertEqual(self.desk.ask("POST", "/workers/api/scale", b'{"instances": 3}')[0], 202)
        self.world.settle()
        self.assertEqual(self.desk.ask("GET", "/workers/api")[1]["wanted"], 3)
        self.assertEqual(self.desk.ask("POST", "/workers/api/scale", b'{"instances": null}')[0], 202)

    def test_bad_requests(self) -> None:
        """What makes no sense is refused with a reason, and nothing is done."""
        for path, body in (
            ("/workers/api/scale", b""),
            ("/workers/api/scale", b"{}"),
            ("/workers/api/scale", b'{"instances": true}'),
            ("/workers/api/scale", b'{"instances": 1.5}'),
            ("/workers/api/scale", b'{"instances": -1}'),
            ("/workers/api/scale", b'{"instances": 5000}'),
            ("/workers/api/scale", b"[" * 5000),
            ("/workers/api/restart?wait=soon", b""),
            ("/workers/api/restart?wait=-1", b""),
            ("/workers/api/restart?wait=nan", b""),
            ("/workers/api/restart?wait=1&wait=2", b""),
        ):
            with self.subTest(path=path, body=body):
                before = self.world.supervisor.status().workers[0].wanted
                status, problem = self.desk.ask("POST", path, body)
                self.assertEqual(status, 400)
                self.assertTrue(problem["detail"])
                self.assertEqual(self.world.supervisor.status().workers[0].wanted, before)

    def test_reload_and_validate(self) -> None:
        """Files that cannot be used are told by both; validating applies nothing."""
        self.assertEqual(self.desk.ask("POST", "/config/validate"), (200, {"good": True, "problems": [], "workers": 1}))
        self.world.fault = ConfigFault([Problem("etc/server.yaml", 3, "server.port", "is no port")])
        told = ["etc/server.yaml:3: server.port: is no port"]
        self.assertEqual(
            self.desk.ask("POST", "/config/validate"), (200, {"good": False, "problems": told, "workers": 0})
        )
        self.assertEqual(self.desk.ask("GET", "/config")[1]["state"], "ok")
        self.assertEqual(self.desk.ask("POST", "/reload"), (200, {"good": False, "problems": told}))
        self.assertEqual(self.desk.ask("GET", "/config")[1]["state"], "broken")

    def test_replace_fronts(self) -> None:
        """The fronts are replaced."""
        self.assertEqual(self.desk.ask("POST", "/fronts/replace")[0], 202)
        self.assertEqual(self.desk.replaced, 1)


class EventTests(ApiCase):
    """What is told as it happens."""

    def test_follow(self) -> None:
        """Who follows is told how things are, then each change with its state before, and saved files."""
        wire = self.desk.wire("GET", "/events")
        self.assertEqual([name for name, _ in events(wire)], ["status", "load"])
        self.world.save()
        self.world.builds.fail("api", "syntax error")
        self.world.settle()
        told = events(wire)[2:]
        self.assertIn("file", [name for name, _ in told])
        builds = [data["worker"]["build"]["state"] for name, data in told if name == "worker"]
        self.assertEqual(builds, ["building", "failed"])

    def test_numbers(self) -> None:
        """Requests are no event of a worker's; they are told as load, at most twice a second."""
        wire = self.desk.wire("GET", "/events")
        for count in range(1, 21):
            self.world.fronts.tell(workers={"api": WorkerTotals(requests=count)})
            self.world.pass_time(0.1, answer="")
        told = events(wire)[2:]
        self.assertEqual({name for name, _ in told}, {"load"})
        self.assertTrue(2 <= len(told) <= 5, len(told))

    def test_gone(self) -> None:
        """When the reader has gone nobody asks for the status any more."""
        wire = self.desk.wire("GET", "/events")
        wire.channel.connectionLost(Failure(ConnectionDone()))  # type: ignore[attr-defined]
        before = len(wire.value())
        self.world.save()
        self.assertEqual(len(wire.value()), before)

    def test_heartbeat(self) -> None:
        """Silence is broken by a comment."""
        wire = self.desk.wire("GET", "/events")
        self.world.pass_time(HEARTBEAT_S + 1, answer="")
        self.assertEqual(wire.value().count(b": still here"), 2)

    def test_slow_reader(self) -> None:
        """Who reads too slowly is kept up to a limit, and cut off beyond."""
        wire = self.desk.wire("GET", "/events")
        producer = wire.producer
        assert producer is not None
        producer.pauseProducing()
        before = len(wire.value())
        self.world.save()
        self.world.settle()
        self.assertEqual(len(wire.value()), before)
        producer.resumeProducing()
        self.assertGreater(len(wire.value()), before)
        producer.pauseProducing()
        for _ in range(BEHIND_BYTES_MAX // 500):
            self.world.supervisor.audience.tell_news(News("api", Kind.SOURCE, ("/x" * 300,)))
        self.assertTrue(wire.disconnecting or wire.disconnected)


class LogTests(ApiCase):
    """The logs."""

    def test_list(self) -> None:
        """Each log is told with its file."""
        status, told = self.desk.ask("GET", "/logs")
        names = [log["name"] for log in told["logs"]]
        self.assertEqual((status, names), (200, ["server", "access", "worker/api"]))

    def test_kept(self) -> None:
        """A worker without a file has what is remembered of it, by text and by time."""
        config = worker_config()
        self.desk.logs.write(config, "api.1.1", "stdout", [b"one", b"two t?", b"three t?"])
        status, told = self.desk.ask("GET", "/logs/worker/api?grep=t%3F")
        self.assertEqual((status, [record.split()[3] for record in told["records"]]), (200, ["two", "three"]))
        self.assertEqual(len(self.desk.ask("GET", "/logs/worker/api?lines=1")[1]["records"]), 1)

    def test_follow(self) -> None:
        """Who follows is told the last lines, and then what comes, without control characters."""
        config = worker_config()
        self.desk.logs.write(config, "api.1.1", "stdout", [b"early"])
        wire = self.desk.wire("GET", "/logs/worker/api?follow=true")
        self.desk.logs.write(config, "api.1.1", "stdout", [b"late \x1b[31mred"])
        told = [data["text"].partition("stdout ")[2] for _, data in events(wire)]
        self.assertEqual(told[0], "early")
        self.assertTrue(told[1].startswith("late "))
        self.assertNotIn("\x1b", told[1])

    def test_all_together(self) -> None:
        """All logs followed together are told in the order of their times, no more of the past than was asked for."""
        self.world.configure(worker_config("a"), worker_config("b"))
        clock = iter(range(100))
        self.desk.logs.know(worker_config("a"))
        self.desk.logs.know(worker_config("b"))
        for name in ("a", "b"):
            log = self.desk.logs.get(name)
            assert log is not None
            log._now = lambda: float(next(clock))
        for name, said in (("b", b"1"), ("a", b"2"), ("b", b"3"), ("a", b"4")):
            self.desk.logs.write(worker_config(name), f"{name}.1.1", "stdout", [said])
        told = [data["text"].split()[1:4:2] for _, data in events(self.desk.wire("GET", "/logs?follow=true&lines=3"))]
        self.assertEqual(told, [["a.1.1", "2"], ["b.1.1", "3"], ["a.1.1", "4"]])

    def test_too_many_followers(self) -> None:
        """Who cannot follow any more is refused as a whole, with a reason, and leaves nothing behind."""
        self.desk.logs.know(worker_config())
        log = self.desk.logs.get("api")
        assert log is not None
        leaving = [log.follow(list) for _ in range(FOLLOWERS_MAX)]
        observers = len(globalLogPublisher._observers)
        status, problem = self.desk.ask("GET", "/logs?follow=true")
        self.assertEqual((status, problem["status"]), (400, 400))
        self.assertEqual(len(globalLogPublisher._observers), observers)
        leaving[0]()
        self.assertTrue(self.desk.wire("GET", "/logs/worker/api?follow=true").value().startswith(b"HTTP/1.1 200 "))

    def test_read_while_written(self) -> None:
        """What is written while the file is read is told once, whether or not the file has it already."""
        for past, early, told in (
            (["1", "2"], ["2", "3"], ["1", "2", "3"]),
            (["1", "2"], ["3"], ["1", "2", "3"]),
            (["1"], [], ["1"]),
            ([], ["1"], ["1"]),
            (["1", "1"], ["1", "1"], ["1", "1"]),
        ):
            reading: Deferred[list[str]] = Deferred()
            takes: list[Callable[[list[str]], None]] = []
            heard: list[str] = []

            def listen(name: str, take: Callable[[list[str]], None], takes: list = takes) -> Callable[[], None]:
                takes.append(take)
                return lambda: None

            followed = Followed(Wanted())
            followed.listen("server", lambda name, wanted, reading=reading: reading, listen)
            followed.begin(lambda name, line, heard=heard: heard.append(line))
            takes[0](early)
            self.assertEqual(heard, [])
            reading.callback(past)
            takes[0](["last"])
            with self.subTest(past=past, early=early):
                self.assertEqual(heard, [*told, "last"])

    def test_refused(self) -> None:
        """Names that are no log, paths among them, and words that make no sense are refused."""
        for path, expected in (
            ("/logs/worker/..%2F..%2Fetc%2Fpasswd", 404),
            ("/logs/worker/../../etc/passwd", 404),
            ("/logs/nobody", 404),
            ("/logs/worker/api?lines=many", 400),
            ("/logs/worker/api?lines=10001", 400),
            ("/logs/worker/api?since=yesterday", 400),
            ("/logs/worker/api?follow=maybe", 400),
            ("/logs/access?follow=true", 400),
        ):
            with self.subTest(path=path):
                self.assertEqual(self.desk.ask("GET", path)[0], expected)

    def test_since(self) -> None:
        """Moments are ISO 8601, or how long ago."""
        config = worker_config()
        for since, found in (("1h", 1), ("3600", 1), ("1970-01-01T00:00:00Z", 1), ("2999-01-01", 0)):
            desk = Desk(self.world, now=lambda: 1_000_000.0)
            desk.logs.write(config, "api.1.1", "stdout", [b"now"])
            with self.subTest(since=since):
                self.assertEqual(len(desk.ask("GET", f"/logs/worker/api?since={since}")[1]["records"]), found)
