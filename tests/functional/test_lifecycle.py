"""The whole server, from outside: starting, stopping, crashing, scaling, replacing, with real processes."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from pathlib import Path

from bench.project import alive
from bench.wire import Lost
from tests.functional.running import APP, WORKER_YAML, Running, RunningCase
from tests.functional.streams import Stream


def app(*lines: str, source: str = APP, name: str = "app") -> dict[str, dict[str, str]]:
    """One worker with more lines of configuration."""
    return {name: {"config/worker.yaml": WORKER_YAML + "".join(f"{line}\n" for line in lines), "app.py": source}}


class Clients:
    """Clients with kept connections that ask all the time and account for each request."""

    def __init__(self, running: Running, count: int = 8, path: str = "/version", post_path: str = "/echo") -> None:
        self.statuses: Counter[str] = Counter()
        self.lost: list[str] = []
        self.stopping = False
        self._running = running
        self._path = path
        self._post_path = post_path
        self._threads = [threading.Thread(target=self._ask) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self) -> None:
        connection = self._running.connection()
        while not self.stopping:
            body = os.urandom(1000)
            try:
                if connection.ask("POST", self._post_path, body).body != body:
                    self.lost.append("another body")
                response = connection.ask("GET", self._path)
            except Lost as lost:
                if lost.how == "refused" and self.stopping:
                    break
                self.lost.append(str(lost))
                if lost.how == "refused":
                    break
            else:
                self.statuses[f"{response.status} {response.body[:20]!r}"] += 1
        connection.close()

    @property
    def served(self) -> int:
        """How many answers have come so far."""
        return sum(list(self.statuses.values()))

    def end(self) -> None:
        """Ask no more."""
        self.stopping = True
        for thread in self._threads:
            thread.join()


class StartTests(RunningCase):
    """Starting, and what keeps from it."""

    def test_check(self) -> None:
        """--check says whether the configuration is good, and if not tells every problem with its line, and exits 1."""
        running = Running()
        self.addCleanup(running.end)
        good = running.run("--check")
        self.assertEqual((good.returncode, good.stderr), (0, ""))
        running.edit("etc/server.yaml", "fronts: 2", "fronts: two\n  hots: x")
        running.write("workers/app/config/worker.yaml", "path: /\ntype: pyhton\n")
        bad = running.run("--check")
        self.assertEqual(bad.returncode, 1)
        for words in ("server.yaml:5: server.fronts", "server.yaml:6: server.hots", "did you mean"):
            self.assertIn(words, bad.stderr)
        running.edit("etc/server.yaml", "fronts: two\n  hots: x", "fronts: 1")
        bad = running.run("--check")
        self.assertEqual(bad.returncode, 1)
        self.assertIn("worker.yaml:2: type", bad.stderr)

    def test_second_server(self) -> None:
        """A second server on the same project is refused, with the first one's process; the first goes on."""
        running = self.serve()
        second = running.run()
        self.assertEqual(second.returncode, 1)
        self.assertIn(f"process {running.pid} on ", second.stderr)
        self.assertEqual(running.get("/version").status, 200)

    def test_taken_port(self) -> None:
        """A port that is taken is told with a remedy, and nothing is started."""
        running = Running()
        self.addCleanup(running.end)
        with socket.create_server(("127.0.0.1", running.port)):
            refused = running.run()
        self.assertEqual(refused.returncode, 1)
        self.assertIn("Address already in use", refused.stderr)
        self.assertNotIn("Traceback", refused.stderr)

    def test_quiet(self) -> None:
        """--quiet keeps the log off the terminal; the file has it."""
        running = Running("log_file: logs/server.log\n")
        self.addCleanup(running.end)
        running.start("--quiet")
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        self.assertEqual(running.output(), "")
        self.assertIn("serving", (running.directory / "logs/server.log").read_text())


class StopTests(RunningCase):
    """Stopping, well and badly."""

    def test_stop_under_load(self) -> None:
        """A stop under load loses nothing, exits 0, leaves no process; the next server starts at once on its port."""
        running = self.serve()
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        slow = threading.Thread(target=lambda: answers.append(running.get("/slow/1.5").status))
        answers: list[int] = []
        slow.start()
        clients = Clients(running)
        self.when("they are served", lambda: clients.served > 20, running)
        pids = running.processes()
        clients.stopping = True
        running.signal("TERM")
        assert running.process is not None
        code = running.process.wait(30)
        slow.join()
        clients.end()
        self.assertEqual((code, clients.lost, answers), (0, [], [200]))
        self.assertEqual(list(filter(alive, pids)), [])
        running.start()
        self.when("it serves again", lambda: running.get("/version").status == 200, running)

    def test_killed_supervisor(self) -> None:
        """After kill -9 of the supervisor each worker, grandchild and front is gone in 5 s, and a new one starts."""
        source = "import subprocess, sys\nsubprocess.Popen(['sleep', '1000'])\n" + APP
        running = self.serve(workers=app(source=source))
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        pids = running.processes()
        self.assertGreater(len(pids), 4)
        running.signal("KILL")
        self.gone(pids, running, 5.0)
        assert running.process is not None
        running.process.wait()
        running.start()
        self.when("it serves again", lambda: running.get("/version").status == 200, running)


