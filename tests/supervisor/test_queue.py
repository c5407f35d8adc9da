"""Queues under supervision: what their owners see happen."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.build import Build
from tqserver.config.model import RecycleConfig, ScalingConfig, WorkerConfig
from tqserver.config.queue_model import ApiListen, ApiSettings, QueueSettings, StoreSettings, TqsSettings, ZapqSettings
from tqserver.plane.queue_launch import QueueLaunch, read_launch
from tqserver.process.interfaces import Exit, Stream
from tqserver.process.ports import PortPool
from tqserver.process.spec import ProcessSpec
from tqserver.supervisor.instance_machine import SINGLE_LEAVE_S
from tqserver.supervisor.interfaces import LaunchFault, Order
from tqserver.supervisor.launch import Launcher
from tqserver.testing import FakePorts, FakeProcess, FakeSpawner

from .world import World, server_config, worker_config

LOOPBACK = ApiListen(address="127.0.0.1", port=0)


def queue_config(name: str = "api", **changes: object) -> WorkerConfig:
    """A worker that is a queue, at a port."""
    usual: dict[str, object] = {
        "type": "queue",
        "run": (),
        "scaling": ScalingConfig(workers_min=1, workers_max=1),
        "queue": QueueSettings(),
    }
    return worker_config(name, **{**usual, **changes})


def other(**store: object) -> QueueSettings:
    """Settings that are not the usual ones."""
    return QueueSettings(store=StoreSettings(**store))  # type: ignore[arg-type]


class SupervisedTests(SynchronousTestCase):
    """One process at a time."""

    def setUp(self) -> None:
        self.world = World(queue_config())

    def running(self) -> list[int]:
        """The processes that have not ended."""
        return [process.pid for process in self.world.spawner.running]

    def test_started(self) -> None:
        """My queue is a process of the server's own, and requests reach it like any other worker's."""
        self.world.up()
        spec = self.world.process().spec
        self.assertEqual(spec.argv[1:3], ("-m", "tqserver.queue"))
        self.assertEqual(spec.directory, "/project/workers/api")
        self.assertEqual(self.world.serving, ["api.1.1"])
        self.assertEqual(self.world.supervisor.status().workers[0].state, "healthy")
        self.assertEqual(self.world.fronts.routing.queue, "api")

    def test_replaced(self) -> None:
        """I change the settings: requests wait from then on, the old process ends, and only then the new one starts."""
        self.world.up()
        self.world.process().obeys.clear()
        self.world.fronts.busy.add("api.1.1")  # somebody waits for a message
        self.world.configure(queue_config(queue=other(durability="process")))
        self.world.built(fingerprint="f1")
        self.assertEqual((self.world.serving, self.world.fronts.worker("api").closed), ([], ""))
        self.assertEqual(self.world.process().signals, ["TERM", "CONT"])
        self.world.pass_time(0.3)
        self.assertEqual(len(self.world.spawner.processes), 1)
        self.world.process().exit(code=0)
        self.world.settle()
        self.assertEqual(len(self.world.spawner.processes), 2)
        self.world.come_up()
        self.assertEqual(self.world.serving, ["api.2.2"])
        self.assertEqual(self.world.supervisor.status().workers[0].deaths, 0)

    def test_fronts_know_first(self) -> None:
        """The old process is told to end when the fronts send it nothing more: no request meets a closed door."""
        self.world.up()
        applied: Deferred[None] = Deferred()
        self.world.fronts.when_applied = lambda version: applied  # type: ignore[method-assign]
        self.world.configure(queue_config(queue=other(durability="process")))
        self.world.built(fingerprint="f1")
        self.assertEqual((self.world.serving, self.world.process().signals), ([], []))
        applied.callback(None)
        self.world.settle()
        self.assertEqual(self.world.process(0).signals, ["TERM"])

    def test_a_front_hangs(self) -> None:
        """A front that hangs does not keep the queue away from everybody else."""
        self.world.up()
        self.world.fronts.when_applied = lambda version: Deferred()  # type: ignore[method-assign]
        self.world.configure(queue_config(queue=other(durability="process")))
        self.world.built(fingerprint="f1")
        self.world.pass_time(SINGLE_LEAVE_S + 0.1)
        self.assertEqual(len(self.world.spawner.processes), 2)

    def test_does_not_end(self) -> None:
        """A process that does not end is killed, and only then the new one starts."""
        self.world.up()
        self.world.process().obeys.clear()
        self.world.configure(queue_config(queue=other(durability="process")))
        self.world.built(fingerprint="f1")
        self.world.pass_time(0.6)
        self.assertEqual(self.world.process(0).signals, ["TERM", "CONT", "KILL"])
        self.assertEqual(self.running(), [self.world.process(1).pid])

    def test_saved_again_and_again(self) -> None:
        """I save five times while it is replaced: there are never two, and in the end the last one runs."""
        self.world.up()
        starts: list[int] = []
        self.world.spawner.on_spawn = lambda process: starts.append(len(self.world.spawner.running))
        self.world.spawner.obeys.clear()
        self.world.process().obeys.clear()
        for number in range(5):
            self.world.configure(queue_config(queue=other(messages_max=number + 1)))
            self.world.built(fingerprint="f1")
            self.world.pass_time(0.2)
        for _ in range(3):
            for process in list(self.world.spawner.running):
                if process.signals:
                    process.exit(code=0)
            self.world.come_up()
        self.assertEqual(set(starts), {1})
        self.assertEqual(self.told().settings, other(messages_max=5))
        self.assertEqual(len(self.world.serving), 1)

    def told(self) -> QueueLaunch:
        """What the latest process would go by."""
        config = self.world.worker().slots[next(iter(self.world.worker().slots))].config
        assert config.queue is not None
        return QueueLaunch(settings=config.queue)

    def test_killed(self) -> None:
        """It is killed: requests wait, and it is back after the first pause."""
        self.world.up()
        self.world.process().exit(signal="KILL")
        self.world.settle()
        self.assertEqual((self.world.serving, self.world.fronts.worker("api").closed), ([], ""))
        self.world.pass_time(0.12)
        self.world.come_up()
        self.assertEqual(self.world.serving, ["api.1.2"])

    def test_recycled(self) -> None:
        """One that has grown too old ends before its successor starts."""
        self.world = World(queue_config(recycle=RecycleConfig(age_max_s=60)))
        starts: list[int] = []
        self.world.spawner.on_spawn = lambda process: starts.append(len(self.world.spawner.running))
        self.world.up()
        self.world.pass_time(62.0, answer="")
        self.assertEqual((starts, self.world.serving), ([1, 1], ["api.1.2"]))

    def test_an_operator_wants_more(self) -> None:
        """I ask for three: there is one all the same."""
        self.world.up()
        self.world.supervisor.commands.scale("api", 3)
        self.world.pass_time(0.5)
        self.assertEqual(len(self.world.spawner.processes), 1)

    def test_becomes_something_else(self) -> None:
        """My queue becomes a command: that starts beside it, as there is nothing to share."""
        self.world.up()
        self.world.configure(worker_config())
        self.world.built(fingerprint="f2")
        self.assertEqual(len(self.running()), 2)
        self.world.come_up()
        self.assertEqual(self.world.serving, ["api.2.2"])

    def test_server_stops(self) -> None:
        """The server stops: who waits for messages is answered first, so that the fronts do not wait for them."""
        self.world.up()
        self.world.fronts.stop_at_once = False
        self.world.supervisor.stopService()
        self.world.settle()
        self.assertEqual(self.world.process().signals, ["USR1"])
        self.world.fronts.gone()
        self.world.settle()
        self.assertEqual(self.world.process().signals, ["USR1", "TERM"])

    def test_server_stops_while_it_starts(self) -> None:
        """A process that is not ready yet does not know that signal, and is not sent it."""
        self.world.start()
        self.world.built()
        self.world.fronts.stop_at_once = False
        self.world.supervisor.stopService()
        self.world.settle()
        self.assertEqual(self.world.process().signals, [])

    def test_two_queues(self) -> None:
        """Of two queues the first by name keeps asynchronous requests; one that is disabled keeps none."""
        world = World(queue_config("b"), queue_config("c"), queue_config("a", enabled=False))
        world.start()
        self.assertEqual(world.fronts.routing.queue, "b")


class Nobody:
    """Observes nothing."""

    def output(self, stream: Stream, lines: object) -> None:
        """See L{IProcessObserver}."""

    def notified(self) -> None:
        """See L{IProcessObserver}."""

    def exited(self, exit: Exit) -> None:
        """See L{IProcessObserver}."""


class LaunchTests(SynchronousTestCase):
    """What its process is given."""

    def setUp(self) -> None:
        self.told: list[QueueLaunch] = []
        clock = Clock()
        self.spawner = FakeSpawner(clock)
        self.spawner.on_spawn = self.read
        self.launcher = Launcher(
            server_config(),
            self.spawner,
            PortPool(9000, 9009, clock, FakePorts()),
            lambda config, address: None,
            {"PATH": "/bin"},
            privileged=False,
            front="/run/front.sock",
        )
        self.addCleanup(self.launcher.close)

    def read(self, process: FakeProcess) -> None:
        """The process reads what it is told."""
        number, fd = process.spec.inherited[0]
        self.assertEqual(process.spec.argv[-2:], ("--launch", str(number)))
        self.told.append(read_launch(os.dup(fd)))

    def launch(self, config: WorkerConfig) -> ProcessSpec:
        """Launch it."""
        self.launcher.launch(Order(config, Build("api", "f", (), config.directory), "api.1.1", 1), Nobody())  # type: ignore[arg-type]
        return self.spawner.processes[-1].spec

    def test_settings(self) -> None:
        """It gets its settings and the way to the fronts; its secret is neither an argument nor a variable."""
        token = "0123456789abcdef"
        settings = QueueSettings(apis=ApiSettings(tqs=TqsSettings(api_token=token)))
        spec = self.launch(queue_config(queue=settings))
        self.assertEqual(self.told, [QueueLaunch(settings=settings, front="/run/front.sock")])
        self.assertNotIn(token, repr(spec))
        self.assertRaises(OSError, os.fstat, spec.inherited[0][1])

    def test_modules(self) -> None:
        """It runs this very version, whatever lies in its folder."""
        config = queue_config()
        process = evolve(config.process, environment=(("PYTHONPATH", "/mine"),))
        environment = dict(self.launch(evolve(config, process=process)).environment)
        root, mine = environment["PYTHONPATH"].split(os.pathsep)
        self.assertTrue(os.path.exists(f"{root}/tqserver/queue/__main__.py"))
        self.assertEqual((mine, environment["PYTHONSAFEPATH"]), ("/mine", "1"))

    def port(self, spec: ProcessSpec) -> int:
        """The port of the first listener that a process inherits."""
        with socket.socket(fileno=os.dup(spec.inherited[1][1])) as listening:
            return int(listening.getsockname()[1])

    def test_listeners_stay(self) -> None:
        """A service's own port is open before the process is there, and stays open while it is restarted."""
        config = queue_config(queue=QueueSettings(apis=ApiSettings(tqs=TqsSettings(listen=LOOPBACK))))
        first = self.port(self.launch(config))
        socket.create_connection(("127.0.0.1", first), 5).close()
        spec = self.launch(config)
        self.assertEqual(self.port(spec), first)
        self.assertEqual([(each.api, each.fd) for each in self.told[1].listeners], [("tqs", spec.inherited[1][0])])
        self.launcher.forget("api")
        self.assertRaises(ConnectionRefusedError, socket.create_connection, ("127.0.0.1", first), 5)
        self.launcher.forget("api")

    def test_listeners_change(self) -> None:
        """Of several listeners only those that changed are opened anew."""
        folder = tempfile.mkdtemp()  # Below the test's own folder its path would be too long for a socket.
        self.addCleanup(shutil.rmtree, folder)
        path = os.path.join(folder, "run", "zapq.sock")
        both = ApiSettings(tqs=TqsSettings(listen=LOOPBACK), zapq=ZapqSettings(listen=ApiListen(unix=path)))
        first = self.port(self.launch(queue_config(queue=QueueSettings(apis=both))))
        self.assertTrue(os.path.exists(path))
        only = evolve(both, zapq=None)
        self.assertEqual(self.port(self.launch(queue_config(queue=QueueSettings(apis=only)))), first)
        self.assertFalse(os.path.exists(path))

    def test_port_taken(self) -> None:
        """Another program has the port: a reason and a remedy, and nothing is left behind."""
        taken = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(taken.close)
        port = taken.getsockname()[1]
        listen = ApiListen(address="127.0.0.1", port=port)
        config = queue_config(queue=QueueSettings(apis=ApiSettings(tqs=TqsSettings(listen=listen))))
        fault = self.assertRaises(LaunchFault, self.launch, config)
        self.assertIn(f"tqs cannot listen on 127.0.0.1 port {port}: Address already in use", fault.reason)
        self.assertIn("apis.tqs.listen", fault.remedy)
        self.assertEqual(self.spawner.processes, [])
