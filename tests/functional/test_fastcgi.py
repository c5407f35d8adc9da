"""Real php-fpm: what only it can tell us."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable

from msgspec import structs
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, inlineCallbacks
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest, TestCase

from tests.front.fakes import FakeExchange, request_head
from tqserver.build.php_pool import command, render, write
from tqserver.config.model import PHPConfig, PHPPoolConfig, ProcessConfig, RouteConfig, WorkerConfig
from tqserver.errors import Fault, Unreachable
from tqserver.fastcgi.ping import ping
from tqserver.fastcgi.pool import AGE_S
from tqserver.front.forward_fastcgi import FastCGIForwarder
from tqserver.front.forwarded import Forwarding
from tqserver.front.told_cgi import CGIWords
from tqserver.http1.head import RequestHead
from tqserver.http1.sweep import Sweep
from tqserver.plane.messages import Endpoint, FastCGITarget, WorkerRouting

SEARCH_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"

NAMES = ("php-fpm8.4", "php-fpm8.3", "php-fpm8.2", "php-fpm")

BINARY = next((path for name in NAMES if (path := shutil.which(name, path=SEARCH_PATH))), None)

DEADLINE_S = 20.0

SCRIPTS = {
    "index.php": "<?php echo 'front ', $_SERVER['SCRIPT_NAME'], ' ', $_SERVER['REQUEST_URI'], ' ',"
    " $_SERVER['PHP_SELF'], ' ', $_SERVER['PATH_INFO'] ?? 'none';",
    "info.php": "<?php header('Content-Type: application/json'); echo json_encode([$_SERVER, getenv(),"
    " ini_get('user_agent'), ini_get('disable_functions'), error_reporting()]);",
    "echo.php": "<?php $body = file_get_contents('php://input'); header('X-Length: ' . strlen($body));"
    " header('X-MD5: ' . md5($body)); echo $body;",
    "cookies.php": "<?php setcookie('a', '1'); setcookie('b', '2'); header('X-Pid: ' . getmypid());",
    "redirect.php": "<?php header('Location: /blog/there'); setcookie('seen', 'yes');",
    "slow.php": "<?php sleep(30); echo 'late';",
    "nap.php": "<?php usleep(150000); echo getmypid();",
    "killed.php": "<?php header('X-Pid: ' . getmypid()); echo str_repeat('x', 100000); flush(); sleep(30);",
    "die.php": "<?php file_put_contents($_SERVER['QUERY_STRING'], getmypid()); sleep(30);",
    "big.php": "<?php $block = str_repeat('0123456789abcdef', 65536);"
    " for ($i = 0; $i < 40; $i++) { echo $block; flush(); }",
    "warn.php": "<?php error_log('one line'); error_log('another'); echo 'fine';",
    "shout.php": "<?php $err = fopen('php://stderr', 'w'); fwrite($err, \"heard\\n\"); echo 'fine';",
    "status.php": "<?php http_response_code(404); echo 'no';",
    "lazy.php": "<?php echo 'early';",
    "pid.php": "<?php echo getmypid();",
    "admin/index.php": "<?php echo 'admin';",
}


class Pool:
    """A php-fpm of our own in a temporary directory."""

    def __init__(self, worker: WorkerConfig, directory: str, environment: tuple[tuple[str, str], ...]) -> None:
        self.socket = os.path.join(directory, "fpm.sock")
        root = os.geteuid() == 0
        text = render(worker, socket=self.socket, environment=environment, development=True, root=root)
        path = write(os.path.join(directory, "private"), "php-fpm.conf", text)
        assert BINARY is not None
        self.log = os.path.join(directory, "log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                command(worker, BINARY, path, root=root),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **dict(environment)},
                start_new_session=True,
            )

    def output(self) -> str:
        """What php-fpm has said."""
        with open(self.log) as file:
            return file.read()

    def stop(self) -> None:
        """End the master and all its children."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def later(seconds: float) -> Deferred[None]:
    """Some time passes."""
    return deferLater(reactor, seconds, lambda: None)  # type: ignore[arg-type]


