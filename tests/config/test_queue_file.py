"""Tests of L{tqserver.config.queue_file}: what a worker.yaml says of a queue is what the queue gets."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.diff import compare, process_key
from tqserver.config.load import load_queue
from tqserver.config.model import Project, RouteConfig, ScalingConfig, WorkerConfig
from tqserver.config.queue_file import QUEUE, build_queue
from tqserver.config.queue_model import (
    ApiListen,
    ApiSettings,
    AsyncSettings,
    DeliverySettings,
    QueueSettings,
    ScheduleSettings,
    StoreSettings,
    TqsSettings,
    ZapqSettings,
)
from tqserver.errors import ConfigFault, Problem

from .trees import only, said, server_in, worker_in, write_tree

HEAD = "path: /queue\ntype: queue\n"

TOKEN = "0123456789abcdef"


class QueueCase(SynchronousTestCase):
    """A worker C{api} that is a queue."""

    def setUp(self) -> None:
        self.base = os.path.abspath(self.mktemp())
        self.folder = f"{self.base}/workers/api"

    def worker(self, text: str, head: str = HEAD, server: str = "") -> WorkerConfig:
        """The worker with this worker.yaml."""
        return worker_in(self.base, head + text, {}, server_in(self.base, server))

    def queue(self, text: str) -> QueueSettings:
        """What it says of its queue."""
        queue = self.worker(text).queue
        assert queue is not None
        return queue

    def fault(self, text: str, head: str = HEAD) -> ConfigFault:
        """The fault of this worker.yaml."""
        return self.assertRaises(ConfigFault, self.worker, text, head)

    def problem(self, text: str, head: str = HEAD) -> Problem:
        """The one problem of this worker.yaml."""
        problem = only(self.fault(text, head))
        self.assertTrue(problem.hint, problem)
        return problem


class DefaultTests(QueueCase):
    """A queue that says nothing but that it is one."""

    def test_settings(self) -> None:
        """I get TQS, tasks in a file in C{data}, and every answer on disk."""
        self.assertEqual(
            self.queue(""),
            QueueSettings(
                apis=ApiSettings(
                    tqs=TqsSettings(api_token=None, body_chars_max=4096, listen=None, insecure=False), zapq=None
                ),
                store=StoreSettings(
                    type="sqlite", directory=f"{self.folder}/data", durability="disk", bytes_max=0, messages_max=0
                ),
                deliver=(),
                schedules=(),
                deferred=AsyncSettings(
                    concurrency=8, timeout_s=60, attempts_max=5, retention_s=86400, body_bytes_max=2**20
                ),
            ),
        )

    def test_worker(self) -> None:
        """There is one process of it, on a socket, which is given time to end, and whose answers may wait a minute."""
        worker = self.worker("")
        self.assertEqual(worker.scaling, ScalingConfig(workers_min=1, workers_max=1))
        self.assertTrue(worker.single)
        self.assertEqual((worker.listen, worker.health.type, worker.health.path), ("unix", "http", "/health"))
        self.assertEqual((worker.process.shutdown_grace_s, worker.request_timeout_s), (10, 90))
        server = "server: {request_timeout_seconds: 200}\nworkers: {shutdown_grace_period_ms: 30000}\n"
        slow = self.worker("", server=server)
        self.assertEqual((slow.process.shutdown_grace_s, slow.request_timeout_s), (30, 200))
        quick = self.worker("shutdown_grace_period_ms: 100\nrequest_timeout_seconds: 5\n")
        self.assertEqual((quick.process.shutdown_grace_s, quick.request_timeout_s), (0.1, 5))

    def test_others_have_none(self) -> None:
        """A worker of another type has no queue."""
        self.assertIsNone(self.worker("", "path: /\ntype: go\n").queue)


class ApiTests(QueueCase):
    """Services."""

    def test_names(self) -> None:
        """A list of names, or a section without values, is all it takes."""
        for text in ("apis: [tqs, zapq]\n", "apis:\n  tqs:\n  zapq:\n", "apis: {zapq: {}, tqs: ~}\n"):
            self.assertEqual(
                self.queue(text).apis,
                ApiSettings(
                    tqs=TqsSettings(), zapq=ZapqSettings(bytes_max=256 * 2**20, data=f"{self.folder}/data/zapq")
                ),
            )
        self.assertIsNone(self.queue("apis: [zapq]\n").apis.tqs)

    def test_all_values(self) -> None:
        """Every key arrives."""
        text = (
            f"apis:\n  tqs: {{api_token: {TOKEN}, max_body: 256KiB, listen: {{address: 0.0.0.0, port: 8070}}}}\n"
            "  zapq:\n    max_bytes: 1M\n    max_msgs: 10\n    data: snapshots\n    persist_on_stop: true\n"
            "    load_on_start: old/dump.json\n    listen: {unix: run/zapq.sock}\n    insecure: true\n"
        )
        self.assertEqual(
            self.queue(text).apis,
            ApiSettings(
                tqs=TqsSettings(
                    api_token=TOKEN, body_chars_max=256 * 1024, listen=ApiListen(address="0.0.0.0", port=8070)
                ),
                zapq=ZapqSettings(
                    bytes_max=2**20,
                    messages_max=10,
                    data=f"{self.folder}/snapshots",
                    persist_on_stop="queue.json",
                    load_on_start="old/dump.json",
                    listen=ApiListen(unix=f"{self.folder}/run/zapq.sock"),
                    insecure=True,
                ),
            ),
        )

    def test_reachable_without_a_token(self) -> None:
        """A service that asks for no token and can be reached from elsewhere is refused, and I am told why."""
        for api in ("tqs", "zapq"):
            for where in ("0.0.0.0", "192.0.2.1", '"::"'):
                text = f"apis:\n  {api}:\n    listen: {{address: {where}, port: 1}}\n"
                problem = self.problem(text)
                self.assertEqual((problem.line, problem.path), (5, f"apis.{api}.listen"))
                self.assertIn("other machines", problem.message)
                self.assertIn("insecure: true", problem.hint)
                self.queue(text + "    insecure: true\n")
            for where in (
                "address: localhost, port: 1",
                'address: "::1", port: 1',
                "address: 127.0.0.9, port: 1",
                "unix: a",
            ):
                self.queue(f"apis:\n  {api}:\n    listen: {{{where}}}\n")
        self.queue(f"apis: {{tqs: {{api_token: {TOKEN}, listen: {{address: 0.0.0.0, port: 1}}}}}}\n")

    def test_secrets_stay_secret(self) -> None:
        """A token is not repeated in a message, nor shown with the settings; but a new one makes a new process."""
        for token in ("short", "'has spaces in it'", "12345678901"):
            problem = self.problem(f"apis: {{tqs: {{api_token: {token}}}}}\n")
            self.assertEqual(problem.path, "apis.tqs.api_token")
            self.assertNotIn(token.strip("'"), str(problem))
        old = self.worker(f"apis: {{tqs: {{api_token: {TOKEN}}}}}\n")
        new = self.worker(f"apis: {{tqs: {{api_token: {TOKEN}0}}}}\n")
        self.assertNotIn(TOKEN, repr(old))
        self.assertNotEqual(process_key(old), process_key(new))
        server = server_in(self.base)
        self.assertEqual(compare(Project(server, (old,)), Project(server, (new,))).process_changed, ("api",))

    def test_mistakes(self) -> None:
        """Whatever is wrong with a service is told, on its line."""
        for text, line, path in (
            ("apis: []\n", 3, "apis"),
            ("apis: [tqs, tqs]\n", 3, "apis"),
            ("apis: tqs\n", 3, "apis"),
            ("apis:\n  tsq: {}\n", 4, "apis.tsq"),
            ("apis:\n  codeq: {}\n", 4, "apis.codeq"),
            ("apis:\n  tqs:\n    max_body: 257KiB\n", 5, "apis.tqs.max_body"),
            ("apis:\n  tqs:\n    listen: {address: 127.0.0.1}\n", 5, "apis.tqs.listen"),
            ("apis:\n  tqs:\n    listen: {unix: a, port: 1}\n", 5, "apis.tqs.listen"),
            ("apis:\n  zapq:\n    persist_on_stop: ../x\n", 5, "apis.zapq.persist_on_stop"),
            ("apis:\n  zapq:\n    max_msgs: 0\n", 5, "apis.zapq.max_msgs"),
            ("apis:\n  zapq:\n    data: data\n", 3, "apis"),
            ("apis:\n  zapq:\n    data: .\n", 3, "apis"),
            (
                "apis:\n  zapq: {listen: {port: 5, address: '::1'}}\n  tqs: {listen: {port: 5, address: '::1'}}\n",
                3,
                "apis",
            ),
        ):
            problem = self.problem(text)
            self.assertEqual((problem.line, problem.path), (line, path), problem)


class StoreTests(QueueCase):
    """The store."""

    def test_memory(self) -> None:
        """What is in memory always has a limit."""
        store = self.queue("store: {type: memory}\n").store
        self.assertEqual((store.bytes_max, store.messages_max), (256 * 2**20, 1_000_000))
        store = self.queue("store: {type: memory, max_bytes: 1M, max_messages: 5}\n").store
        self.assertEqual((store.bytes_max, store.messages_max), (2**20, 5))
        self.assertEqual(self.problem("store:\n  type: memory\n  max_bytes: 0\n").path, "store.max_bytes")
        self.assertEqual(self.problem("store:\n  type: memory\n  durability: disk\n").path, "store.durability")

    def test_directory(self) -> None:
        """The folder of tasks is one below the worker's, or anywhere; snapshots follow it."""
        settings = self.queue("store: {directory: ../tasks}\napis: [zapq]\n")
        self.assertEqual(settings.store.directory, f"{self.base}/workers/tasks")
        assert settings.apis.zapq is not None
        self.assertEqual(settings.apis.zapq.data, f"{self.base}/workers/tasks/zapq")