class FrontTests(RunningCase):
    """Fronts come and go."""

    def test_killed_front(self) -> None:
        """A front that is killed is replaced; what waited to be accepted is served by its successor."""
        running = self.serve()
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        old = running.fronts()
        for pid in old:
            os.kill(pid, signal.SIGSTOP)
        waiting = [Stream(running) for _ in range(8)]
        for stream in waiting:
            self.addCleanup(stream.close)
            stream.request("GET", "/version")  # The kernel has it, and nobody else.
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        self.assertEqual([stream.head()[0] for stream in waiting], [200] * 8)
        # All eight may have been with the same one.
        self.when("all are new", lambda: len(set(running.fronts()) - set(old)) == len(running.fronts()) == 2, running)

    def test_replaced_fronts(self) -> None:
        """USR2 replaces all fronts under load and loses nothing."""
        running = self.serve()
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        old = set(running.fronts())
        clients = Clients(running)
        self.when("they are served", lambda: clients.served > 20, running)
        running.signal("USR2")
        self.when("all fronts are new", lambda: len(running.fronts()) == 2 and not old & set(running.fronts()), running)
        before = clients.served
        self.when("they are served by these", lambda: clients.served > before + 20, running)
        clients.end()
        self.assertEqual(clients.lost, [])
        self.assertEqual(set(clients.statuses), {"200 b'1'"})

    def test_reopened_logs(self) -> None:
        """After USR1 the logs go into new files, as logrotate wants it."""
        running = self.serve("access_log: logs/access.log\nlog_file: logs/server.log\n")
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        log = running.directory / "logs/access.log"
        self.when("the request is logged", lambda: "GET /version" in log.read_text(), running)
        log.rename(running.directory / "logs/access.old")
        running.signal("USR1")
        self.when("new lines are in a new file", lambda: running.get("/pid") and "/pid" in log.read_text(), running)


