"""Real processes: what is started, what is seen of it, and that nothing of it is left."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from unittest import skipUnless

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import LoopingCall
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tqserver.config.model import ProcessLimits
from tqserver.process import Address, Exit, Guard, ProcessSpec, Spawner, SpawnFault, measure
from tqserver.process.interfaces import IProcessObserver, IRunningProcess
from tqserver.process.output import LINE_COST, WINDOW_COST_MAX, WINDOW_S
from tqserver.process.ports import nobody_listens
from tqserver.process.probes import ConnectProbe, HTTPProbe, ProbeFault
from tqserver.process.watchman import read_stat

ENVIRONMENT = (("PATH", "/usr/local/bin:/usr/bin:/bin"),)
POLL_S = 0.02
ROOT = os.geteuid() == 0
PHP_FPM = shutil.which("php-fpm8.2") or shutil.which("php-fpm") or shutil.which("php-fpm8.4")


def is_gone(pid: int) -> bool:
    """Whether a process has ended, waited for or not."""
    entry = read_stat(pid)
    return entry is None or entry.dead


def until(condition: Callable[[], bool], timeout_s: float, what: str) -> Deferred[None]:
    """Look again and again until a condition holds."""
    deadline = time.monotonic() + timeout_s

    def look() -> None:
        if condition():
            loop.stop()
        elif time.monotonic() > deadline:
            raise AssertionError(f"after {timeout_s} s still not: {what}")

    loop = LoopingCall(look)
    return loop.start(POLL_S).addCallback(lambda _: None)


@implementer(IProcessObserver)
class Witness:
    """Writes down what it hears of one process."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.bytes_heard = 0
        self.notifications = 0
        self.exits: list[Exit] = []
        self._waiting: list[tuple[int, Deferred[None]]] = []
        self.ended: Deferred[Exit] = Deferred()

    def output(self, stream: str, lines: Sequence[bytes]) -> None:
        assert not self.exits, "output after the exit"
        self.bytes_heard += sum(map(len, lines))
        self.lines += [stream.encode() + b" " + line for line in lines]
        for entry in tuple(self._waiting):
            if len(self.lines) >= entry[0]:
                self._waiting.remove(entry)
                entry[1].callback(None)

    def notified(self) -> None:
        self.notifications += 1

    def exited(self, exit: Exit) -> None:
        self.exits.append(exit)
        if len(self.exits) == 1:
            self.ended.callback(exit)

    def when_lines(self, count: int) -> Deferred[None]:
        """Fires when it has heard so many lines."""
        waiting: Deferred[None] = Deferred()
        if len(self.lines) >= count:
            waiting.callback(None)
        else:
            self._waiting.append((count, waiting))
        return waiting


class ProcessCase(TestCase):
    """A spawner with its guard, both gone after the test."""

    timeout = 20

    def setUp(self) -> None:
        self.guard = Guard(reactor)
        self.guard.start()
        self.addCleanup(self.guard.stop)
        self.spawner = Spawner(reactor, self.guard)
        self.directory = os.path.realpath(tempfile.mkdtemp())
        self.addCleanup(os.rmdir, self.directory)

    def start(self, *argv: str, **settings: object) -> tuple[IRunningProcess, Witness]:
        """Start a process that is killed after the test, if it lives so long."""
        witness = Witness()
        spec = ProcessSpec(argv=argv, directory=self.directory, environment=ENVIRONMENT, **settings)
        process = self.spawner.spawn(spec, witness)

        def end() -> Deferred[None] | None:
            if process.signal_group("KILL"):
                return until(lambda: bool(witness.exits), 5, "the process ended")
            return None

        self.addCleanup(end)
        return process, witness

    def shell(self, script: str, **settings: object) -> tuple[IRunningProcess, Witness]:
        """Start a shell script."""
        return self.start("sh", "-c", script, **settings)

    def python(self, script: str, **settings: object) -> tuple[IRunningProcess, Witness]:
        """Start a Python script."""
        return self.start(sys.executable, "-u", "-c", textwrap.dedent(script), **settings)


