"""Tests for L{tqserver.supervisor.launch}."""

from __future__ import annotations

import os
import stat

from attrs import evolve
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tqserver.build import Build
from tqserver.config.model import GoConfig, HealthConfig, ProcessConfig, WorkerConfig
from tqserver.config.places import UNIX_PATH_BYTES_MAX
from tqserver.process.interfaces import Exit, Stream
from tqserver.process.ports import PortPool
from tqserver.process.spec import Address
from tqserver.supervisor.interfaces import Launched, LaunchFault, Order
from tqserver.supervisor.launch import Launcher, contract_environment, fill_in
from tqserver.testing import FakePorts, FakeSpawner

from .world import server_config, worker_config


class Nobody:
    """Observes nothing."""

    def output(self, stream: Stream, lines: object) -> None:
        """See L{IProcessObserver}."""

    def notified(self) -> None:
        """See L{IProcessObserver}."""

    def exited(self, exit: Exit) -> None:
        """See L{IProcessObserver}."""


class LauncherTests(SynchronousTestCase):
    """From a configuration and a build to a process."""

    def setUp(self) -> None:
        self.make(os.path.realpath(self.mktemp()))

    def make(self, project: str) -> None:
        """A launcher for a project at this path."""
        os.makedirs(project)
        clock = Clock()
        self.spawner = FakeSpawner(clock)
        self.ports = PortPool(9000, 9001, clock, FakePorts())
        self.launcher = Launcher(
            evolve(server_config(), project=project),
            self.spawner,
            self.ports,
            lambda config, address: None,
            {"PATH": "/bin", "SECRET": "x"},
            privileged=False,
        )
        self.addCleanup(self.launcher.close)

    def launch(self, config: WorkerConfig, argv: tuple[str, ...] = ("run",), instance: str = "api.1.1") -> Launched:
        """Launch an instance."""
        build = Build(config.name, "f", argv, config.directory, (("PYTHONUNBUFFERED", "1"),))
        return self.launcher.launch(Order(config, build, instance, 1), Nobody())  # type: ignore[arg-type]

    def test_port(self) -> None:
        """My worker gets a port of the range, in its environment and where its command asks for it."""
        launched = self.launch(worker_config(), ("run", "--port={port}", "{name}", "{other}"))
        spec = self.spawner.processes[0].spec
        self.assertEqual(launched.address, Address("127.0.0.1", 9000))
        self.assertEqual(spec.argv, ("run", "--port=9000", "api", "{other}"))
        environment = dict(spec.environment)
        self.assertEqual((environment["WORKER_PORT"], environment["PORT"]), ("9000", "9000"))
        self.assertEqual(environment["PYTHONUNBUFFERED"], "1")
        self.assertNotIn("SECRET", environment)

    def test_own_values_cannot_replace_the_contract(self) -> None:
        """I set C{WORKER_PORT} and C{PYTHONUNBUFFERED} in C{environment}: the port stays true, the other is mine."""
        process = ProcessConfig(environment=(("PYTHONUNBUFFERED", ""), ("WORKER_PORT", "1")))
        self.launch(worker_config(process=process))
        environment = dict(self.spawner.processes[0].spec.environment)
        self.assertEqual((environment["WORKER_PORT"], environment["PYTHONUNBUFFERED"]), ("9000", ""))

    def test_given_back(self) -> None:
        """The port is given back when the instance is gone, and when it could not be started."""
        launched = self.launch(worker_config())
        self.launcher.clear(launched)
        self.spawner.fail_next("no such program", "install it")
        fault = self.assertRaises(LaunchFault, self.launch, worker_config())
        self.assertEqual((fault.reason, fault.remedy), ("no such program", "install it"))
        self.assertEqual(self.ports.leased, frozenset())

    def test_exhausted(self) -> None:
        """The range is used up: a reason and a remedy, no crash."""
        self.launch(worker_config())
        self.launch(worker_config(), instance="api.1.2")
        fault = self.assertRaises(LaunchFault, self.launch, worker_config(), instance="api.1.3")
        self.assertIn("port_range", fault.remedy)

    def test_socket(self) -> None:
        """With C{listen: unix} my worker gets a socket in a folder that nobody else can enter."""
        config = worker_config(listen="unix")
        launched = self.launch(config, ("run", "{socket}"))
        path = launched.address.path
        self.assertEqual(self.spawner.processes[0].spec.argv, ("run", path))
        self.assertEqual(dict(self.spawner.processes[0].spec.environment)["WORKER_SOCKET"], path)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode), 0o700)
        with open(path, "w"):
            pass
        self.launcher.clear(launched)
        self.assertFalse(os.path.exists(path))

    def test_stale_socket(self) -> None:
        """A socket that an earlier server left behind is not in the way."""
        first = self.launch(worker_config(listen="unix"))
        with open(first.address.path, "w"):
            pass
        self.launch(worker_config(listen="unix"))
        self.assertFalse(os.path.exists(first.address.path))

    def test_deep_project(self) -> None:
        """My project lies so deep that a socket's path would be too long: it is put elsewhere, as privately."""
        self.make(os.path.join(os.path.realpath(self.mktemp()), *["deeper"] * 15))
        paths = {
            self.launch(worker_config(listen="unix"), instance=f"api.1.{number}").address.path for number in range(3)
        }
        self.assertEqual(len(paths), 3)
        for path in paths:
            self.assertLessEqual(len(path), UNIX_PATH_BYTES_MAX)
            self.assertEqual(stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode), 0o700)

    def test_php(self) -> None:
        """A PHP worker gets a pool of its own, in a file that only we can read, and that goes with it."""
        launched = self.launch(worker_config(type="php"), ("/usr/sbin/php-fpm8.2",))
        config = launched.address.path.removesuffix(".sock") + ".conf"
        argv = self.spawner.processes[0].spec.argv
        self.assertEqual(argv[0], "/usr/sbin/php-fpm8.2")
        self.assertIn(config, argv)
        with open(config) as file:
            text = file.read()
        self.assertIn(launched.address.path, text)
        self.assertIn("WORKER_NAME", text)
        self.launcher.clear(launched)
        self.assertFalse(os.path.exists(config))

    def test_php_that_cannot_be_told(self) -> None:
        """A setting that php-fpm cannot be told is a reason, and leaves nothing behind."""
        config = worker_config(type="php")
        config = evolve(config, php=evolve(config.php, settings=(("bad name\n", "1"),)))
        fault = self.assertRaises(LaunchFault, self.launch, config, ("/usr/sbin/php-fpm8.2",))
        self.assertIn("php.settings", fault.reason)
        self.assertEqual(self.spawner.processes, [])

    def test_notify(self) -> None:
        """C{health.type: notify} gives the process descriptor 3."""
        self.launch(worker_config(health=HealthConfig(type="notify")))
        self.assertTrue(self.spawner.processes[0].spec.notify)