class DeliveryTests(QueueCase):
    """Deliveries to workers."""

    def test_values(self) -> None:
        """What is not said has its default, what is said arrives."""
        self.assertEqual(
            self.queue(
                "deliver:\n- {queue: a, to: /mailer/jobs}\n"
                "- {queue: b-1, to: '/x?y=1', concurrency: 2, timeout_seconds: 1, max_attempts: 3,\n"
                "   backoff_seconds: 4, backoff_max_seconds: 5, retention_seconds: 0}\n"
                "- {queue: c, to: /, backoff_seconds: 1000}\n"
            ).deliver,
            (
                DeliverySettings(
                    queue="a",
                    to="/mailer/jobs",
                    concurrency=8,
                    timeout_s=60,
                    attempts_max=5,
                    backoff_s=5,
                    backoff_max_s=900,
                    retention_s=86400,
                ),
                DeliverySettings(
                    queue="b-1",
                    to="/x?y=1",
                    concurrency=2,
                    timeout_s=1,
                    attempts_max=3,
                    backoff_s=4,
                    backoff_max_s=5,
                    retention_s=0,
                ),
                DeliverySettings(queue="c", to="/", backoff_s=1000, backoff_max_s=1000),
            ),
        )

    def test_mistakes(self) -> None:
        """All mistakes of all deliveries are told."""
        fault = self.fault(
            "deliver:\n- {queue: -a, to: /x}\n- {to: x}\n- {queue: b, to: http://x/}\n"
            "- {queue: c, to: /, backoff_seconds: 9, backoff_max_seconds: 8}\n"
            "- {queue: d, to: /, concurrency: 0}\n- {}\n"
        )
        self.assertEqual(
            said(fault),
            [
                (4, "deliver[0].queue"),
                (5, "deliver[1].to"),
                (6, "deliver[2].to"),
                (7, "deliver[3].backoff_max_seconds"),
                (8, "deliver[4].concurrency"),
                (9, "deliver[5]"),
                (9, "deliver[5]"),
            ],
        )

    def test_one_for_each_queue(self) -> None:
        """Two deliveries of one queue would take each other's tasks."""
        problem = self.problem("deliver:\n- {queue: a, to: /x}\n- {queue: a, to: /y}\n")
        self.assertEqual((problem.line, problem.path), (5, "deliver[1]"))
        self.assertIn("line 4", problem.message)