class Starting(ProcessCase):
    """A process gets what its spec says, and nothing else."""

    async def test_output_and_exit_code(self) -> None:
        """I see the lines of both streams, and how the process ended, in that order."""
        process, witness = self.shell("echo one; echo two >&2; printf three; exit 3")
        self.assertEqual(witness.exits, [])
        ended = await witness.ended
        self.assertEqual((ended.code, ended.signal, ended.describe()), (3, None, "exit code 3"))
        self.assertLess(abs(ended.at - time.time()), 5)
        self.assertCountEqual(witness.lines, [b"stdout one", b"stderr two", b"stdout three"])
        self.assertCountEqual(process.last_lines(), ["one", "two", "three"])
        self.assertFalse(process.alive)
        self.assertFalse(process.signal_group("TERM"))

    async def test_settings(self) -> None:
        """Working directory, mask, niceness and limits are those of my worker.yaml."""
        _, witness = self.shell(
            "pwd; umask; nice; ulimit -n; ulimit -v",
            umask=0o027,
            nice=5,
            limits=ProcessLimits(open_files=123, processes=4000, address_space_bytes=1 << 30),
        )
        await witness.ended
        told = [line.removeprefix(b"stdout ").decode() for line in witness.lines]
        self.assertEqual(told, [self.directory, "0027", str(os.nice(0) + 5), "123", str(1 << 20)])

    async def test_environment_and_descriptors(self) -> None:
        """A worker sees no variable and no open file of the server that I did not give it."""
        with socket.socket() as listener:
            os.set_inheritable(listener.fileno(), True)
            _, witness = self.shell("env; ls /proc/$$/fd; readlink /proc/$$/fd/0")
        await witness.ended
        told = [line.removeprefix(b"stdout ").decode() for line in witness.lines]
        self.assertEqual(
            [line for line in told if not line.startswith(("PWD=", "_=", "OLDPWD="))],
            ["PATH=/usr/local/bin:/usr/bin:/bin", "0", "1", "2", "/dev/null"],
        )

    async def test_session(self) -> None:
        """A process leads a group and a session of its own, so that I can signal it with all its children."""
        process, witness = self.python("import os; print(os.getpid(), os.getpgrp(), os.getsid(0))")
        await witness.ended
        self.assertEqual(witness.lines, [b"stdout %d %d %d" % ((process.pid,) * 3)])

    async def test_server_is_not_copied(self) -> None:
        """Starting a worker does not fork the whole server."""

        def fork() -> int:
            raise AssertionError("forked")

        self.patch(os, "fork", fork)
        _, witness = self.start("true", umask=0o77, nice=1, limits=ProcessLimits(open_files=64), notify=True)
        self.assertEqual((await witness.ended).code, 0)

    @skipUnless(ROOT, "only root may become somebody else")
    async def test_user(self) -> None:
        """My worker runs as the user that I named, with that user's groups."""
        os.chmod(self.directory, 0o755)
        _, witness = self.shell("id -un; id -gn; id -Gn", user="nobody")
        await witness.ended
        self.assertEqual(witness.lines, [b"stdout nobody", b"stdout nogroup", b"stdout nogroup"])

    async def test_ready(self) -> None:
        """A worker that says on descriptor 3 that it is ready is heard, once."""
        _, witness = self.shell("printf x >&3; echo >&3; echo >&3; sleep 0.01; echo done", notify=True)
        await witness.ended
        self.assertEqual(witness.notifications, 1)
        self.assertEqual(witness.lines, [b"stdout done"])

    def test_missing_program(self) -> None:
        """A program that is not there is a fault that tells me what to do, not a process that dies."""
        with self.assertRaises(SpawnFault) as caught:
            self.start("no-such-program")
        self.assertIn("no-such-program is not in the worker's PATH", caught.exception.reason)
        self.assertIn("install", caught.exception.remedy)

    def test_impossible_environment(self) -> None:
        """A variable that no environment can hold is a fault too."""
        spec = ProcessSpec(("true",), self.directory, (*ENVIRONMENT, ("A", "nul\0")))
        self.assertRaises(SpawnFault, self.spawner.spawn, spec, Witness())