class EnvironmentTests(SynchronousTestCase):
    """What a worker is told."""

    def told(self, config: WorkerConfig, address: Address) -> dict[str, str]:
        """Its environment of the contract."""
        return dict(
            contract_environment(Order(config, Build("api", "f", (), "/"), "api.3.7", 3), address, "production")
        )

    def test_all_names(self) -> None:
        """Every name of the contract is there."""
        self.assertEqual(
            self.told(worker_config(), Address("127.0.0.1", 9000)),
            {
                "WORKER_PORT": "9000",
                "PORT": "9000",
                "WORKER_NAME": "api",
                "WORKER_ROUTE": "/api",
                "WORKER_PATH": "/api",
                "WORKER_TYPE": "command",
                "WORKER_MODE": "production",
                "WORKER_INSTANCE": "api.3.7",
                "WORKER_GENERATION": "3",
            },
        )

    def test_go(self) -> None:
        """Go's own variables are set for Go; 0 means all cores, which is to say nothing."""
        config = worker_config(type="go", go=GoConfig(go_max_procs=4, go_mem_limit="256MiB"))
        told = self.told(config, Address(path="/s"))
        self.assertEqual((told["GOMAXPROCS"], told["GOMEMLIMIT"], told["WORKER_SOCKET"]), ("4", "256MiB", "/s"))
        self.assertNotIn("PORT", told)
        config = worker_config(type="go", go=GoConfig(go_max_procs=0))
        self.assertNotIn("GOMAXPROCS", self.told(config, Address(path="/s")))

    def test_braces(self) -> None:
        """Only the three names are replaced; other braces are the worker's own."""
        self.assertEqual(
            fill_in(("{name}:{port}", "{}", "{x}", '{"a": 1}'), "api", Address("127.0.0.1", 9)),
            ("api:9", "{}", "{x}", '{"a": 1}'),
        )