@inlineCallbacks
def until(condition: Callable[[], object], what: str):  # type: ignore[no-untyped-def]
    """Something becomes true, or the test fails."""
    deadline = reactor.seconds() + DEADLINE_S  # type: ignore[attr-defined]
    while not condition():
        if reactor.seconds() > deadline:  # type: ignore[attr-defined]
            raise AssertionError(f"never: {what}")
        yield later(0.01)


class Outcome:
    """What the forwarder said of an exchange."""

    def __init__(self) -> None:
        self.fault: Fault | None = None
        self.retryable = False
        self.over: Deferred[None] = Deferred()

    def done(self, fault: Fault | None, retryable: bool, status: int = 0, /) -> None:
        """The forwarder's callback."""
        self.fault, self.retryable = fault, retryable
        # The answer is handed over next.
        reactor.callLater(0, self.over.callback, None)  # type: ignore[attr-defined]


class PHPCase(TestCase):
    """A PHP worker behind our FastCGI client."""

    timeout = 60
    pool_config = PHPPoolConfig(manager="static", workers_max=2)
    settings: tuple[tuple[str, str], ...] = (("user_agent", 'it\'s "quoted"; ${HOME}'), ("disable_functions", ""))
    environment: tuple[tuple[str, str], ...] = (
        ("PLAIN", "value"),
        ("EMPTY", ""),
        ("LINES", "one\ntwo\n[worker]\nuser = nobody"),
        ("DOLLAR", "$HOME"),
        ("POOL", "a $pool b"),
        ("NASTY", "a;b \"c\" 'd' ${HOME} \\ # = [x] ü"),
    )

    @inlineCallbacks
    def setUp(self):  # type: ignore[no-untyped-def]
        if BINARY is None:
            if os.environ.get("CI"):
                self.fail("php-fpm is not installed")
            raise SkipTest("php-fpm is not installed: apt install php-fpm")
        directory = tempfile.mkdtemp(prefix="tqs-", dir="/tmp")
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        public = os.path.join(directory, "public")
        for name, text in SCRIPTS.items():
            path = os.path.join(public, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(text)
        worker = WorkerConfig(
            name="blog",
            directory=directory,
            file=f"{directory}/config/worker.yaml",
            routes=(RouteConfig(prefix="/blog"),),
            type="php",
            process=ProcessConfig(),
            php=PHPConfig(document_root=public, settings=self.settings, pool=self.pool_config),
        )
        self.directory = directory
        self.worker = worker
        self.fpm = Pool(worker, directory, self.environment)
        self.addCleanup(self.fpm.stop)
        self.said: list[str] = []
        self.words = CGIWords(Forwarding((), os.urandom))
        self.sweep = Sweep(reactor, 0.05)  # type: ignore[arg-type]
        self.forwarder = FastCGIForwarder(
            reactor,  # type: ignore[arg-type]
            self.sweep,
            lambda name, request_id, line: self.said.append(f"{name} {request_id} {line}"),
            directory,
        )
        self.endpoint = Endpoint(id="blog.1.1", path=self.fpm.socket, concurrency_max=self.pool_config.workers_max)
        self.routing = WorkerRouting(
            name="blog",
            type="php",
            protocol="fastcgi",
            request_timeout_s=DEADLINE_S,
            fastcgi=FastCGITarget(document_root=public),
        )
        deadline = reactor.seconds() + DEADLINE_S  # type: ignore[attr-defined]
        while True:
            try:
                yield ping(reactor, self.fpm.socket, 1.0)  # type: ignore[arg-type]
                return
            except Fault as fault:
                if self.fpm.process.poll() is not None or reactor.seconds() > deadline:  # type: ignore[attr-defined]
                    self.fail(f"php-fpm does not start: {fault.detail}\n{self.fpm.output()}")
            yield later(0.02)

    @inlineCallbacks
    def tearDown(self):  # type: ignore[no-untyped-def]
        self.forwarder.close()
        yield until(lambda: not self.sweep._watched, "every connection closed")

    def start(self, head: RequestHead, body: bytes | None = None, **options: object) -> tuple[FakeExchange, Outcome]:
        """Begin an exchange."""
        exchange = FakeExchange(head, body=body, **options)  # type: ignore[arg-type]
        outcome = Outcome()
        told = self.words.variables(exchange, exchange.client_host, b"http", b"/blog")
        attempt = self.forwarder.attempt(exchange, self.routing, self.endpoint, "/blog", told, outcome.done)
        assert attempt is not None
        exchange.when_over(attempt.exchange_over)
        attempt.start()
        return exchange, outcome

    @inlineCallbacks
    def ask(self, target, method=b"GET", body=b"", headers=(), host=b"shop.test:8080"):  # type: ignore[no-untyped-def]
        """One exchange that ends well."""
        head = request_head(method, b"/blog/" + target, headers, host=host, content_length=len(body))
        exchange, outcome = self.start(head, body)
        yield outcome.over
        self.assertIsNone(outcome.fault)
        self.assertTrue(exchange.finished)
        return exchange


class PHPTests(PHPCase):
    """What a PHP worker may expect of us, with the default way of managing children."""

    pool_config = PHPPoolConfig(manager="dynamic", workers_max=2, workers_start=1, request_timeout_s=20.0)

    @inlineCallbacks
    def test_variables(self):  # type: ignore[no-untyped-def]
        """A script sees the right variables, its environment whatever is in it, and its settings."""
        exchange = yield self.ask(
            b"info.php/extra/path?q=1",
            headers=[(b"x-foo", b"bar"), (b"x_foo", b"evil"), (b"proxy", b"evil")],
        )
        server, environment, agent, disabled, _ = json.loads(exchange.body)
        for name, value in {
            "SCRIPT_NAME": "/blog/info.php",
            "PATH_INFO": "/extra/path",
            "PHP_SELF": "/blog/info.php/extra/path",
            "REQUEST_URI": "/blog/info.php/extra/path?q=1",
            "QUERY_STRING": "q=1",
            "SCRIPT_FILENAME": os.path.realpath(self.directory) + "/public/info.php",
            "HTTP_HOST": "shop.test:8080",
            "SERVER_NAME": "shop.test",
            "REMOTE_ADDR": "192.0.2.7",
            "HTTP_X_FOO": "bar",
            "REQUEST_METHOD": "GET",
        }.items():
            self.assertEqual(server.get(name), value, name)
        self.assertNotIn("HTTP_PROXY", server)
        self.assertNotIn("HTTPS", server)
        for name, value in self.environment:
            self.assertEqual(environment.get(name), value, name)
        self.assertNotIn("SUDO_USER", environment)
        self.assertEqual((agent, disabled), ('it\'s "quoted"; ${HOME}', ""))

    @inlineCallbacks
    def test_front_controller(self):  # type: ignore[no-untyped-def]
        """Paths without a script are the front controller's; folders have an index."""
        exchange = yield self.ask(b"posts/1?page=2")
        self.assertEqual(exchange.body, b"front /blog/index.php /blog/posts/1?page=2 /blog/index.php none")
        exchange = yield self.ask(b"admin/")
        self.assertEqual(exchange.body, b"admin")

    @inlineCallbacks
    def test_bodies(self):  # type: ignore[no-untyped-def]
        """Bodies of all sizes around the records' limits come back as they went, with a known length or not."""
        for size in (0, 1, 65_527, 65_528, 65_529, 65_535, 65_536, 70_000, 1_000_000):
            body = os.urandom(size)
            exchange = yield self.ask(b"echo.php", b"POST", body)
            self.assertEqual(exchange.header(b"x-length"), b"%d" % size)
            self.assertEqual(exchange.body, body)

    @inlineCallbacks
    def test_chunked_upload(self):  # type: ignore[no-untyped-def]
        """5 MB that come in chunks of no announced length arrive whole."""
        body = os.urandom(5_000_000)
        exchange, outcome = self.start(request_head(b"POST", b"/blog/echo.php", content_length=None))
        for at in range(0, len(body), 100_000):
            exchange.client_sends(body[at : at + 100_000])
        exchange.client_ends()
        yield outcome.over
        self.assertIsNone(outcome.fault)
        self.assertEqual(exchange.body, body)
        self.assertEqual(os.listdir(self.directory).count("tmp"), 0)

    @inlineCallbacks
    def test_heads(self):  # type: ignore[no-untyped-def]
        """Several cookies, redirections and other statuses reach the client."""
        exchange = yield self.ask(b"cookies.php")
        cookies = [value for name, value in exchange.response.headers if name.lower() == b"set-cookie"]
        self.assertEqual(cookies, [b"a=1", b"b=2"])
        exchange = yield self.ask(b"redirect.php")
        self.assertEqual(exchange.status, 302)
        self.assertEqual(exchange.header(b"location"), b"/blog/there")
        self.assertIn(b"seen=yes", exchange.header(b"set-cookie"))
        exchange = yield self.ask(b"status.php")
        self.assertEqual((exchange.status, exchange.body), (404, b"no"))
        exchange = yield self.ask(b"status.php", b"HEAD")
        self.assertEqual((exchange.status, exchange.body), (404, b""))

    @inlineCallbacks
    def test_stderr(self):  # type: ignore[no-untyped-def]
        """What a script complains of is told with the request's id."""
        exchange = yield self.ask(b"warn.php")
        self.assertEqual(exchange.body, b"fine")
        self.assertEqual([line for line in self.said if "one line" in line or "another" in line], self.said)
        self.assertEqual(len(self.said), 2)
        self.assertTrue(self.said[0].startswith("blog test-1 "))

    @inlineCallbacks
    def test_output_of_children(self):  # type: ignore[no-untyped-def]
        """What a script writes to its standard error comes out of php-fpm's, undecorated."""
        yield self.ask(b"shout.php")
        yield until(lambda: "heard" in self.fpm.output(), "the line in the log")
        self.assertIn("heard", self.fpm.output().split("\n"))

    @inlineCallbacks
    def test_slow(self):  # type: ignore[no-untyped-def]
        """A script that does not answer in time is 504."""
        self.routing = structs.replace(self.routing, request_timeout_s=0.3)
        exchange, outcome = self.start(request_head(b"GET", b"/blog/slow.php"))
        yield outcome.over
        assert outcome.fault is not None
        self.assertEqual(outcome.fault.status, 504)
        self.assertIsNone(exchange.response)

    @inlineCallbacks
    def test_killed_while_answering(self):  # type: ignore[no-untyped-def]
        """When php-fpm's child dies in the middle of a response, the client can tell."""
        exchange, outcome = self.start(request_head(b"GET", b"/blog/killed.php"))
        yield until(lambda: len(exchange.body) == 100_000, "the first part")
        os.kill(int(exchange.header(b"x-pid") or b""), signal.SIGKILL)
        yield outcome.over
        self.assertIsNotNone(outcome.fault)
        self.assertFalse(outcome.retryable)
        self.assertTrue(exchange.aborted)

    @inlineCallbacks
    def test_killed_before_answering(self):  # type: ignore[no-untyped-def]
        """When it dies before, that is 502; what is harmless may be tried again."""
        told = os.path.join(self.directory, "pid")
        exchange, outcome = self.start(request_head(b"GET", b"/blog/die.php?" + told.encode()))
        yield until(lambda: os.path.exists(told) and os.path.getsize(told), "the child's pid")
        with open(told) as file:
            os.kill(int(file.read()), signal.SIGKILL)
        yield outcome.over
        assert outcome.fault is not None
        self.assertEqual((outcome.fault.status, outcome.retryable), (502, True))
        self.assertIsNone(exchange.response)

    @inlineCallbacks
    def test_slow_client(self):  # type: ignore[no-untyped-def]
        """40 MB for a client that does not read wait in php-fpm, not in our memory."""
        exchange, outcome = self.start(request_head(b"GET", b"/blog/big.php"), write_paused=True)
        yield until(lambda: exchange.response is not None, "a head")
        yield later(0.3)
        self.assertLess(len(exchange.body), 1_000_000)
        self.assertFalse(outcome.over.called)
        exchange.client_resumes()
        yield outcome.over
        self.assertIsNone(outcome.fault)
        self.assertEqual(sum(map(len, exchange.writes)), 40 * 1024 * 1024)

    @inlineCallbacks
    def test_client_leaves(self):  # type: ignore[no-untyped-def]
        """A client that leaves costs its connection, and nothing else."""
        exchange, outcome = self.start(request_head(b"GET", b"/blog/slow.php"))
        yield later(0.1)
        exchange.client_leaves()
        yield outcome.over
        self.assertIsNone(outcome.fault)
        self.assertEqual(self.forwarder.pool(self.endpoint).open, 0)
        exchange = yield self.ask(b"lazy.php")
        self.assertEqual(exchange.body, b"early")

    @inlineCallbacks
    def test_unread_body(self):  # type: ignore[no-untyped-def]
        """A script that does not read a large body answers all the same, and does not spoil the next request."""
        for _ in range(3):
            exchange = yield self.ask(b"lazy.php", b"POST", os.urandom(3_000_000))
            self.assertEqual(exchange.body, b"early")

    @inlineCallbacks
    def test_waiting_line(self):  # type: ignore[no-untyped-def]
        """More requests than children wait for their turn; all are answered."""
        started = [self.start(request_head(b"GET", b"/blog/nap.php")) for _ in range(8)]
        pool = self.forwarder.pool(self.endpoint)
        self.assertEqual((pool.open, pool.waiting), (2, 6))
        yield DeferredList([outcome.over for _, outcome in started])
        self.assertEqual({outcome.fault for _, outcome in started}, {None})
        self.assertEqual(len({exchange.body for exchange, _ in started}), 2)

    @inlineCallbacks
    def test_quit_lets_requests_end(self):  # type: ignore[no-untyped-def]
        """After QUIT, what runs is finished and the master ends."""
        _, outcome = self.start(request_head(b"GET", b"/blog/nap.php"))
        yield later(0.05)
        self.forwarder.release(self.endpoint.id)
        self.fpm.process.send_signal(signal.SIGQUIT)
        yield outcome.over
        self.assertIsNone(outcome.fault)
        yield until(lambda: self.fpm.process.poll() is not None, "the end of the master")
        self.assertEqual(self.fpm.process.returncode, 0)

    @inlineCallbacks
    def test_gone(self):  # type: ignore[no-untyped-def]
        """Without php-fpm, a request was provably not seen and may be given to another endpoint; a ping fails."""
        self.fpm.stop()
        while True:  # Children hold the socket open for a moment longer than the master.
            try:
                yield ping(reactor, self.fpm.socket, 1.0)  # type: ignore[arg-type]
            except Unreachable:
                break
            except Fault:
                yield later(0.01)
        _, outcome = self.start(request_head(b"POST", b"/blog/echo.php", content_length=3))
        yield outcome.over
        assert outcome.fault is not None
        self.assertEqual((outcome.fault.status, outcome.retryable), (502, True))


class ShortLivedChildrenTests(PHPTests):
    """Everything once more while php-fpm's children die after every single request."""

    pool_config = PHPPoolConfig(manager="ondemand", workers_max=2, requests_max=1)

    def test_waiting_line(self) -> None:
        """Not here: each answer comes from another child."""

    @inlineCallbacks
    def test_stale(self):  # type: ignore[no-untyped-def]
        """No request is lost to a connection that a child closed after its last request."""
        for method in (b"GET", b"POST") * 20:
            exchange = yield self.ask(b"pid.php", method)
            self.assertEqual(exchange.status, 200)


class StaticTests(PHPCase):
    """The remaining way of managing children."""

    @inlineCallbacks
    def test_answers(self):  # type: ignore[no-untyped-def]
        """A static pool serves, too."""
        exchange = yield self.ask(b"lazy.php")
        self.assertEqual(exchange.body, b"early")


class Busy:
    """
    Clients of one front who always want something.

    @ivar answered: how often each was answered.
    @ivar faults: what went wrong.
    """

    def __init__(self, case: PHPCase, forwarder: FastCGIForwarder, endpoint: Endpoint, clients: int) -> None:
        self.answered = [0] * clients
        self.pids: set[bytes] = set()
        self.faults: list[Fault] = []
        self._case = case
        self._forwarder = forwarder
        self._endpoint = endpoint
        self._going = True
        self.under_way = 0
        case.addCleanup(self.stop)
        for client in range(clients):
            self._ask(client)

    def _ask(self, client: int) -> None:
        case = self._case
        exchange = FakeExchange(request_head(b"GET", b"/blog/pid.php"))
        told = case.words.variables(exchange, exchange.client_host, b"http", b"/blog")

        def done(fault: Fault | None, retryable: bool, status: int = 0, /) -> None:
            reactor.callLater(0, again, fault)  # type: ignore[attr-defined]

        def again(fault: Fault | None) -> None:
            self.under_way -= 1
            if fault is not None:
                self.faults.append(fault)
            else:
                self.answered[client] += 1
                self.pids.add(exchange.body)
            if self._going:
                self._ask(client)

        self.under_way += 1
        attempt = self._forwarder.attempt(exchange, case.routing, self._endpoint, "/blog", told, done)
        assert attempt is not None
        attempt.start()

    def stop(self) -> Deferred[None]:
        """Want nothing more."""
        self._going = False
        return until(lambda: not self.under_way, "the last answers")  # type: ignore[no-any-return]


class ShareTests(PHPCase):
    """
    A child belongs to whoever has a connection to it, and still everybody gets one: other fronts, the health ping.
    """

    pool_config = PHPPoolConfig(manager="static", workers_max=3)

    @inlineCallbacks
    def test_two_fronts(self):  # type: ignore[no-untyped-def]
        """Two fronts with two busy clients each share three children; each client is answered again and again."""
        sweep = Sweep(reactor, 0.05)  # type: ignore[arg-type]
        other = FastCGIForwarder(reactor, sweep, lambda *said: None, self.directory)  # type: ignore[arg-type]
        endpoint = structs.replace(self.endpoint, concurrency_max=2, lasting_max=1)
        fronts = [Busy(self, forwarder, endpoint, 2) for forwarder in (self.forwarder, other)]
        for _ in range(3):
            before = [list(front.answered) for front in fronts]
            yield until(
                lambda before=before: all(
                    now > then + 20
                    for front, counts in zip(fronts, before, strict=True)
                    for now, then in zip(front.answered, counts, strict=True)
                ),
                "an answer for each",
            )
        for front in fronts:
            yield front.stop()
            self.assertEqual(front.faults, [])
        other.close()
        yield until(lambda: not sweep._watched, "every connection closed")

    @inlineCallbacks
    def test_ping(self):  # type: ignore[no-untyped-def]
        """While there is as much to do as can be done, php-fpm still says that it is well."""
        endpoint = structs.replace(self.endpoint, concurrency_max=3, lasting_max=2)
        front = Busy(self, self.forwarder, endpoint, 4)
        for _ in range(10):
            yield ping(reactor, self.fpm.socket, DEADLINE_S)  # type: ignore[arg-type]
        yield front.stop()
        self.assertEqual(front.faults, [])

    @inlineCallbacks
    def test_lasts(self):  # type: ignore[no-untyped-def]
        """A connection that is used is kept, and given back when it is not."""
        self.endpoint = structs.replace(self.endpoint, concurrency_max=3, lasting_max=2)
        pool = self.forwarder.pool(self.endpoint)
        front = Busy(self, self.forwarder, self.endpoint, 1)
        yield until(lambda: pool._open, "a connection")
        (connection,) = pool._open
        yield until(lambda: reactor.seconds() - connection.opened > 3 * AGE_S, "age")  # type: ignore[attr-defined]
        yield front.stop()
        self.assertEqual(pool._open, {connection})
        self.assertEqual(connection.served, front.answered[0])
        yield until(lambda: pool.open == 0, "the child is free")


class RequestsMaxTests(PHPCase):
    """Children that may only serve so many requests."""

    pool_config = PHPPoolConfig(manager="static", workers_max=3, requests_max=20)

    @inlineCallbacks
    def test_requests_max(self):  # type: ignore[no-untyped-def]
        """
        Children are replaced after as many requests as they may serve, however long a connection lasts, and no request
        is lost by it.
        """
        endpoint = structs.replace(self.endpoint, concurrency_max=3, lasting_max=2)
        front = Busy(self, self.forwarder, endpoint, 2)
        yield until(lambda: sum(front.answered) >= 400, "many answers")
        yield front.stop()
        self.assertEqual(front.faults, [])
        self.assertGreaterEqual(len(front.pids), 20)