class Ending(ProcessCase):
    """Nothing is left of a process that has ended."""

    async def test_group_is_signalled(self) -> None:
        """A shell's children end with it, although only the shell is known to the server."""
        process, witness = self.shell("sleep 1000 & echo $!; sleep 1000 & echo $!; wait")
        await witness.when_lines(2)
        children = [int(line.split()[1]) for line in witness.lines]
        self.assertTrue(process.signal_group("TERM"))
        ended = await witness.ended
        self.assertEqual(ended.describe(), "killed by SIGTERM")
        await until(lambda: all(map(is_gone, children)), 2, "the children are gone")

    async def test_signal_at_once(self) -> None:
        """A worker that is stopped in the moment of its start ends, too."""
        process, witness = self.start("sleep", "1000")
        self.assertTrue(process.signal_group("TERM"))
        self.assertEqual((await witness.ended).signal, "TERM")

    async def test_leftovers_are_killed(self) -> None:
        """When a process ends and leaves children behind, those are killed, even if they ignore TERM."""
        _, witness = self.shell("(trap '' TERM; echo $$; sleep 1000) & echo $!; exit 0")
        began = time.monotonic()
        await witness.ended
        self.assertLess(time.monotonic() - began, 0.9, "it waited for a child that is dead")
        children = [int(line.split()[1]) for line in witness.lines]
        await until(lambda: all(map(is_gone, children)), 2, "the children are gone")

    async def test_own_group_within_the_session(self) -> None:
        """A child that made itself a process group of its own does not survive its parent either."""
        _, witness = self.python(
            """
            import os, subprocess
            print(subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL, preexec_fn=os.setpgrp).pid)
            """
        )
        await witness.ended
        child = int(witness.lines[0].split()[1])
        await until(lambda: is_gone(child), 3, "the child is gone")

    async def test_daemon_does_not_hold_us(self) -> None:
        """
        A daemon that left the session and kept the output open delays the news of the end by a second at
        most.
        """
        _, witness = self.python(
            """
            import subprocess
            print(subprocess.Popen(["sleep", "1000"], start_new_session=True).pid)
            """
        )
        await witness.when_lines(1)
        daemon = int(witness.lines[0].split()[1])
        self.addCleanup(os.kill, daemon, signal.SIGKILL)
        began = time.monotonic()
        await witness.ended
        self.assertLess(time.monotonic() - began, 3)
        self.assertFalse(is_gone(daemon))

    async def test_stopped_process(self) -> None:
        """A process that somebody stopped ends on TERM when it is continued."""
        process, witness = self.shell("echo here; exec sleep 1000")
        await witness.when_lines(1)
        process.signal_group("STOP")
        process.signal_group("TERM")
        self.assertEqual(witness.exits, [])
        process.signal_group("CONT")
        self.assertEqual((await witness.ended).signal, "TERM")

    async def test_kill(self) -> None:
        """What ignores TERM ends on KILL."""
        process, witness = self.shell("trap '' TERM; echo here; while :; do sleep 0.05; done")
        await witness.when_lines(1)
        process.signal_group("TERM")
        process.signal_group("KILL")
        self.assertEqual((await witness.ended).describe(), "killed by SIGKILL")

    async def test_many_at_once(self) -> None:
        """Many that end together are each told once."""
        witnesses = [self.shell(f"exit {number}")[1] for number in range(12)]
        await gatherResults([witness.ended for witness in witnesses])
        self.assertEqual([[exit.code for exit in witness.exits] for witness in witnesses], [[n] for n in range(12)])


