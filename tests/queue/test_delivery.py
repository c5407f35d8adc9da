"""Tasks that are delivered to workers: what is sent, what answers mean, and what happens when something breaks."""

from __future__ import annotations

from tests.front.test_task_seen import Line
from tests.queue.delivering import JOBS, NOW_MS, DeliveringCase
from tqserver.queue.ahead import TIMES
from tqserver.queue.delivery import LATER_MS_MIN, LEASE_MS, OWNER, Rule
from tqserver.queue.model import LOCAL, NewTask, Policy, QueueName, State
from tqserver.queue.requests import ToWorker, answer_of
from tqserver.queue.store import Claim


class SendingTests(DeliveringCase):
    """What a worker gets."""

    def test_request(self) -> None:
        """My worker gets the payload with its type, and is told which task of which queue it is, and which try."""
        self.deliver()
        [id] = self.put(b'{"to": "me"}', head=b"application/json")
        wire = self.accept()
        head, _, body = self.asked(wire).partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        self.assertEqual(lines[0], b"POST /mailer/jobs HTTP/1.1")
        self.assertEqual(
            sorted(lines[1:]),
            [
                b"content-length: 12",
                b"content-type: application/json",
                b"host: localhost",
                b"x-request-id: " + id.encode(),
                b"x-task-attempt: 1",
                b"x-task-id: " + id.encode(),
                b"x-task-queue: jobs",
            ],
        )
        self.assertEqual(body, b'{"to": "me"}')

    def test_as_fronts_read(self) -> None:
        """What differs from task to task is where a front looks for it, so that it need not read all of each."""
        self.deliver(concurrency=3)
        self.put(b"one", b"two", b"", head=b"text/plain")
        line = Line()
        for _ in range(3):
            line.send(self.asked(self.accept()))
        self.assertEqual(line.seen[1:], [True, True])
        self.assertEqual(line.observer.bodies, [b"one", b"two", b""])

    def test_other_heads(self) -> None:
        """What a service keeps with a task is sent as its type only if it is one; nobody sneaks a field in."""
        self.deliver(concurrency=9)
        for head in (b"", b"\x81\xa1x", b"text/plain\r\nx-evil: 1", b"a/b" * 200):
            self.put(b"x", head=head)
            self.assertIn(b"content-type: application/octet-stream\r\n", self.asked(self.accept()))
        self.put(b"x", head=b"text/plain; charset=utf-8")
        self.assertIn(b"content-type: text/plain; charset=utf-8\r\n", self.asked(self.accept()))

    def test_empty(self) -> None:
        """A task without a payload is a request without a body."""
        self.deliver()
        self.put(b"")
        self.assertTrue(self.asked(self.accept()).endswith(b"content-length: 0\r\n\r\n"))

    def test_concurrency(self) -> None:
        """No more tasks are with my worker than I said; the next goes as soon as one is done, and where that went."""
        delivery = self.deliver(concurrency=2)
        self.put(b"a", b"b", b"c", b"d")
        first, second = self.accept(), self.accept()
        self.assertEqual((self.opening, delivery.in_flight, self.store.counts(JOBS).ready), (0, 2, 2))
        self.asked(first)
        self.reply(first)
        self.assertTrue(self.asked(first).endswith(b"\r\n\r\nc"))
        self.assertEqual((self.opening, delivery.in_flight), (0, 2))
        self.reply(second)
        self.reply(second)
        self.reply(first)
        self.assertEqual(self.store.counts(JOBS).done, 4)
        self.assertEqual((delivery.tally.delivered, delivery.in_flight, self.deliveries.running), (4, 0, {}))

    def test_ahead(self) -> None:
        """A quick worker need not wait for the store: some tasks are claimed before. Not for a slow one."""
        delivery = self.deliver(concurrency=2)
        self.put(*[b"x"] * 30)
        wires = [self.accept(), self.accept()]
        self.reply(wires[0])
        ahead = self.store.counts(JOBS).leased - 2
        self.assertEqual(ahead, 2 * TIMES)
        self.assertEqual(delivery.in_flight, 2)
        self.wait(1)
        for _ in range(ahead):
            self.wait(1)
            self.reply(wires[0])
        self.assertEqual(self.store.counts(JOBS).leased, 2)

    def test_woken(self) -> None:
        """A task that is put while nothing is to be done goes at once: nobody looks again and again."""
        self.deliver()
        self.store.asked.clear()
        self.wait(600)
        self.assertEqual(self.store.asked, [])
        self.put(b"a")
        self.assertEqual(self.opening, 1)

    def test_queue_is_made(self) -> None:
        """A queue that a delivery names is there, with the rules it has if it was there before."""
        self.successResultOf(self.store.define(JOBS, Policy(leased_max=1)))
        self.deliver(concurrency=5)
        self.deliver(queue=QueueName(LOCAL, "new"))
        self.assertEqual(set(self.store.queues), {JOBS, QueueName(LOCAL, "new")})
        self.put(b"a", b"b")
        self.assertEqual((self.opening, self.store.counts(JOBS).leased), (1, 1))