class ScheduleTests(QueueCase):
    """Schedules."""

    def test_values(self) -> None:
        """What is not said has its default, what is said arrives; text is put as it is, everything else as JSON."""
        self.assertEqual(
            self.queue(
                "schedules:\n- {name: a, cron: '@daily', queue: q, payload: some text}\n- name: b\n"
                "  cron: '*/5 8-18 * * mon-fri'\n  timezone: Europe/Berlin\n  queue: q\n"
                "  payload: {to: [x, 1, 1.5, true, null, yes, 0x10, '2', 2026-01-05]}\n  priority: 1\n  paused: true\n"
            ).schedules,
            (
                ScheduleSettings(
                    name="a",
                    cron="@daily",
                    queue="q",
                    timezone="UTC",
                    payload="some text",
                    payload_type="text/plain",
                    priority=50,
                    paused=False,
                ),
                ScheduleSettings(
                    name="b",
                    cron="*/5 8-18 * * mon-fri",
                    queue="q",
                    timezone="Europe/Berlin",
                    payload='{"to":["x",1,1.5,true,null,"yes","0x10","2","2026-01-05"]}',
                    payload_type="application/json",
                    priority=1,
                    paused=True,
                ),
            ),
        )

    def test_mistakes(self) -> None:
        """A time zone that is none, a name that stands twice, no times: told with what to write."""
        usual = "name: a, cron: '@daily', queue: q"
        for text, line, path in (
            (f"schedules: [{{{usual}, timezone: Mars/Olympus}}]\n", 3, "schedules[0].timezone"),
            (f"schedules: [{{{usual}, timezone: ../../etc/passwd}}]\n", 3, "schedules[0].timezone"),
            (f"schedules:\n- {{{usual}}}\n- {{{usual}}}\n", 5, "schedules[1]"),
            ("schedules: [{name: a, queue: q}]\n", 3, "schedules[0]"),
            ("schedules: [{name: a, queue: q, cron: 0 3 * *}]\n", 3, "schedules[0].cron"),
            (f"schedules: [{{{usual}, priority: 101}}]\n", 3, "schedules[0].priority"),
            (f"schedules: [{{{usual}, payload: {{a: 1, a: 2}}}}]\n", 3, "schedules[0].payload"),
            (f"schedules: [{{{usual}, payload: '{'x' * 70000}'}}]\n", 3, "schedules[0].payload"),
        ):
            problem = self.problem(text)
            self.assertEqual((problem.line, problem.path), (line, path), problem)

    def test_aliases(self) -> None:
        """A payload of aliases of aliases is refused instead of unfolded, and so is one that holds itself."""
        bomb = "&a [x,x,x,x,x,x,x,x,x,x]"
        for name, before in zip("bcdefg", "abcdef", strict=True):
            bomb = f"{bomb}, &{name} [{','.join([f'*{before}'] * 10)}]"
        for payload in (f"[{bomb}]", "&a [*a]"):
            problem = self.problem(f"schedules: [{{name: a, cron: '@daily', queue: q, payload: {payload}}}]\n")
            self.assertIn("more than", problem.message)


