"""Tests of L{tqserver.build.php_pool}."""

from __future__ import annotations

import os
import stat

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tqserver.build.php_pool import command, quote, render, write
from tqserver.config.model import PHPConfig, PHPPoolConfig, ProcessConfig, RouteConfig, WorkerConfig
from tqserver.errors import ConfigFault
from tqserver.fastcgi.ping import PING_PATH

WORKER = WorkerConfig(
    name="blog",
    directory="/p/workers/blog",
    file="/p/workers/blog/config/worker.yaml",
    routes=(RouteConfig(prefix="/blog"),),
    type="php",
    php=PHPConfig(document_root="/p/workers/blog/public"),
)


def with_settings(*pairs: tuple[str, str]) -> WorkerConfig:
    """A worker with php.ini settings."""
    return evolve(WORKER, php=evolve(WORKER.php, settings=pairs))


def text(
    worker: WorkerConfig = WORKER,
    *,
    socket: str = "/run/blog.sock",
    environment: tuple[tuple[str, str], ...] = (),
    development: bool = True,
    root: bool = False,
) -> str:
    """The configuration's text."""
    return render(worker, socket=socket, environment=environment, development=development, root=root)


def values(config: str) -> dict[str, str]:
    """Its settings, as they are written; every line must be one of the four kinds that we write."""
    found = {}
    for line in config.splitlines():
        if line and not line.startswith((";", "[")):
            name, separator, value = line.partition(" = ")
            assert separator and name not in found, line
            found[name] = value
    return found


def unquote(written: str) -> str:
    """Read a value as php.ini's parser does: strings in either kind of quotes, one after the other."""
    read = ""
    while written:
        end = written.index(written[0], 1)
        assert written[0] in "'\""
        if written[0] == '"':
            assert "$" not in written[:end] and "\\" not in written[:end]
        read += written[1:end]
        written = written[end + 1 :]
    return read


class QuoteTests(SynchronousTestCase):
    """Values that mean something to php.ini's parser."""

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(st.text(alphabet="a'\"$\\{};#= \u00fc", min_size=1))
    def test_any(self, value: str) -> None:
        """Whatever a value is made of, it is read as it was."""
        self.assertEqual(unquote(quote(value)), value)