class Flooding(ProcessCase):
    """A worker cannot drown the server in output."""

    async def test_yes(self) -> None:
        """While a worker writes as fast as it can, the server reads a bounded amount and stays awake."""
        process, witness = self.start("yes")
        await witness.when_lines(1)
        began, turns = time.monotonic(), 0

        def turn() -> None:
            nonlocal turns
            turns += 1

        loop = LoopingCall(turn)
        loop.start(0.01)
        lines_before = len(witness.lines)
        await until(lambda: time.monotonic() - began > 0.5, 5, "half a second is over")
        loop.stop()
        windows = (time.monotonic() - began) / WINDOW_S + 1
        # One read may go over the limit, and is waited for afterwards.
        cost = (len(witness.lines) - lines_before) * LINE_COST
        self.assertLessEqual(cost, windows * WINDOW_COST_MAX + (1 << 20))
        self.assertGreater(turns, 10)
        process.signal_group("KILL")
        self.assertEqual((await witness.ended).signal, "KILL")

    async def test_last_words_of_a_flood(self) -> None:
        """When a process floods and dies, all that is still in the pipe is read before I hear of its end."""
        _, witness = self.shell("yes | head -n 20000; echo last words")
        await witness.ended
        self.assertEqual(len(witness.lines), 20001)
        self.assertEqual(witness.lines[-1], b"stdout last words")

    async def test_endless_line(self) -> None:
        """A line that does not end comes in pieces."""
        _, witness = self.shell("head -c 100000 /dev/zero | tr '\\0' x")
        await witness.ended
        self.assertEqual(len(witness.lines), 7)
        self.assertTrue(witness.lines[0].endswith(b"x [continued]"))


SERVER = """
import os, sys
from twisted.internet import reactor
from zope.interface import implementer
from tqserver.process import Guard, ProcessSpec, Spawner
from tqserver.process.interfaces import IProcessObserver

@implementer(IProcessObserver)
class Echo:
    def output(self, stream, lines):
        for line in lines:
            sys.stdout.write(line.decode() + "\\n")
            sys.stdout.flush()
    def notified(self): pass
    def exited(self, exit): pass

guard = Guard(reactor)
guarded, user = sys.argv[1] == "guarded", sys.argv[2] or None
if sys.argv[1] != "alone":
    guard.start()
    print(guard.pid)
spawner = Spawner(reactor, guard)
scripts = [
    "trap '' TERM; sleep 1000 & echo $!; echo $$; wait",
    "exec %s -u -c 'import os, subprocess; print(os.getpid());"
    " print(subprocess.Popen([\\"sleep\\", \\"1000\\"], preexec_fn=os.setpgrp).pid); os.kill(os.getpid(), 19)'"
    % sys.executable,
] if guarded else ["echo $$; exec " + (sys.argv[3] or "sleep 1000")]
for script in scripts:
    spawner.spawn(ProcessSpec(("sh", "-c", script), "/", tuple(os.environ.items()), user=user), Echo())
reactor.run()
"""


