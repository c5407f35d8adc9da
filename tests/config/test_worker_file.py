"""Tests of L{tqserver.config.worker_file}: what worker.yaml says is what the worker gets."""

from __future__ import annotations

import os
from collections.abc import Mapping

from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.model import (
    BunConfig,
    GoConfig,
    HealthConfig,
    OutlierConfig,
    PHPConfig,
    PHPPoolConfig,
    ProcessConfig,
    PythonConfig,
    RecycleConfig,
    RestartConfig,
    RetryConfig,
    RouteConfig,
    ScalingConfig,
    StickyConfig,
    WaitingLineConfig,
    WorkerConfig,
)
from tqserver.errors import ConfigFault, Problem

from .trees import only, said, server_in, worker_in


class WorkerCase(SynchronousTestCase):
    """A worker C{api} in a project of its own."""

    def setUp(self) -> None:
        self.base = os.path.abspath(self.mktemp())

    def worker(self, text: str, files: Mapping[str, str] | None = None, server: str = "") -> WorkerConfig:
        """The worker with this worker.yaml; a Go source unless other files are given."""
        given = {"main.go": ""} if files is None else dict(files)
        return worker_in(self.base, text, given, server_in(self.base, server))

    def fault(self, text: str, files: Mapping[str, str] | None = None) -> ConfigFault:
        """The fault of this worker.yaml."""
        return self.assertRaises(ConfigFault, self.worker, text, files)

    def problem(self, text: str, files: Mapping[str, str] | None = None) -> Problem:
        """The one problem of this worker.yaml."""
        return only(self.fault(text, files))


class DefaultTests(WorkerCase):
    """A worker that says nothing but its path."""

    def test_defaults(self) -> None:
        """Everything is as the documentation says."""
        folder = f"{self.base}/workers/api"
        self.assertEqual(
            self.worker("path: /api\n"),
            WorkerConfig(
                name="api",
                directory=folder,
                file=f"{folder}/config/worker.yaml",
                routes=(RouteConfig(prefix="/api", host=None),),
                type="go",
                enabled=True,
                strip_prefix=True,
                build=(),
                run=(),
                listen="tcp",
                request_timeout_s=60,
                scaling=ScalingConfig(
                    workers_min=1,
                    workers_max=5,
                    queue_threshold=10,
                    wait_max_s=0.05,
                    scale_down_delay_s=60,
                    concurrency_max=0,
                ),
                waiting=WaitingLineConfig(requests_max=1000, timeout_s=30),
                balance="least_in_flight",
                hash_on="ip",
                sticky=StickyConfig(cookie="", secure=None, age_max_s=0),
                outlier=OutlierConfig(
                    failures=5,
                    window_s=10,
                    eject_s=1,
                    eject_max_s=30,
                    ejected_percent_max=50,
                    on=("connect", "break"),
                ),
                retry=RetryConfig(attempts=3, budget_percent=20, min_per_s=10),
                in_flight_max=0,
                health=HealthConfig(type="http", path="/health", interval_s=5, timeout_s=0.5, failures=3, successes=1),
                restart=RestartConfig(
                    policy="always", backoff_initial_s=0.1, backoff_max_s=30, window_s=60, deaths_max=5
                ),
                recycle=RecycleConfig(requests_max=0, requests_jitter=0, age_max_s=0, memory_max_bytes=0),
                process=ProcessConfig(
                    environment=(), inherit_environment=False, stop_signal="TERM", shutdown_grace_s=0.5
                ),
                go=GoConfig(flags=(), tags=(), go_max_procs=2, go_mem_limit=""),
                bun=BunConfig(entrypoint="index.ts", environment=()),
                python=PythonConfig(app="app.py", interpreter=None, requirements=None),
                php=PHPConfig(pool=PHPPoolConfig(), document_root=f"{folder}/public", front_controller="index.php"),
                log_file=f"{self.base}/logs/worker_api_{{date}}.log",
                public=f"{folder}/public",
                ignore=(),
            ),
        )

    def test_left_alone_for_long(self) -> None:
        """A first time that is longer than the usual longest is the longest, unless that is said to be shorter."""
        outlier = self.worker("path: /\noutlier: {eject_seconds: 60}\n").outlier
        self.assertEqual((outlier.eject_s, outlier.eject_max_s), (60, 60))
        problem = self.problem("path: /\noutlier:\n  eject_seconds: 5\n  max_eject_seconds: 2\n")
        self.assertEqual((problem.line, problem.path), (4, "outlier.max_eject_seconds"))

    def test_cookie_is_set_anyhow(self) -> None:
        """Secure is a matter of how the client comes, unless it is said."""
        sticky = self.worker("path: /\nsticky: {cookie: at, secure: auto, max_age_seconds: 60}\n").sticky
        self.assertEqual(sticky, StickyConfig(cookie="at", secure=None, age_max_s=60))
        self.assertIs(self.worker("path: /\nsticky: {cookie: at, secure: no}\n").sticky.secure, False)

    def test_server_values(self) -> None:
        """What the worker does not say itself is the server's."""
        server = "server: {request_timeout_seconds: 7}\nworkers: {shutdown_grace_period_ms: 800}\n"
        worker = self.worker("path: /\n", server=server)
        self.assertEqual((worker.request_timeout_s, worker.process.shutdown_grace_s), (7, 0.8))
        own = "path: /\nrequest_timeout_seconds: 8\nshutdown_grace_period_ms: 900\n"
        worker = self.worker(own, server=server)
        self.assertEqual((worker.request_timeout_s, worker.process.shutdown_grace_s), (8, 0.9))

    def test_enabled(self) -> None:
        """A worker may be on in one mode only."""
        for word, development, production in (
            ("true", True, True),
            ("false", False, False),
            ("development", True, False),
            ("prod", False, True),
        ):
            text = f"path: /\nenabled: {word}\n"
            self.assertEqual(self.worker(text).enabled, development, word)
            self.assertEqual(self.worker(text, server="mode: production\n").enabled, production, word)


