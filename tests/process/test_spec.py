"""What a process is given."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.model import ProcessLimits
from tqserver.process.spec import (
    PATH_DEFAULT,
    Address,
    Identity,
    ProcessSpec,
    SpawnFault,
    Tools,
    command_line,
    worker_environment,
)

TOOLS = Tools(setsid="/setsid", env="/env", sh="/sh", nice="/nice", prlimit="/prlimit", setpriv="/setpriv")


class CommandLines(SynchronousTestCase):
    """The chain of programs that ends as my worker."""

    def test_plain(self) -> None:
        """A worker without settings gets a session, its folder, and death with the server."""
        spec = ProcessSpec(("./api", "--x"), "/srv/api", ())
        self.assertEqual(
            command_line(spec, False, TOOLS),
            ["/setsid", "/env", "--chdir=/srv/api", "/setpriv", "--pdeathsig", "KILL", "--", "./api", "--x"],
        )

    def test_everything(self) -> None:
        """Each setting has its program, and rights are given up last."""
        spec = ProcessSpec(
            ("api",),
            "/srv/api",
            (),
            user="www-data",
            umask=0o27,
            nice=-5,
            limits=ProcessLimits(open_files=10, processes=20, address_space_bytes=30),
        )
        self.assertEqual(
            command_line(spec, True, TOOLS, Identity(33, 44)),
            ["/setsid", "/env", "--chdir=/srv/api", "/sh", "-c", 'umask 0027 && exec "$@"', "sh"]
            + ["/nice", "-n", "-5", "/prlimit", "--nofile=10", "--nproc=20", "--as=30"]
            + ["/setpriv", "--reuid", "33", "--regid", "44", "--init-groups", "--pdeathsig", "KILL", "--", "api"],
        )

    def test_zero_is_a_setting(self) -> None:
        """A mask of 0, a niceness of 0 and a limit of 0 are not the same as none."""
        spec = ProcessSpec(("api",), "/", (), umask=0, nice=0, limits=ProcessLimits(address_space_bytes=0))
        line = command_line(spec, False, TOOLS)
        self.assertIn('umask 0000 && exec "$@"', line)
        self.assertIn("/nice", line)
        self.assertIn("--as=0", line)

    def test_groups(self) -> None:
        """Who stands in no user database, or is only given a group, has no further groups."""
        spec = ProcessSpec(("api",), "/", (), user="4711")
        self.assertIn("--clear-groups", command_line(spec, True, TOOLS, Identity(4711, 4711, known=False)))
        line = command_line(spec, True, TOOLS, Identity(None, 44))
        self.assertIn("--clear-groups", line)
        self.assertNotIn("--reuid", line)

    def test_unprivileged(self) -> None:
        """If the server may not become another user, that is said, with what to do."""
        for spec, asked in (
            (ProcessSpec(("api",), "/", (), user="www-data"), "user www-data"),
            (ProcessSpec(("api",), "/", (), group="www"), "group www"),
        ):
            fault = self.assertRaises(SpawnFault, command_line, spec, False, TOOLS, Identity(33, 33))
            self.assertIn(asked, fault.reason)
            self.assertIn("root", str(fault))

    def test_nothing_to_run(self) -> None:
        """An empty command is a fault."""
        for argv in ((), ("",)):
            self.assertRaises(SpawnFault, command_line, ProcessSpec(argv, "/", ()), True, TOOLS)


class Environments(SynchronousTestCase):
    """What a worker's environment is made of."""

    own = {"PATH": "/bin", "HOME": "/root", "LANG": "C.UTF-8", "TZ": "UTC", "SECRET": "s", "TMPDIR": "/t"}

    def test_secrets_stay(self) -> None:
        """Of the server's environment a worker gets a known few, and what I listed, which wins."""
        self.assertEqual(
            dict(worker_environment(self.own, [("A", "1"), ("HOME", "/srv")])),
            {"PATH": "/bin", "HOME": "/srv", "LANG": "C.UTF-8", "TZ": "UTC", "TMPDIR": "/t", "A": "1"},
        )

    def test_inherit(self) -> None:
        """If I ask for it, a worker gets everything."""
        self.assertEqual(dict(worker_environment(self.own, [("A", "1")], inherit=True)), {**self.own, "A": "1"})

    def test_defaults(self) -> None:
        """A server without PATH gives its workers one; a worker of another user has that user's home."""
        self.assertEqual(
            worker_environment({"HOME": "/root"}, home="/var/www"), (("HOME", "/var/www"), ("PATH", PATH_DEFAULT))
        )

    def test_addresses(self) -> None:
        """I can read where a worker listens."""
        self.assertEqual(str(Address("127.0.0.1", 9000)), "127.0.0.1:9000")
        self.assertEqual(str(Address(path="/run/x.sock")), "unix:/run/x.sock")