class WorkerTests(RunningCase):
    """What becomes of instances."""

    def state(self, running: Running, state: str) -> None:
        """Wait until the worker is in a state."""
        self.when(f"the worker is {state}", lambda: running.worker()["state"] == state, running)

    def test_saved(self) -> None:
        """A save is served in a moment, under load, without a loss; a broken one changes nothing and is told."""
        running = self.serve()
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        clients = Clients(running)
        running.edit("workers/app/app.py", 'VERSION = b"1"', 'VERSION = b"2"')
        self.when("the new version answers", lambda: running.get("/version").body == b"2", running)
        running.edit("workers/app/app.py", 'VERSION = b"2"', "VERSION = (")
        self.when("the mistake is told", lambda: running.worker()["build"]["state"] == "failed", running)  # type: ignore[index]
        self.assertIn("SyntaxError", str(running.worker()["build"]))
        self.assertEqual(running.get("/version").body, b"2")
        running.edit("workers/app/app.py", "VERSION = (", 'VERSION = b"3"')
        self.when("the mended version answers", lambda: running.get("/version").body == b"3", running)
        clients.end()
        self.assertEqual(clients.lost, [])
        self.assertLessEqual(set(clients.statuses), {"200 b'1'", "200 b'2'", "200 b'3'"})

    def test_data_is_no_source(self) -> None:
        """A worker that writes into its own data folder never restarts itself; nor does another worker's save."""
        workers = app() | {"other": {"config/worker.yaml": "path: /other\ntype: python\n", "app.py": APP}}
        running = self.serve(workers=workers)
        self.when("both serve", lambda: running.get("/pid").status == running.get("/other/pid").status == 200, running)
        pid, other = running.get("/pid").body, running.get("/other/pid").body
        for number in range(5):
            running.write(f"workers/app/data/{number}", "x")
        running.edit("workers/other/app.py", 'VERSION = b"1"', 'VERSION = b"2"')
        self.when("the other is new", lambda: running.get("/other/version").body == b"2", running)
        self.assertEqual(running.get("/pid").body, pid)
        self.assertNotEqual(running.get("/other/pid").body, other)

    def test_killed_idle(self) -> None:
        """An idle instance that is killed is replaced; requests wait for the new one and are not failed."""
        running = self.serve()
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        for _ in range(3):
            os.kill(int(running.get("/pid").body), signal.SIGKILL)
            self.assertEqual(running.get("/version").status, 200)
        (instance,) = running.instances()
        self.assertEqual(running.worker()["state"], "healthy")
        self.assertIn("SIGKILL", str(instance["last_exit"]) + str(running.worker()))

    def test_crash_loop(self) -> None:
        """A worker that cannot start is held, status says why with its last words, and a save sets it free."""
        source = APP.replace('VERSION = b"1"', 'sys.exit("no database")')
        running = self.serve(workers=app("restart: {backoff_initial_ms: 5, max_deaths: 2}", source=source))
        self.state(running, "held")
        worker = str(running.worker())
        self.assertIn("exit code 1", worker)
        self.assertIn("no database", worker)
        refused = running.get("/version")
        self.assertEqual(refused.status, 503)
        self.assertIn(b"no database", refused.body)
        running.write("workers/app/app.py", APP)
        self.when("it serves", lambda: running.get("/version").status == 200, running)

    def test_on_demand(self) -> None:
        """With min_workers 0 the first request starts the worker, and it stops when it is idle."""
        running = self.serve(workers=app("scaling: {min_workers: 0, max_workers: 1, scale_down_delay: 1}"))
        self.state(running, "idle")
        self.assertEqual(running.instances(), [])
        self.assertEqual(running.get("/version").status, 200)
        self.assertEqual(len(running.instances()), 1)
        self.when("it has stopped", lambda: running.instances() == [], running)
        self.assertEqual(running.get("/version").status, 200)

    def test_scaling(self) -> None:
        """Requests that wait bring more instances, up to the limit; idleness takes them away again, losing nothing."""
        running = self.serve(
            workers=app("scaling: {min_workers: 1, max_workers: 3, max_concurrency: 1, scale_down_delay: 1}")
        )
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        clients = Clients(running, count=10, path="/slow/0.1")
        self.when("there are three", lambda: len(running.instances()) == 3, running)
        before, seen = clients.served, {3}

        def served_for_a_while() -> bool:
            seen.add(len(running.instances()))
            return clients.served > before + 30  # Each takes an instance 100 ms.

        self.when("they are served by three", served_for_a_while, running)
        self.assertEqual(seen, {3})
        clients.end()
        self.assertEqual(clients.lost, [])
        self.assertEqual(set(clients.statuses), {"200 b'ok'"})
        self.when("there is one", lambda: len(running.instances()) == 1, running)

    def test_max_requests(self) -> None:
        """An instance that has served its number is replaced by one that was ready before, losing nothing."""
        running = self.serve(workers=app("max_requests: 50"))
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        clients = Clients(running, count=4, path="/pid")
        self.when("several have served", lambda: len(clients.statuses) >= 3, running)
        clients.end()
        self.assertEqual(clients.lost, [])
        self.assertEqual({status[:3] for status in clients.statuses}, {"200"})

    def test_max_age(self) -> None:
        """An instance that has become old is replaced by one that was ready before, losing nothing."""
        running = self.serve(workers=app("max_age_seconds: 1"))
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        clients = Clients(running, count=4, path="/pid")
        self.when("several have served", lambda: len(clients.statuses) >= 3, running)
        clients.end()
        self.assertEqual(clients.lost, [])
        self.assertEqual({status[:3] for status in clients.statuses}, {"200"})

    def test_max_memory(self) -> None:
        """An instance that has grown too large is replaced, for which its reason is told."""
        source = APP.replace('VERSION = b"1"', 'VERSION = b"1"\nhoard = b"x" * (64 << 20)')
        running = self.serve(workers=app("max_memory: 32M", source=source))
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        pid = running.get("/pid").body
        self.when("another serves", lambda: running.get("/pid").body != pid, running, 40.0)
        self.assertIn("memory", running.output())

    def test_unhealthy(self) -> None:
        """An instance that says it is not well leaves the routing and is replaced; clients see only waiting."""
        running = self.serve(
            workers=app("health: {interval_seconds: 0.1, failures: 2}", "restart: {backoff_initial_ms: 10}")
        )
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        pid = running.get("/pid").body
        running.get("/sicken")
        self.when("another serves", lambda: running.get("/pid").body not in (pid, b""), running)
        self.assertEqual(running.get("/version").status, 200)

    def test_flood(self) -> None:
        """A worker that floods its log cannot stall the server, and its neighbour stays quick."""
        flood = "import os\nwhile True: os.write(1, b'all work and no play ' * 3000 + b'\\n')\n"
        workers = app() | {
            "flood": {"config/worker.yaml": "path: /flood\ntype: python\nhealth: {type: none}\n", "app.py": flood}
        }
        running = self.serve(workers=workers)
        self.when("the flood runs", lambda: running.worker("flood")["state"] == "healthy", running)
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        began = time.monotonic()
        for _ in range(50):
            self.assertEqual(running.get("/version").status, 200)
            running.status()
        self.assertLess(time.monotonic() - began, 10.0)
        (log,) = Path(running.directory / "logs").glob("worker_flood_*.log")
        self.assertLessEqual(max(map(len, log.read_text().splitlines()[:50])), 17_000)

    def test_stubborn(self) -> None:
        """A worker that ignores TERM is killed after its grace, with its children, and the server still stops well."""
        source = (
            "import signal, subprocess\nsubprocess.Popen(['sh', '-c', 'trap \"\" TERM; sleep 1000'])\n"
            + APP.replace(
                "signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())",
                "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
            )
        )
        running = self.serve(workers=app("shutdown_grace_period_ms: 200", source=source))
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        pids = running.processes()
        running.signal("TERM")
        assert running.process is not None
        self.assertEqual(running.process.wait(20), 0)
        self.assertEqual(list(filter(alive, pids)), [])


