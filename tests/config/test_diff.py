"""Tests of L{tqserver.config.diff}: a change touches what it must and nothing else."""

from __future__ import annotations

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.diff import ProjectDiff, carry_over, compare, process_key, restart_keys
from tqserver.config.model import (
    BrokenWorker,
    GoConfig,
    HealthConfig,
    HTTPConfig,
    ListenConfig,
    PHPConfig,
    PHPPoolConfig,
    PoolConfig,
    ProcessConfig,
    ProcessLimits,
    Project,
    RecycleConfig,
    RestartConfig,
    RouteConfig,
    ScalingConfig,
    ServerConfig,
    WaitingLineConfig,
    WatchConfig,
    WorkerConfig,
    WorkerType,
)

SERVER = ServerConfig(file="/p/etc/server.yaml", project="/p", workers=PoolConfig(directory="/p/workers"))


def worker(name: str = "api", type_: WorkerType = "go", **fields: object) -> WorkerConfig:
    """A worker."""
    directory = f"/p/workers/{name}"
    usual = WorkerConfig(
        name=name,
        directory=directory,
        file=f"{directory}/config/worker.yaml",
        routes=(RouteConfig(prefix=f"/{name}"),),
        type=type_,
    )
    return evolve(usual, **fields)


class ProcessKeyTests(SynchronousTestCase):
    """Whether a change needs a new process."""

    def test_same(self) -> None:
        """Equal configurations have equal keys, in this run and any other."""
        self.assertEqual(process_key(worker()), process_key(worker()))
        self.assertRegex(process_key(worker()), r"^[0-9a-f]{16}$")

    def test_process(self) -> None:
        """What the process is told or given changes the key."""
        usual = process_key(worker())
        for fields in (
            {"run": ("a",)},
            {"build": ("a",)},
            {"listen": "unix"},
            {"type": "bun"},
            {"routes": (RouteConfig(prefix="/b"),)},
            {"go": GoConfig(go_max_procs=1)},
            {"health": HealthConfig(type="notify")},
            {"process": ProcessConfig(environment=(("A", "b"),))},
            {"process": ProcessConfig(inherit_environment=True)},
            {"process": ProcessConfig(user="www-data")},
            {"process": ProcessConfig(umask=0)},
            {"process": ProcessConfig(limits=ProcessLimits(open_files=64))},
        ):
            self.assertNotEqual(process_key(worker(**fields)), usual, fields)

    def test_routing_and_supervision(self) -> None:
        """What only fronts or the supervisor go by does not."""
        usual = process_key(worker())
        for fields in (
            {"routes": (RouteConfig(prefix="/api"), RouteConfig(prefix="/b"))},
            {"routes": (RouteConfig(prefix="/api", host="a.example"),)},
            {"enabled": False},
            {"strip_prefix": False},
            {"request_timeout_s": 1.0},
            {"scaling": ScalingConfig(workers_max=9)},
            {"waiting": WaitingLineConfig(requests_max=1)},
            {"balance": "hash"},
            {"hash_on": "cookie:a"},
            {"health": HealthConfig(type="tcp", interval_s=1)},
            {"restart": RestartConfig(policy="never")},
            {"recycle": RecycleConfig(requests_max=5)},
            {"process": ProcessConfig(stop_signal="INT", shutdown_grace_s=9)},
            {"log_file": "/var/log/a"},
            {"public": "/p"},
            {"ignore": ("a",)},
            {"php": PHPConfig(binary="php-fpm")},
        ):
            self.assertEqual(process_key(worker(**fields)), usual, fields)

    def test_php(self) -> None:
        """A php-fpm pool is made anew for its settings and its size."""
        usual = process_key(worker(type_="php"))
        for php in (PHPConfig(settings=(("a", "b"),)), PHPConfig(pool=PHPPoolConfig(workers_max=9))):
            self.assertNotEqual(process_key(worker(type_="php", php=php)), usual)
        self.assertEqual(process_key(worker(type_="php", go=GoConfig(go_max_procs=1))), usual)