class RouteTests(WorkerCase):
    """Where a worker answers."""

    def prefix(self, written: str) -> str:
        """What a path becomes."""
        return self.worker(f"path: {written}\n").route

    def test_normal_form(self) -> None:
        """A prefix begins with a slash and has none at its end."""
        for written, prefix in (
            ("/", "/"),
            ("api", "/api"),
            ("/api/", "/api"),
            ("/api/v1", "/api/v1"),
            ("'/a:b@c,d;e=f!$&()+~.-_'", "/a:b@c,d;e=f!$&()+~.-_"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
        ):
            self.assertEqual(self.prefix(written), prefix)

    def test_refused(self) -> None:
        """What two servers could understand differently is refused, with what to write instead."""
        for written, message, hint in (
            ("''", "not empty", "/"),
            ("/a?b", "query", "'/a'"),
            ("'/a#b'", "fragment", "'/a'"),
            ("/a/*", "wildcard", "'/a/'"),
            (r"/a\b", "backslash", "'/a'"),
            ("//", "empty segment", "one slash"),
            ("/a//b", "empty segment", "one slash"),
            ("/a/./b", "segment .", "leads to"),
            ("/a/../b", "segment ..", "leads to"),
            ("/%2e%2E/b", "segment", "leads to"),
            ("/a%2fb", "encoded separator", "another"),
            ("/a%5cb", "encoded separator", "another"),
            ("/%61", "only a", "write a"),
            ("/café", "encoded", "'/caf%C3%A9'"),
            ("/a b", "encoded", "'/a%20b'"),
            ("/100%", "encoded", "'/100%25'"),
            ("http://a/b", "not a URL", "follows the host"),
            ("5", "must be a URL path", "quote"),
            ("/" + "a" * 1024, "longer", "shorten"),
        ):
            problem = self.problem(f"strip_prefix: true\npath: {written}\n")
            self.assertEqual((problem.line, problem.path), (2, "path"))
            self.assertIn(message, problem.message)
            self.assertIn(hint, problem.hint)

    def test_hosts(self) -> None:
        """A route may be for one host only, which is compared in lower case."""
        text = "routes:\n- {path: /}\n- host: Example.ORG.\n  path: a/\n- {host: '[2001:DB8::1]', path: /}\n"
        self.assertEqual(
            self.worker(text).routes,
            (
                RouteConfig(prefix="/"),
                RouteConfig(prefix="/a", host="example.org"),
                RouteConfig(prefix="/", host="[2001:db8::1]"),
            ),
        )

    def test_refused_hosts(self) -> None:
        """What no Host field can say is refused."""
        for written, message in (
            ("'*.example.org'", "wildcard"),
            ("example.org:80", "port"),
            ("http://example.org", "host alone"),
            ("bücher.example", "not ASCII"),
            ("a..b", "no host name"),
            ("-a.example", "no host name"),
            ("''", "no host name"),
            ("a" * 64, "no host name"),
        ):
            problem = self.problem(f"routes:\n- path: /\n- path: /a\n  host: {written}\n")
            self.assertEqual((problem.line, problem.path), (4, "routes[1].host"))
            self.assertIn(message, problem.message)
            self.assertTrue(problem.hint)

    def test_missing(self) -> None:
        """A worker without a route is told to have one; of the file as a whole, there is no line."""
        for text in ("", "strip_prefix: true\n", "# nothing\n"):
            problem = self.problem(text)
            self.assertEqual((problem.line, problem.path), (0, "path"))
        self.assertEqual(self.problem("routes: []\n").path, "routes")
        self.assertEqual(self.problem("routes: [{host: a}]\n").message, "has no path")

    def test_both(self) -> None:
        """Path and routes together are one too many."""
        problem = self.problem("path: /\nroutes: [{path: /a}]\n")
        self.assertEqual((problem.line, problem.path), (2, "routes"))

    def test_same_route_twice(self) -> None:
        """A worker that names a route twice is told both lines."""
        problem = self.problem("routes:\n- {path: /a}\n- {path: /b}\n- {path: a/}\n")
        self.assertEqual((problem.line, problem.path), (4, "routes[2]"))
        self.assertIn("line 2", problem.message)


class TypeTests(WorkerCase):
    """What kind of worker it is."""

    def test_guessed(self) -> None:
        """The folder, or a section of the file, tells the type."""
        for files, text, type_ in (
            (["go.mod"], "", "go"),
            (["src/main.go"], "", "go"),
            (["a.go", "package.json"], "", "go"),
            (["package.json"], "", "bun"),
            (["index.ts", "tool.py"], "", "bun"),
            (["index.php"], "", "php"),
            (["public/index.php"], "", "php"),
            (["public/index.php", "package.json"], "php: {pool: {max_workers: 2}}\n", "php"),
            (["app.py"], "", "python"),
            (["requirements.txt"], "", "python"),
            (["public/index.html"], "", "static"),
            (["public/"], "", "static"),
            (["go.mod"], "run: [./api]\n", "command"),
            ([], "bun: {entrypoint: a.ts}\n", "bun"),
        ):
            self.base = os.path.abspath(self.mktemp())
            worker = self.worker("path: /\n" + text, dict.fromkeys(files, ""))
            self.assertEqual(worker.type, type_, files)

    def test_said(self) -> None:
        """A type that is said is not guessed; a queue is one that is only said."""
        for type_ in ("go", "bun", "php", "python", "static", "queue"):
            self.assertEqual(self.worker(f"path: /\ntype: {type_}\n").type, type_)

    def test_nothing_tells(self) -> None:
        """A folder that tells nothing is a mistake that names the types."""
        problem = self.problem("path: /\n", {"README": ""})
        self.assertEqual((problem.line, problem.path), (0, "type"))
        self.assertIn("static", problem.hint)

    def test_command(self) -> None:
        """A command is a list of arguments; numbers in it are as written, and placeholders stay."""
        worker = self.worker("path: /\nbuild: [make, -j, 2]\nrun: [./api, --port, '{port}', 1.50, yes]\n")
        self.assertEqual(worker.build, ("make", "-j", "2"))
        self.assertEqual(worker.run, ("./api", "--port", "{port}", "1.50", "yes"))

    def test_wrong_command(self) -> None:
        """A line for a shell, a misspelled placeholder, no program: told with what to write."""
        problem = self.problem("path: /\nrun: ./api --port 5\n")
        self.assertIn("['./api', '--port', '5']", problem.hint)
        self.assertIn("{port}", self.problem("path: /\nrun: [./api, '{prot}']\n").hint)
        self.assertIn("no program", self.problem("path: /\nrun: ['']\n").message)
        self.assertEqual(self.problem("path: /\ntype: command\n").path, "run")
        self.assertEqual(self.problem("path: /\nrun: []\n").path, "run")

    def test_keys_of_another_type(self) -> None:
        """Keys that would be ignored are refused."""
        problem = self.problem("path: /\ntype: go\nphp:\n  binary: php-fpm\n")
        self.assertEqual((problem.line, problem.path), (4, "php.binary"))
        self.assertEqual(self.problem("path: /\ntype: go\nrun: [a]\n").path, "run")
        self.assertEqual(self.problem("path: /\ntype: static\nscaling: {max_workers: 2}\n").path, "scaling.max_workers")

    def test_older_sections(self) -> None:
        """Older files have limits of any worker under go or runtime."""
        worker = self.worker("path: /\ntype: bun\ngo: {max_requests: 5}\nruntime: {go_max_procs: 1}\n")
        self.assertEqual(worker.recycle.requests_max, 5)

    def test_health(self) -> None:
        """How a worker is asked for its health follows its type, and cannot contradict it."""
        for type_, health in (("php", "fastcgi"), ("static", "none"), ("queue", "http"), ("bun", "http")):
            self.assertEqual(self.worker(f"path: /\ntype: {type_}\n").health.type, health)
        self.assertIn("fastcgi or tcp", self.problem("path: /\ntype: php\nhealth: {type: http}\n").hint)
        self.assertIn("cannot be fastcgi", self.problem("path: /\nhealth: {type: fastcgi}\n").message)


class ProcessTests(WorkerCase):
    """What the worker's process is given."""

    def test_go_limits_in_every_place(self) -> None:
        """
        GOMAXPROCS and GOMEMLIMIT may stand under go, under runtime, or at the top; the size becomes one of
        Go's.
        """
        for text in (
            "go: {go_max_procs: 3, go_mem_limit: 256M}",
            "runtime: {go_max_procs: 3, go_mem_limit: 256M}",
            "go_max_procs: 3\ngo_mem_limit: 256M",
        ):
            go = self.worker(f"path: /\n{text}\n").go
            self.assertEqual((go.go_max_procs, go.go_mem_limit), (3, "256MiB"))
        for none in ("", "null", "''"):
            self.assertEqual(self.worker(f"path: /\ngo_mem_limit: {none}\n").go.go_mem_limit, "")

    def test_environment(self) -> None:
        """The file's variables come first, those of worker.yaml win; all are texts as they were written."""
        env = "# remark\n\nexport A=file\r\nB = 'two words' \nC=\nURL=a=b#c\n"
        text = 'path: /\nenvironment_file: env\nenvironment: {A: own, N: 1.50, T: yes, E: ~, L: "a\\nb"}\n'
        worker = self.worker(text, {"main.go": "", "env": env})
        self.assertEqual(
            worker.process.environment,
            (
                *(("A", "own"), ("B", "two words"), ("C", ""), ("E", "")),
                *(("L", "a\nb"), ("N", "1.50"), ("T", "yes"), ("URL", "a=b#c")),
            ),
        )

    def test_environment_mistakes(self) -> None:
        """Mistakes in variables are told without their values, which may be secrets."""
        text = 'path: /\nenvironment:\n  A-B: hunter2\n  PORT: 5\n  C: [hunter2]\n  D: "hunter2\\a"\n'
        fault = self.fault(text)
        expected = [(3, "A-B"), (4, "PORT"), (5, "C"), (6, "D")]
        self.assertEqual(said(fault), [(line, f"environment.{key}") for line, key in expected])
        self.assertNotIn("hunter2", str(fault))

    def test_environment_file_mistakes(self) -> None:
        """
        Mistakes in an environment file are told with that file and its line, after those of worker.yaml.
        """
        env = "A=1\nhunter2\nWORKER_PORT=5\n2B=hunter2\n"
        fault = self.fault("path: /\nenvironment_file: env\nnice: 99\n", {"main.go": "", "env": env})
        self.assertEqual(
            [(os.path.basename(problem.file), problem.line) for problem in fault.problems],
            [("worker.yaml", 3), ("env", 2), ("env", 3), ("env", 4)],
        )
        self.assertNotIn("hunter2", str(fault))

    def test_environment_file_that_cannot_be_read(self) -> None:
        """An environment file that is not there, no file, or no text, is told at the key that names it."""
        os.makedirs(f"{self.base}/workers/api/folder")
        os.mkfifo(f"{self.base}/workers/api/pipe")
        for name, message in (
            ("none", "No such file"),
            ("folder", "regular"),
            ("pipe", "regular"),
            ("bad", "UTF-8"),
        ):
            files = {"main.go": "", "bad": b"A=\xff"}
            text = f"path: /\nenvironment_file: {name}\n"
            fault = self.assertRaises(ConfigFault, worker_in, self.base, text, files, server_in(self.base))
            self.assertEqual(said(fault), [(2, "environment_file")], name)
            self.assertIn(message, fault.problems[0].message)

    def test_umask(self) -> None:
        """A umask is octal however it is written."""
        for written in ("022", "22", "'0022'", "0o22"):
            self.assertEqual(self.worker(f"path: /\numask: {written}\n").process.umask, 0o22, written)

    def test_limits(self) -> None:
        """Resource limits are numbers and sizes; unlimited and null leave them alone."""
        limits = self.worker("path: /\nlimits: {open_files: 1024, address_space: 1G}\n").process.limits
        self.assertEqual((limits.open_files, limits.processes, limits.address_space_bytes), (1024, None, 2**30))
        limits = self.worker("path: /\nlimits: {open_files: unlimited, processes: ~}\n").process.limits
        self.assertEqual((limits.open_files, limits.processes), (None, None))

    def test_signal(self) -> None:
        """A signal may be written with and without SIG, in any case."""
        for written in ("INT", "SIGINT", "int"):
            self.assertEqual(self.worker(f"path: /\nsignals: {{stop: {written}}}\n").process.stop_signal, "INT")

    def test_paths(self) -> None:
        """Folders of a worker start from its own, its log from the project; names of programs stay names."""
        text = (
            "path: /\ntype: php\npublic: assets\nlog_file: logs/{name}-{date}.log\n"
            "php: {binary: php-fpm8.2, config_file: etc/php.ini, document_root: web}\n"
        )
        worker, folder = self.worker(text), f"{self.base}/workers/api"
        self.assertEqual(worker.public, f"{folder}/assets")
        self.assertEqual(worker.log_file, f"{self.base}/logs/api-{{date}}.log")
        self.assertEqual(worker.php.binary, "php-fpm8.2")
        self.assertEqual(worker.php.config_file, f"{folder}/etc/php.ini")
        self.assertEqual(worker.php.document_root, f"{folder}/web")
        text = "path: /\ntype: python\npython: {interpreter: .venv/bin/python}\nlog_file: ~\npublic: ''\n"
        worker = self.worker(text, {"requirements.txt": ""})
        self.assertEqual(worker.python.interpreter, f"{folder}/.venv/bin/python")
        self.assertEqual(worker.python.requirements, f"{folder}/requirements.txt")
        self.assertEqual((worker.log_file, worker.public), (None, None))


class ScalingTests(WorkerCase):
    """How many of them."""

    def scaling(self, text: str, type_: str = "go") -> ScalingConfig:
        """The scaling of a worker."""
        return self.worker(f"path: /\ntype: {type_}\n{text}\n").scaling

    def test_one_limit(self) -> None:
        """A limit that is not said gives way to one that is."""
        scaling = self.scaling("scaling: {min_workers: 8}")
        self.assertEqual((scaling.workers_min, scaling.workers_max), (8, 8))
        scaling = self.scaling("scaling: {min_workers: 0, max_workers: 1}")
        self.assertEqual((scaling.workers_min, scaling.workers_max), (0, 1))

    def test_contradiction(self) -> None:
        """Two limits that contradict are told at the later one."""
        problem = self.problem("path: /\nscaling:\n  max_workers: 2\n  min_workers: 3\n")
        self.assertEqual((problem.line, problem.path), (4, "scaling.min_workers"))

    def test_delay(self) -> None:
        """The delay without a unit in its name is seconds, or has a unit itself."""
        for text in (
            "scale_down_delay: 90",
            "scale_down_delay: 90s",
            "scale_down_delay_seconds: 90",
            "scale_down_delay: 1.5m",
        ):
            self.assertEqual(self.scaling(f"scaling: {{{text}}}").scale_down_delay_s, 90)

    def test_php(self) -> None:
        """
        A php worker is one php-fpm that takes as many requests as it has children, unless it says otherwise.
        """
        scaling = self.scaling("php: {pool: {max_workers: 7}}", "php")
        self.assertEqual((scaling.workers_min, scaling.workers_max, scaling.concurrency_max), (1, 1, 7))
        self.assertEqual(self.scaling("", "php").concurrency_max, 5)
        scaling = self.scaling("scaling: {max_workers: 3, max_concurrency: 2}", "php")
        self.assertEqual((scaling.workers_max, scaling.concurrency_max), (3, 2))
        self.assertEqual(self.worker("path: /\ntype: php\n").listen, "unix")

    def test_static(self) -> None:
        """A static worker has no process."""
        scaling = self.scaling("", "static")
        self.assertEqual((scaling.workers_min, scaling.workers_max), (0, 0))

    def test_php_pool(self) -> None:
        """What is not said of a php-fpm pool follows what is, so that php-fpm takes it."""
        for said_, low, start, high in (
            ("", 1, 2, 5),
            ("max_workers: 1", 1, 1, 1),
            ("min_workers: 8", 8, 8, 8),
            ("start_workers: 9", 1, 9, 9),
            ("min_workers: 0, manager: ondemand", 0, 2, 5),
        ):
            pool = self.worker(f"path: /\ntype: php\nphp: {{pool: {{{said_}}}}}\n").php.pool
            self.assertEqual((pool.workers_min, pool.workers_start, pool.workers_max), (low, start, high), said_)

    def test_php_pool_contradictions(self) -> None:
        """Contradictions that php-fpm would die of are told here."""
        for pool, name in (
            ("{min_workers: 3, max_workers: 2}", "max_workers"),
            ("{max_workers: 2, min_workers: 3}", "min_workers"),
            ("{start_workers: 3, max_workers: 2}", "max_workers"),
            ("{min_workers: 3, start_workers: 2}", "start_workers"),
            ("{min_workers: 0}", "min_workers"),
            ("{min_workers: 0, manager: dynamic}", "manager"),
        ):
            problem = self.problem(f"path: /\ntype: php\nphp:\n  pool: {pool}\n")
            self.assertEqual((problem.line, problem.path), (4, f"php.pool.{name}"), pool)

    def test_other_contradictions(self) -> None:
        """Numbers that contradict each other are told at the last of them."""
        for text, path in (
            ("max_requests: 10\nmax_requests_jitter: 10\n", "max_requests_jitter"),
            ("max_requests_jitter: 10\nmax_requests: 5\n", "max_requests"),
            ("restart: {backoff_initial_ms: 5000, backoff_max_seconds: 2}\n", "restart.backoff_max_seconds"),
        ):
            self.assertEqual(self.problem("path: /\n" + text).path, path)
        self.worker("path: /\nmax_requests_jitter: 10\n")