class AsyncTests(QueueCase):
    """Requests that are answered later."""

    def test_settings(self) -> None:
        """The queue says how it serves them."""
        text = "async: {concurrency: 1, timeout_seconds: 2, max_attempts: 3, retention_seconds: 4, max_body: 5}\n"
        self.assertEqual(
            self.queue(text).deferred,
            AsyncSettings(concurrency=1, timeout_s=2, attempts_max=3, retention_s=4, body_bytes_max=5),
        )
        self.assertEqual(self.problem("async: {concurrency: 0}\n").path, "async.concurrency")

    def test_routes(self) -> None:
        """Other workers say whether they may get some: all of their routes, or some."""
        head = "type: go\nroutes:\n- {path: /a}\n- {path: /b, async: false}\n- {path: /c, async: true}\n"
        for text, expected in (("", (False, False, True)), ("async: true\n", (True, False, True))):
            routes = self.worker(text, head).routes
            self.assertEqual(tuple(route.asynchronous for route in routes), expected)
        self.assertEqual(
            self.worker("async: true\n", "path: /\ntype: go\n").routes, (RouteConfig(prefix="/", asynchronous=True),)
        )

    def test_routes_are_no_process(self) -> None:
        """To allow it touches no process."""
        before, after = self.worker("", "path: /\ntype: go\n"), self.worker("async: true\n", "path: /\ntype: go\n")
        self.assertEqual(process_key(before), process_key(after))
        self.assertNotEqual(before, after)

    def test_the_wrong_one(self) -> None:
        """Each says what belongs to it."""
        self.assertEqual(self.problem("async: true\n").path, "async")
        self.assertEqual(self.problem("async: {concurrency: 2}\n", "path: /\ntype: go\n").path, "async")
        head = "type: queue\nroutes:\n- {path: /a}\n- {path: /b, async: true}\n"
        problem = self.problem("", head)
        self.assertEqual((problem.line, problem.path), (4, "routes[1].async"))

    def test_same_route(self) -> None:
        """A route that stands twice is a mistake, whether or not it may be asked so."""
        problem = self.problem("", "type: go\nroutes:\n- {path: /a}\n- {path: /a, async: true}\n")
        self.assertEqual((problem.line, problem.path), (4, "routes[1]"))