class RestartTests(SynchronousTestCase):
    """What a running server cannot change."""

    def test_keys(self) -> None:
        """The keys are named as they stand in the file."""
        for change, keys in (
            ({}, ()),
            ({"http": HTTPConfig(read_timeout_s=1)}, ()),
            ({"watch": WatchConfig(enabled=False)}, ()),
            ({"http": HTTPConfig(listen=(ListenConfig(port=81),))}, ("server.port",)),
            ({"http": HTTPConfig(listen=(ListenConfig(address="::", port=81),))}, ("server.host", "server.port")),
            ({"http": HTTPConfig(listen=(ListenConfig(unix="/a", port=0),))}, ("server.listen",)),
            ({"http": HTTPConfig(listen=(ListenConfig(proxy_protocol=True),))}, ("server.listen",)),
            ({"http": HTTPConfig(listen=(ListenConfig(), ListenConfig(port=81)))}, ("server.listen",)),
            ({"http": HTTPConfig(fronts=2)}, ("server.fronts",)),
            ({"admin_socket": "/a"}, ("admin.socket",)),
            ({"project": "/q"}, ("project",)),
        ):
            self.assertEqual(restart_keys(SERVER, evolve(SERVER, **change)), keys)


class CompareTests(SynchronousTestCase):
    """The difference between two configurations."""

    def test_nothing(self) -> None:
        """The same configuration changes nothing."""
        project = Project(SERVER, (worker("a"), worker("b")))
        self.assertTrue(compare(project, project).nothing)

    def test_workers(self) -> None:
        """Each worker is in the one list that says what has to be done for it."""
        old = Project(SERVER, (worker("a"), worker("b"), worker("c"), worker("d")))
        both = worker("c", run=("x",), strip_prefix=False)
        changed = (worker("b", strip_prefix=False), both, worker("d"), worker("e"))
        self.assertEqual(
            compare(old, Project(SERVER, changed)),
            ProjectDiff(added=("e",), removed=("a",), process_changed=("c",), routing_changed=("b",)),
        )

    def test_server(self) -> None:
        """A change of server.yaml is told, and whether it needs a restart."""
        old = Project(SERVER, (worker("a"),))
        new = evolve(old, server=evolve(SERVER, admin_socket="/a"))
        self.assertEqual(compare(old, new), ProjectDiff(server_changed=True, restart=("admin.socket",)))

    def test_mode(self) -> None:
        """Every worker gets a new process when the mode changed, because it was told the old one."""
        old = Project(SERVER, (worker("a"), worker("b")))
        new = Project(evolve(SERVER, mode="production"), (worker("a"), worker("b")))
        self.assertEqual(compare(old, new), ProjectDiff(process_changed=("a", "b"), server_changed=True))


class CarryOverTests(SynchronousTestCase):
    """A worker.yaml that was broken by an edit."""

    def setUp(self) -> None:
        self.old = Project(SERVER, (worker("a"), worker("b")))
        self.broken = BrokenWorker("b", "/p/workers/b", "/p/workers/b/config/worker.yaml", ())

    def test_kept(self) -> None:
        """The worker goes on as it was, and is told as broken."""
        new = carry_over(self.old, Project(SERVER, (worker("a"),), (self.broken,)))
        self.assertEqual(new, Project(SERVER, (worker("a"), worker("b")), (self.broken,)))
        self.assertTrue(compare(self.old, new).nothing)

    def test_removed(self) -> None:
        """A worker whose folder is gone is gone."""
        new = carry_over(self.old, Project(SERVER, (worker("a"),)))
        self.assertEqual(compare(self.old, new).removed, ("b",))

    def test_never_good(self) -> None:
        """A worker that was broken from the start has nothing to go on with."""
        new = Project(SERVER, (worker("a"),), (evolve(self.broken, name="c"),))
        self.assertEqual(carry_over(self.old, new).workers, (worker("a"),))

    def test_route_taken(self) -> None:
        """If another worker has its route by now, it is out: no route ever has two owners."""
        thief = worker("a", routes=(RouteConfig(prefix="/b"),))
        new = carry_over(self.old, Project(SERVER, (thief,), (self.broken,)))
        self.assertEqual(new.workers, (thief,))