class RenderTests(SynchronousTestCase):
    """The pool's configuration."""

    def test_defaults(self) -> None:
        """One pool in the foreground that only we can talk to."""
        found = values(text())
        for name, value in {
            "daemonize": "no",
            "listen": "'/run/blog.sock'",
            "listen.mode": "0600",
            "pm": "dynamic",
            "pm.max_children": "5",
            "clear_env": "yes",
            "catch_workers_output": "yes",
            "decorate_workers_output": "no",
            "ping.path": PING_PATH,
            "security.limit_extensions": "'.php'",
        }.items():
            self.assertEqual(found[name], value, name)
        for name in ("user", "group", "pm.max_requests", "request_terminate_timeout"):
            self.assertNotIn(name, found)

    def test_scripts_that_change(self) -> None:
        """In development a saved script runs at the next request; in production scripts are not looked at again."""
        self.assertEqual(values(text())["php_admin_value[opcache.validate_timestamps]"], "'1'")
        self.assertEqual(values(text())["php_admin_value[opcache.revalidate_freq]"], "'0'")
        self.assertEqual(values(text(development=False))["php_admin_value[opcache.validate_timestamps]"], "'0'")
        worker = with_settings(("opcache.validate_timestamps", "1"))
        self.assertEqual(values(text(worker, development=False))["php_admin_value[opcache.validate_timestamps]"], "'1'")

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(st.integers(0, 9), st.integers(0, 9), st.integers(0, 9))
    def test_dynamic_bounds(self, lowest: int, highest: int, start: int) -> None:
        """Whatever is configured, the numbers are such that php-fpm starts."""
        pool = PHPPoolConfig(workers_min=lowest, workers_max=highest, workers_start=start)
        found = values(text(evolve(WORKER, php=evolve(WORKER.php, pool=pool))))
        children, started, least, most = (
            int(found[f"pm.{name}"])
            for name in ("max_children", "start_servers", "min_spare_servers", "max_spare_servers")
        )
        self.assertTrue(1 <= least <= started <= most <= children, found)

    def test_other_ways(self) -> None:
        """Static and on-demand pools have their own settings, and not those of dynamic ones."""
        pool = PHPPoolConfig(manager="ondemand", idle_timeout_s=0.5, requests_max=7, request_timeout_s=2.5)
        found = values(text(evolve(WORKER, php=evolve(WORKER.php, pool=pool))))
        self.assertEqual((found["pm"], found["pm.process_idle_timeout"]), ("ondemand", "1s"))
        self.assertEqual((found["pm.max_requests"], found["request_terminate_timeout"]), ("7", "3s"))
        self.assertNotIn("pm.start_servers", found)
        found = values(text(evolve(WORKER, php=evolve(WORKER.php, pool=PHPPoolConfig(manager="static")))))
        self.assertEqual(found["pm"], "static")
        self.assertNotIn("pm.process_idle_timeout", found)

    def test_environment(self) -> None:
        """Variables are quoted; those that the file cannot hold come from the master's own environment."""
        found = values(
            text(
                environment=(
                    ("PLAIN", "a;b ${HOME} 'c'"),
                    ("EMPTY", ""),
                    ("LINES", "a\nuser = root"),
                    ("DOLLAR", "$HOME"),
                    ("POOL", "x$pooly"),
                )
            )
        )
        self.assertEqual(unquote(found["env[PLAIN]"]), "a;b ${HOME} 'c'")
        for name in ("EMPTY", "LINES", "DOLLAR", "POOL"):
            self.assertEqual(found[f"env[{name}]"], f"${name}")

    def test_settings(self) -> None:
        """Settings are quoted; levels of errors are expressions; empty ones go on the command line."""
        worker = with_settings(
            ("date.timezone", "Europe/Berlin"), ("disable_functions", ""), ("error_reporting", "E_ALL & ~E_NOTICE")
        )
        found = values(text(worker))
        self.assertEqual(found["php_admin_value[date.timezone]"], "'Europe/Berlin'")
        self.assertEqual(found["php_admin_value[error_reporting]"], "E_ALL & ~E_NOTICE")
        self.assertNotIn("php_admin_value[disable_functions]", found)
        argv = command(worker, "php-fpm", "/c", root=False)
        self.assertEqual(argv[argv.index("-d") + 1], "disable_functions=")

    def test_injection(self) -> None:
        """What could be read as another line or another setting is refused, with all its places at once."""
        worker = evolve(
            with_settings(("a", "x\nuser = root"), ("b] = 1\nc[", "x"), ("d", "$pool"), ("e", "x\ry"), ("", "x")),
        )
        fault = self.assertRaises(ConfigFault, text, worker, environment=(("A=B", "x"), ("OK", "x"), ("N", "\0")))
        self.assertEqual(
            [problem.path for problem in fault.problems],
            [
                "environment.A=B",
                "environment.N",
                "php.settings.a",
                "php.settings.b] = 1\nc[",
                "php.settings.d",
                "php.settings.e",
                "php.settings.",
            ],
        )
        self.assertEqual({problem.file for problem in fault.problems}, {WORKER.file})

    def test_name(self) -> None:
        """A folder's name cannot break out of the comment that it is in."""
        self.assertNotIn("\nuser", text(evolve(WORKER, name="x\nuser = root")))

    def test_socket(self) -> None:
        """The path of a socket that the kernel would cut is refused; an odd one is quoted."""
        self.assertRaises(ConfigFault, text, socket="/" + "x" * 107)
        self.assertRaises(ConfigFault, text, socket="/a\nb")
        self.assertEqual(values(text(socket="/a;b c"))["listen"], "'/a;b c'")

    def test_root(self) -> None:
        """As root the children become who they should be, and stay root only when nobody is named."""
        found = values(text(root=True))
        self.assertEqual((found["user"], found["group"]), ("'root'", "'root'"))
        self.assertIn("--allow-to-run-as-root", command(WORKER, "php-fpm", "/c", root=True))
        self.assertNotIn("--allow-to-run-as-root", command(WORKER, "php-fpm", "/c", root=False))
        worker = evolve(WORKER, process=ProcessConfig(user="www-data"))
        found = values(text(worker, root=True))
        self.assertEqual(found["user"], "'www-data'")
        self.assertNotIn("group", found)
        self.assertNotIn("--allow-to-run-as-root", command(worker, "php-fpm", "/c", root=True))

    def test_command(self) -> None:
        """The master stays in the foreground and is given its own php.ini."""
        worker = evolve(WORKER, php=evolve(WORKER.php, config_file="/p/php.ini"))
        self.assertEqual(
            command(worker, "/usr/sbin/php-fpm8.2", "/c", root=False),
            ("/usr/sbin/php-fpm8.2", "--nodaemonize", "--force-stderr", "--fpm-config", "/c", "-c", "/p/php.ini"),
        )


class WriteTests(TestCase):
    """Where the configuration is kept."""

    def test_private(self) -> None:
        """Nobody else can read it, and writing it again leaves nothing besides it."""
        directory = self.mktemp()
        os.mkdir(directory, 0o755)
        for content in ("one", "two"):
            path = write(directory, "php-fpm.conf", content)
            with open(path) as file:
                self.assertEqual(file.read(), content)
        self.assertTrue(os.path.isabs(path))
        self.assertEqual(os.listdir(directory), ["php-fpm.conf"])
        self.assertEqual(stat.S_IMODE(os.stat(directory).st_mode), 0o700)
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)

    def test_link(self) -> None:
        """A link that somebody has put there is not followed."""
        directory = self.mktemp()
        elsewhere = self.mktemp()
        os.mkdir(elsewhere)
        os.symlink(os.path.abspath(elsewhere), directory)
        self.assertRaises(OSError, write, directory, "php-fpm.conf", "text")
        self.assertEqual(os.listdir(elsewhere), [])