class TypeTests(QueueCase):
    """Keys that mean something to queues alone, and those that mean nothing to them."""

    def test_elsewhere(self) -> None:
        """Keys of a queue in another worker are refused: they would be ignored."""
        for text, path in (
            ("apis: [tqs]\n", "apis"),
            ("store: {type: memory}\n", "store.type"),
            ("deliver: []\n", "deliver"),
            ("schedules: []\n", "schedules"),
        ):
            problem = self.problem(text, "path: /\ntype: go\n")
            self.assertEqual((problem.line, problem.path), (3, path))
            self.assertIn("type: queue", problem.hint)

    def test_here(self) -> None:
        """There is always one process of a queue, and its services have paths of their own."""
        for text, path in (
            ("scaling: {max_workers: 2}\n", "scaling.max_workers"),
            ("strip_prefix: false\n", "strip_prefix"),
            ("run: [./queue]\n", "run"),
            ("health: {type: fastcgi}\n", "health.type"),
        ):
            self.assertEqual(self.problem(text).path, path)

    def test_waiting_line(self) -> None:
        """C{queue} is the waiting line of any worker, a queue's as well."""
        self.assertEqual(self.worker("queue: {max_requests: 5}\n").waiting.requests_max, 5)


class AloneTests(SynchronousTestCase):
    """The file of a queue that runs without a server."""

    def load(self, text: str) -> QueueSettings:
        """Load it."""
        self.base = write_tree(self.mktemp(), {"queue.yaml": text})
        return load_queue(f"{self.base}/queue.yaml")

    def test_values(self) -> None:
        """It has the same keys, at the top, and its paths start from its folder."""
        settings = self.load("apis: {tqs: {listen: {port: 1, address: localhost}}}\nstore: {durability: process}\n")
        self.assertEqual(settings.store, StoreSettings(directory=f"{self.base}/data", durability="process"))
        self.assertEqual(settings.apis.listeners, (("tqs", ApiListen(address="127.0.0.1", port=1)),))

    def test_mistakes(self) -> None:
        """All of its mistakes are told at once; what would need a server is one."""
        text = "path: /\nstore: {type: file}\ndeliver: [{queue: a, to: /b}]\nschedules: 5\n"
        fault = self.assertRaises(ConfigFault, self.load, text)
        self.assertEqual(said(fault), [(1, "path"), (2, "store.type"), (3, "deliver"), (4, "schedules")])
        self.assertRaises(ConfigFault, load_queue, f"{self.base}/missing.yaml")

    @settings(derandomize=True, deadline=None, max_examples=150)
    @given(
        st.lists(
            st.sampled_from(
                ["apis", "tqs", "zapq", "listen", "store", "deliver", "schedules", "payload", "queue", "name", "cron"]
                + [": ", ":\n  ", "\n", "- ", "[", "]", "{", "}", "&a ", "*a", "<<: *a", "!t ", "'", "5", "x", ","]
            ),
            max_size=40,
        ).map("".join)
    )
    def test_garbage(self, text: str) -> None:
        """Whatever stands in it, the answer is settings or problems."""
        found = QUEUE.read(text.encode(), "/q/queue.yaml")
        built = build_queue(found, "/q", alone=True)
        self.assertIsInstance(built, QueueSettings)
        for problem in found.problems():
            self.assertTrue(problem.hint, problem)
            self.assertTrue(str(problem).isprintable(), problem)