class ConfigurationTests(RunningCase):
    """Configuration while the server runs."""

    def test_reload(self) -> None:
        """A changed worker.yaml is applied at once; another environment swaps the process, another limit needs none."""
        running = self.serve()
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        clients = Clients(running)
        running.write("workers/app/config/worker.yaml", WORKER_YAML + "environment: {COLOUR: blue}\n")
        self.when("the new environment is there", lambda: running.get("/environment/COLOUR").body == b"blue", running)
        pid = running.get("/pid").body
        running.write(
            "workers/app/config/worker.yaml",
            WORKER_YAML + "environment: {COLOUR: blue}\nrequest_timeout_seconds: 0.3\n",
        )
        self.when("the new limit holds", lambda: running.get("/slow/0.6").status == 504, running)
        self.assertEqual(running.get("/pid").body, pid)
        clients.end()
        self.assertEqual(clients.lost, [])
        self.assertEqual(set(clients.statuses), {"200 b'1'"})

    def test_broken_files(self) -> None:
        """A broken file changes nothing and is told; mending it is enough."""
        running = self.serve()
        self.when("it serves", lambda: running.get("/version").status == 200, running)
        server = (running.directory / "etc/server.yaml").read_text()
        running.write("etc/server.yaml", server + "nonsense: 1\n")
        self.when("it is told", lambda: "nonsense" in str(running.status()["config"]), running)
        self.assertEqual(running.get("/version").status, 200)
        running.write("etc/server.yaml", server)
        self.when("it is good again", lambda: not running.status()["config"]["problems"], running)  # type: ignore[index]
        running.write("workers/app/config/worker.yaml", "path: [")
        self.when("it is told", lambda: "worker.yaml" in str(running.worker()), running)
        self.assertEqual(running.get("/version").status, 200)

    def test_workers_come_and_go(self) -> None:
        """A new folder is a new worker; a removed folder is none."""
        running = self.serve(workers={})
        self.assertEqual(running.get("/shop/version").status, 404)
        running.write("workers/shop/app.py", APP)
        running.write("workers/shop/config/worker.yaml", "path: /shop\n")
        self.when("it serves", lambda: running.get("/shop/version").status == 200, running)
        pids = [instance["pid"] for instance in running.instances("shop")]
        for path in sorted((running.directory / "workers/shop").rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        (running.directory / "workers/shop").rmdir()
        self.when("it is gone", lambda: running.get("/shop/version").status == 404, running)
        self.gone(pids, running, 10.0)  # type: ignore[arg-type]

    def test_hang_up_in_production(self) -> None:
        """In production nothing is watched; HUP finds what changed and swaps it, and only that."""
        workers = app() | {"other": {"config/worker.yaml": "path: /other\ntype: python\n", "app.py": APP}}
        running = Running(workers=workers)
        self.addCleanup(running.end)
        running.edit("etc/server.yaml", "server:", "mode: production\nserver:")
        running.start()
        self.when("both serve", lambda: running.get("/pid").status == running.get("/other/pid").status == 200, running)
        other = running.get("/other/pid").body
        running.edit("workers/app/app.py", 'VERSION = b"1"', 'VERSION = b"2"')
        # Nothing comes of it that could be waited for. A watcher would have told by now, and a swap have begun.
        time.sleep(0.5)
        self.assertEqual((running.get("/version").body, running.worker()["generation"]), (b"1", 1))
        running.signal("HUP")
        self.when("the new version answers", lambda: running.get("/version").body == b"2", running)
        self.assertEqual(running.get("/other/pid").body, other)