class Reader(ProcessProtocol):
    """Reads the process ids that the server under test prints."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.text = b""
        self.errors = b""
        self.complete: Deferred[list[int]] = Deferred()
        self.ended: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        self.text += data
        if self.text.count(b"\n") == self.count and not self.complete.called:
            self.complete.callback([int(line) for line in self.text.split()])

    def errReceived(self, data: bytes) -> None:
        self.errors += data

    def processEnded(self, reason: object) -> None:
        self.ended.callback(None)
        if not self.complete.called:
            self.complete.errback(AssertionError(f"the server ended: {self.errors.decode()}"))


class ServerIsKilled(TestCase):
    """After kill -9 of the server nothing of it is left."""

    timeout = 30

    def serve(self, kind: str, user: str, count: int, command: str = "") -> Reader:
        """Start a small server; it prints as many process ids."""
        reader = Reader(count)
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        environment = {**os.environ, "PYTHONPATH": root}
        argv = [sys.executable, "-c", SERVER, kind, user, command]
        reactor.spawnProcess(reader, argv[0], argv, environment)
        self.addCleanup(lambda: reader.ended)
        self.addCleanup(self.kill, reader)
        return reader

    def kill(self, reader: Reader) -> None:
        """Kill the server, if it has not ended."""
        if reader.transport.pid is not None:
            os.kill(reader.transport.pid, signal.SIGKILL)

    async def test_everything_is_gone(self) -> None:
        """
        Children that ignore TERM, grandchildren, stopped ones and those with a group of their own: all gone.
        """
        reader = self.serve("guarded", "", 5)
        pids = await reader.complete
        self.assertEqual(len(set(pids)), 5)
        self.assertFalse(any(map(is_gone, pids)))
        self.kill(reader)
        await until(lambda: all(map(is_gone, pids)), 5, "everything is gone")

    @skipUnless(PHP_FPM, "needs php-fpm")
    async def test_php(self) -> None:
        """So are php-fpm and all its children, which run as another user than the server."""
        folder = os.path.abspath(self.mktemp())
        os.mkdir(folder)
        config = os.path.join(folder, "fpm.conf")
        user = "user = nobody\ngroup = nogroup\n" if ROOT else ""
        with open(config, "w") as file:
            file.write(
                f"[global]\nerror_log = {folder}/log\n[pool]\nlisten = {folder}/php.sock\n{user}"
                "pm = static\npm.max_children = 3\n"
            )
        reader = self.serve("php", "", 2, f"{PHP_FPM} -n -F -y {config}")
        watchman, master = await reader.complete
        await until(lambda: measure([master])[master].processes == 4, 10, "php-fpm has three children")
        self.kill(reader)
        await until(lambda: not measure([master]) and is_gone(watchman), 5, "everything is gone")

    async def test_direct_child_without_guard(self) -> None:
        """A direct child is gone even if the guard was killed as well."""
        reader = self.serve("alone", "", 1)
        pids = await reader.complete
        self.kill(reader)
        await until(lambda: all(map(is_gone, pids)), 5, "the child is gone")

    @skipUnless(ROOT, "only root may become somebody else")
    async def test_direct_child_of_another_user(self) -> None:
        """So is one that runs as another user, which would clear the signal if it were set too early."""
        reader = self.serve("alone", "nobody", 1)
        pids = await reader.complete
        self.kill(reader)
        await until(lambda: all(map(is_gone, pids)), 5, "the child is gone")


class Guarding(ProcessCase):
    """The guard itself is guarded."""

    async def test_guard_is_replaced(self) -> None:
        """
        When the watchman is killed, another one takes over and knows everything; and no worker has noticed.
        """
        process, witness = self.python(
            """
            import os, subprocess, sys
            print(subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL, preexec_fn=os.setpgrp).pid)
            sys.stdin.close()
            import time; time.sleep(1000)
            """
        )
        await witness.when_lines(1)
        child = int(witness.lines[0].split()[1])
        first = self.guard.pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: self.guard.pid not in (None, first), 5, "there is another watchman")
        self.assertTrue(process.alive)
        self.assertFalse(is_gone(child))
        process.signal_group("KILL")
        await witness.ended
        await until(lambda: is_gone(child), 3, "the child in its own group is gone")

    async def test_deaf_to_signals(self) -> None:
        """
        A Ctrl-C on the terminal, or a TERM to every process, does not end the watchman before the server.
        """
        # It has said that it is there when it has killed what a process of ours left.
        _, witness = self.shell("exit 0")
        await witness.ended
        pid = self.guard.pid
        await until(lambda: os.getsid(pid) == pid, 5, "the watchman has its own session")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(pid, number)
        _, witness = self.python(
            """
            import os, subprocess
            print(subprocess.Popen(["sleep", "1000"], stdout=subprocess.DEVNULL, preexec_fn=os.setpgrp).pid)
            """
        )
        await witness.ended
        child = int(witness.lines[0].split()[1])
        await until(lambda: is_gone(child), 3, "the watchman still works")
        self.assertEqual(self.guard.pid, pid)

    async def test_stop(self) -> None:
        """After an orderly stop there is no watchman."""
        pid = self.guard.pid
        await self.guard.stop()
        self.assertTrue(is_gone(pid))
        self.assertIsNone(self.guard.pid)


class Measuring(ProcessCase):
    """I see what a worker uses, its children included."""

    async def test_session_is_summed(self) -> None:
        """Memory and processor time are those of the whole session."""
        process, witness = self.python(
            """
            import subprocess, sys
            block = b"x" * (32 << 20)
            child = "block = b'x' * (32 << 20); print(1); import time; time.sleep(1000)"
            subprocess.Popen([sys.executable, "-u", "-c", child]).wait()
            """
        )
        await witness.when_lines(1)
        usage = measure([process.pid, 999_999_999])
        self.assertEqual(list(usage), [process.pid])
        self.assertEqual(usage[process.pid].processes, 2)
        self.assertGreater(usage[process.pid].memory_bytes, 64 << 20)
        self.assertGreater(usage[process.pid].cpu_s, 0)
        self.assertEqual(measure([]), {})


class Asking(ProcessCase):
    """Probes and ports against real sockets."""

    def test_listener_is_noticed(self) -> None:
        """A port is free for us only if nobody listens on it, on any address, however shared he made it."""
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            with socket.socket(family) as listener:
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
                listener.bind((address, 0))
                listener.listen()
                port = listener.getsockname()[1]
                self.assertFalse(nobody_listens(port), address)
            self.assertTrue(nobody_listens(port), address)

    def test_remains_of_connections(self) -> None:
        """A port whose last owner closed connections, which now are in TIME-WAIT, is free."""
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            address = listener.getsockname()
            with socket.create_connection(address) as client:
                accepted, _ = listener.accept()
                accepted.close()
                self.assertEqual(client.recv(1), b"")
        with socket.socket() as strict, self.assertRaises(OSError):
            strict.bind(address)
        self.assertTrue(nobody_listens(address[1]))

    async def test_probes(self) -> None:
        """A server that answers is well, over TCP and over a UNIX socket; one that is not there is not."""
        process, witness = self.python(
            """
            import http.server, socketserver, threading
            class Answer(http.server.BaseHTTPRequestHandler):
                def do_GET(self):
                    self.send_response(200 if self.path == "/health" else 503)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"ok")
                def log_message(self, *arguments): pass
            class Local(socketserver.ThreadingUnixStreamServer): pass
            class Quiet(Answer):
                def setup(self):
                    super().setup()
                    self.client_address = ("local", 0)
            local = Local("web.sock", Quiet)
            threading.Thread(target=local.serve_forever, daemon=True).start()
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
            print(server.server_port)
            server.serve_forever()
            """
        )
        path = os.path.join(self.directory, "web.sock")
        self.addCleanup(os.unlink, path)
        await witness.when_lines(1)
        tcp = Address("127.0.0.1", int(witness.lines[0].split()[1]))
        for address in (tcp, Address(path=path)):
            self.assertIsNone(await HTTPProbe(address, "/health", 5, reactor).check())
            self.assertIsNone(await ConnectProbe(address, 5, reactor).check())
            fault = await self.assertFailure(HTTPProbe(address, "/x", 5, reactor).check(), ProbeFault)
            self.assertEqual(fault.reason, "GET /x was answered with 503")
        process.signal_group("KILL")
        await witness.ended
        for address in (tcp, Address(path=path)):
            for probe in (HTTPProbe(address, "/health", 5, reactor), ConnectProbe(address, 5, reactor)):
                fault = await self.assertFailure(probe.check(), ProbeFault)
                self.assertIn("no connection", fault.reason)