class AnswerTests(DeliveringCase):
    """What answers mean."""

    def answered(self, status: str, *fields: str, body: bytes = b"", **options: object) -> str:
        """A task was delivered, and answered like that."""
        [id] = self.put(b"x", **options)
        self.reply(self.accept() if self.opening else self.wires[-1], status, body, *fields)
        return id

    def test_done(self) -> None:
        """A 2xx is the end; the answer is kept for as long as I said, also of a queue that keeps nothing."""
        self.deliver()
        id = self.answered("201 Created", "X-Kind: letter", body=b"sent")
        task = self.task(id)
        self.assertEqual((task.state, task.result, task.due), (State.DONE, b"sent", self.now() + 100_000))
        answer = answer_of(task)
        assert answer is not None
        self.assertEqual((answer.status, answer.fields), (201, [(b"X-Kind", b"letter")]))
        self.assertEqual([each.id for each in self.told], [id])

    def test_own_retention(self) -> None:
        """A task that says how long it is kept is kept for so long."""
        self.deliver()
        id = self.answered("200 OK", keep_ms=5000)
        self.assertEqual(self.task(id).due, self.now() + 5000)

    def test_later(self) -> None:
        """409, 425, 429, 503: the worker does not want it now. It was no try, and comes when the worker says."""
        for status in ("409 Conflict", "425 Too Early", "429 Too Many Requests", "503 Service Unavailable"):
            with self.subTest(status):
                self.setUp()
                delivery = self.deliver()
                id = self.answered(status, "Retry-After: 7", body=b"not now")
                self.assertEqual(self.state(id), (State.DELAYED, 0, f"{status}: not now"))
                self.assertEqual(self.task(id).ready, self.now() + 7000)
                self.assertEqual((delivery.tally.postponed, delivery.tally.retried), (1, 0))

    def test_date(self) -> None:
        """The worker may give a date."""
        self.deliver()
        id = self.answered("409 Conflict", "Retry-After: Thu, 09 Oct 2025 08:53:30 GMT")
        self.assertEqual(self.task(id).ready, NOW_MS + 10_000)

    def test_no_hurry(self) -> None:
        """A worker that says 0 does not get the same task a thousand times a second, nor one that says a year never."""
        self.deliver()
        id = self.answered("409 Conflict", "Retry-After: 0")
        self.assertEqual(self.task(id).ready, self.now() + LATER_MS_MIN)
        id = self.answered("409 Conflict", "Retry-After: 31536000")
        self.assertEqual(self.task(id).ready, self.now() + 60_000)
        id = self.answered("409 Conflict", "Retry-After: soon")
        self.assertEqual(self.task(id).ready, self.now() + 1000)

    def test_busy_worker(self) -> None:
        """A worker that is overloaded is left alone, then gets one task, and all it can take when that went well."""
        delivery = self.deliver(concurrency=3)
        self.put(*[b"%d" % number for number in range(9)])
        wires = [self.accept() for _ in range(3)]
        for wire in wires:
            self.reply(wire, "503 Service Unavailable")
        self.assertEqual((delivery.in_flight, self.store.counts(JOBS).ready), (0, 6))
        self.wait(0.9)
        self.assertEqual(delivery.in_flight, 0)
        self.wait(0.2)
        self.assertEqual(delivery.in_flight, 1)
        [asked] = [wire for wire in self.wires if self.asked(wire)[-1:] == b"3"]
        self.reply(asked, "503 Service Unavailable")
        self.wait(3)  # Twice as long as before, and again twice as long for each that was refused.
        self.assertEqual(delivery.in_flight, 0)
        self.wait(6)
        self.assertEqual(delivery.in_flight, 1)
        self.reply(self.accept())
        self.assertEqual((delivery.in_flight, delivery.resting_until), (3, 0.0))

    def test_claimed_while_busy(self) -> None:
        """What is put while a busy worker rests is tried when it has rested, though there is nothing else to try."""
        delivery = self.deliver(concurrency=1)
        self.put(b"a")
        wire = self.accept()
        self.reply(wire)  # It is quick: what it may want next is claimed ahead from now on.
        (second,) = self.put(b"b")
        self.reply(wire, "503 Service Unavailable", b"", "Retry-After: 5")
        third, fourth = self.put(b"c", b"d")
        self.reply(wire, "503 Service Unavailable", b"", "Retry-After: 5")
        self.successResultOf(self.store.remove(LOCAL, [second, third]))
        self.wait(5)
        self.assertEqual(delivery.in_flight, 1)
        wire = self.accept()
        self.assertTrue(self.asked(wire).endswith(b"\r\n\r\nd"))
        self.reply(wire)
        self.assertEqual((self.state(fourth)[0], delivery.in_flight), (State.DONE, 0))
        self.assertEqual(self.store.counts(JOBS).live, 0)

    def test_busy_and_not(self) -> None:
        """A worker that refuses one task and takes another is not left alone."""
        delivery = self.deliver(concurrency=2)
        self.put(b"a", b"b", b"c", b"d")
        first, second = self.accept(), self.accept()
        self.reply(first, "503 Service Unavailable", b"", "Retry-After: 30")
        self.assertEqual(delivery.in_flight, 1)
        self.reply(second)
        self.assertEqual(delivery.in_flight, 2)

    def test_failed(self) -> None:
        """Another 4xx, and a redirection, say that it is no use: the task has failed, and I see why."""
        self.deliver()
        for status in ("400 Bad Request", "404 Not Found", "422 Unprocessable Content", "302 Found"):
            id = self.answered(status, body=b"no such\n  address")
            self.assertEqual(self.state(id), (State.FAILED, 1, f"{status}: no such address"))
            self.assertEqual(self.task(id).result, b"no such\n  address")

    def test_again(self) -> None:
        """5xx and 408: it is tried again, later each time, then it is dead and kept."""
        for status in ("500 Internal Server Error", "502 Bad Gateway", "504 Gateway Timeout", "408 Request Timeout"):
            with self.subTest(status):
                self.setUp()
                self.deliver()
                [id] = self.put(b"x")
                wire = self.accept()
                self.reply(wire, status)
                self.assertEqual(self.state(id), (State.DELAYED, 1, status))
                self.assertEqual(self.task(id).ready, self.now() + 1000)
                self.sweep(1)
                self.assertIn(b"x-task-attempt: 2\r\n", self.asked(wire))
                self.reply(wire, status)
                self.assertEqual(self.task(id).ready, self.now() + 2000)
                self.sweep(2)
                self.reply(wire, status)
                self.assertEqual(self.state(id), (State.DEAD, 3, status))
                self.assertEqual(self.task(id).due, self.now() + 100_000)

    def sweep(self, seconds: float) -> None:
        """Time passes, and what is due then happens."""
        self.wait(seconds)
        self.successResultOf(self.store.sweep())
        self.turn()

    def test_own_attempts(self) -> None:
        """A task that says how often it may be tried is tried so often."""
        self.deliver()
        id = self.answered("500 Internal Server Error", attempts_max=1)
        self.assertEqual(self.state(id)[:2], (State.DEAD, 1))

    def test_tried_often_enough(self) -> None:
        """A task that was tried as often as it may be, and lost its lease, is not sent once more."""
        delivery = self.deliver(attempts_max=1)
        delivery.hush()
        self.deliveries.hushed = True
        [id] = self.put(b"x")
        self.successResultOf(self.store.claim(Claim((JOBS,), 1, self.now() + 10)))
        self.sweep(1)
        self.deliveries.hushed = False
        delivery.look()
        self.turn()
        self.assertEqual((self.opening, self.state(id)[0]), (0, State.DEAD))
        self.assertEqual(self.state(id)[2], "LEASE_EXPIRED")

    def test_large_answer(self) -> None:
        """An answer that is too large to be kept is dropped, and the task is done."""
        self.deliver(result_bytes_max=10)
        id = self.answered("200 OK", body=b"x" * 11)
        task = self.task(id)
        answer = answer_of(task)
        assert answer is not None
        self.assertEqual((task.state, task.result, answer.cut), (State.DONE, None, True))
        id = self.answered("200 OK", body=b"x" * 10)
        self.assertEqual(self.task(id).result, b"x" * 10)

    def test_in_pieces(self) -> None:
        """An answer that comes little by little is one answer; one too large is read to its end and not kept."""
        self.deliver(result_bytes_max=10)
        for length in (10, 2000):
            [id] = self.put(b"x")
            wire = self.wires[0] if self.wires else self.accept()
            wire.protocol.dataReceived(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(length):
                wire.protocol.dataReceived(b"1\r\nx\r\n")
            wire.protocol.dataReceived(b"0\r\n\r\n")
            self.turn()
            self.assertEqual(self.task(id).result, b"x" * 10 if length == 10 else None)
            self.assertEqual(self.task(id).state, State.DONE)


class BreakingTests(DeliveringCase):
    """What breaks."""

    def test_late(self) -> None:
        """A worker that does not answer in time: the request is given up, and the task tried again."""
        delivery = self.deliver(timeout_s=5.0)
        [id] = self.put(b"x")
        self.accept()
        self.wait(4.5)
        self.assertEqual(len(self.wires), 1)
        self.wait(1)
        self.assertEqual((self.wires, delivery.in_flight), ([], 0))
        self.assertEqual(self.state(id), (State.DELAYED, 1, "no answer in 5 s"))

    def test_late_in_the_middle(self) -> None:
        """A worker that begins an answer and does not end it is late, too."""
        self.deliver(timeout_s=5.0)
        [id] = self.put(b"x")
        wire = self.accept()
        wire.protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        self.wait(6)
        self.assertEqual(self.state(id)[:2], (State.DELAYED, 1))

    def test_broken(self) -> None:
        """A connection that breaks in the middle: nobody knows what the worker has done, so that was a try."""
        self.deliver()
        for piece in (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"):
            [id] = self.put(b"x")
            wire = self.accept()
            if piece:
                wire.protocol.dataReceived(piece)
            self.lose(wire)
            self.assertEqual(self.state(id)[:2], (State.DELAYED, 1))

    def test_malformed(self) -> None:
        """Something else than an answer is none."""
        self.deliver()
        [id] = self.put(b"x")
        self.accept().protocol.dataReceived(b"SSH-2.0-OpenSSH\r\n")
        self.turn()
        self.assertEqual(self.state(id)[:2], (State.DELAYED, 1))
        self.assertEqual(self.wires, [])

    def test_kept_connection_was_closed(self) -> None:
        """A front that has closed a kept connection had not seen the request: it goes again at once, and once."""
        self.deliver()
        [id] = self.put(b"a")
        wire = self.accept()
        self.reply(wire)
        [id] = self.put(b"b")
        self.lose(wire)
        self.assertEqual((self.opening, self.state(id)), (1, (State.LEASED, 1, "")))
        wire = self.accept()
        self.assertIn(b"x-task-attempt: 1\r\n", self.asked(wire))
        self.lose(wire)
        self.assertEqual((self.opening, self.state(id)[0]), (0, State.DELAYED))

    def test_no_front(self) -> None:
        """Nobody is there: tasks are given back, that was no try, nothing else is claimed; it goes on when they are
        back."""
        delivery = self.deliver()
        ids = self.put(b"a", b"b", b"c")
        self.refuse()
        self.refuse()
        self.assertTrue(self.deliveries.line.away)
        self.assertEqual({self.state(id)[:2] for id in ids}, {(State.READY, 0)})
        self.assertEqual((delivery.tally.unsent, self.opening), (2, 0))
        pauses = []
        for _ in range(8):
            paused = 0.0
            while not self.opening:
                self.reactor.advance(0.05)
                paused += 0.05
            pauses.append(paused)
            self.refuse()
        for paused, wanted in zip(pauses, [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5], strict=True):
            self.assertLessEqual(abs(paused - wanted), 0.1)
        self.wait(6)
        wire = self.accept()
        self.turn()
        self.assertEqual((self.asked(wire)[-1:], self.opening, delivery.in_flight), (b"a", 1, 2))
        self.assertFalse(self.deliveries.line.away)

    def test_leases_are_extended(self) -> None:
        """A task that takes long keeps its lease: all that need it are extended in one step, at the moment needed."""
        self.deliver(timeout_s=600.0, concurrency=9)
        ids = self.put(b"a", b"b", b"c")
        for _ in ids:
            self.accept()
        self.store.asked.clear()
        for _ in range(10):
            self.wait(LEASE_MS / 1000 / 2)
            self.successResultOf(self.store.sweep())
        self.assertEqual({self.state(id)[:2] for id in ids}, {(State.LEASED, 1)})
        self.assertLessEqual(self.store.asked.count("extend"), 11)
        for wire in self.wires:
            self.reply(wire)
        self.assertEqual({self.state(id)[:2] for id in ids}, {(State.DONE, 1)})
        self.store.asked.clear()
        self.wait(600)
        self.assertEqual(self.store.asked.count("extend"), 0)

    def test_removed_meanwhile(self) -> None:
        """A task that was removed while it was delivered: my worker is told by the end of the connection."""
        delivery = self.deliver(timeout_s=600.0)
        [id] = self.put(b"a")
        self.accept()
        self.successResultOf(self.store.remove(LOCAL, [id]))
        self.wait(LEASE_MS / 1000)
        self.assertEqual((self.wires, delivery.in_flight, delivery.tally.lost), ([], 0, 1))
        self.put(b"b")
        self.assertEqual(self.opening, 1)

    def test_store_fault(self) -> None:
        """A full disk: what was delivered is noted when there is room again, is not delivered twice, and nothing more
        is claimed until then."""
        delivery = self.deliver()
        ids = self.put(b"a", b"b", b"c")
        first, second = self.accept(), self.accept()
        self.store.failing = {"finish", "release", "extend", "claim"}
        self.reply(first)
        self.reply(second, "500 Internal Server Error")
        self.assertEqual((delivery.in_flight, len(self.deliveries.settling)), (0, 2))
        self.wait(8)
        self.assertEqual({self.state(id)[0] for id in ids}, {State.LEASED, State.READY})
        self.store.failing.clear()
        self.wait(6)
        self.assertEqual([self.state(id)[:2] for id in ids[:2]], [(State.DONE, 1), (State.DELAYED, 1)])
        self.assertEqual((len(self.deliveries.settling), delivery.in_flight), (0, 1))

    def test_claims_fail(self) -> None:
        """A store that cannot lease is asked again after growing pauses."""
        delivery = self.deliver()
        self.store.failing = {"claim"}
        self.put(b"a")
        self.store.asked.clear()
        self.wait(60)
        self.assertLess(self.store.asked.count("claim"), 10)
        self.store.failing.clear()
        self.wait(16)
        self.assertEqual(delivery.in_flight, 1)

    def test_batches(self) -> None:
        """What ends in one turn is stored in one step."""
        self.deliver(concurrency=20)
        self.put(*[b"x"] * 20)
        wires = [self.accept() for _ in range(20)]
        self.store.asked.clear()
        for wire in wires:
            wire.protocol.dataReceived(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        self.turn()
        self.assertEqual(self.store.asked.count("finish"), 1)
        self.assertEqual(self.store.counts(JOBS).done, 20)


class EndTests(DeliveringCase):
    """The end of the process, and the next one."""

    def test_stop(self) -> None:
        """What is in flight ends, nothing new begins, and the process ends as soon as that is stored."""
        self.deliver(concurrency=1)
        ids = self.put(b"a", b"b")
        wire = self.accept()
        stopped = self.deliveries.stop()
        self.assertNoResult(stopped)
        self.reply(wire)
        self.successResultOf(stopped)
        self.assertEqual([self.state(id)[:2] for id in ids], [(State.DONE, 1), (State.READY, 0)])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stop_before_the_start(self) -> None:
        """The process is told to end while it begins: then it does not begin to deliver."""
        self.deliveries.add(Rule(queue=JOBS, to="/"), ToWorker("jobs", "/"))
        self.deliveries.hush()
        self.successResultOf(self.deliveries.start())
        self.put(b"a")
        self.assertEqual(self.opening, 0)
        self.successResultOf(self.deliveries.stop())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stop_at_once(self) -> None:
        """Nothing is in flight: it ends at once, and gives up its claim."""
        self.deliver()
        self.successResultOf(self.deliveries.stop())
        [id] = self.put(b"a")
        self.assertEqual((self.state(id)[:2], self.opening), ((State.READY, 0), 0))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cut(self) -> None:
        """What is not done within the limit is given back, and that was no try."""
        self.deliver()
        [id] = self.put(b"a")
        self.accept()
        self.deliveries.hush()
        self.wait(3)
        stopped = self.deliveries.stop()
        self.wait(3.5)
        self.assertNoResult(stopped)
        self.wait(1)
        self.successResultOf(stopped)
        self.assertEqual((self.state(id)[:2], self.wires), ((State.READY, 0), []))
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cut_while_nothing_can_be_stored(self) -> None:
        """A disk that stays full does not keep the process."""
        self.deliver()
        self.put(b"a")
        self.reply(self.accept())
        self.put(b"b")
        self.store.failing = {"finish", "release"}
        self.reply(self.wires[0])
        stopped = self.deliveries.stop()
        self.wait(7.5)
        self.assertNoResult(stopped)
        self.wait(1)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_killed(self) -> None:
        """The process was killed: the next one gives back at once what it had in hand, and leaves others' leases."""
        self.deliver(concurrency=2)
        ids = self.put(b"a", b"b")
        self.successResultOf(self.store.create([NewTask(queue=JOBS, payload=b"c")]))
        [other] = self.successResultOf(self.store.claim(Claim((JOBS,), 1, self.now() + 100_000, owner="somebody")))
        self.assertEqual(self.task(ids[0]).owner, OWNER)
        self.begin()
        self.deliver(concurrency=2)
        self.assertEqual([self.state(id)[:2] for id in ids], [(State.LEASED, 1)] * 2)
        self.assertEqual(self.opening, 2)
        self.assertEqual(self.task(other.id).owner, "somebody")
        for _ in ids:
            self.reply(self.accept())
        self.assertEqual([self.state(id)[:2] for id in ids], [(State.DONE, 1)] * 2)
