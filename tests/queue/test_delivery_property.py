"""Whatever happens to deliveries, in whatever order: every task ends, none is lost, and no two have it at once."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.queue.delivering import JOBS, DeliveringCase
from tqserver.queue.delivery import Delivery
from tqserver.queue.model import FINISHED

STATUSES = ["200 OK", "404 Not Found", "429 Too Many", "409 Conflict", "500 Oh", "503 Unavailable"]

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 5)),
        st.tuples(st.just("accept"), st.integers(0, 3)),
        st.tuples(st.just("refuse"), st.just(0)),
        st.tuples(st.just("reply"), st.tuples(st.integers(0, 9), st.sampled_from(STATUSES))),
        st.tuples(st.just("lose"), st.integers(0, 9)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 7.0, 40.0])),
        st.tuples(st.just("fail"), st.sampled_from(["finish", "release", "claim", "extend"])),
        st.tuples(st.just("mend"), st.just(0)),
        st.tuples(st.just("remove"), st.integers(0, 9)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    max_size=40,
)


class PropertyTests(DeliveringCase):
    """A queue with a worker, fronts and a store that do anything."""

    delivery: Delivery

    @given(STEPS)
    @settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def test_anything(self, steps: list[tuple[str, object]]) -> None:
        """Afterwards, when all is well again, every task that was not removed ends."""
        self.setUp()
        self.ids: list[str] = []
        self.delivery = self.deliver(timeout_s=20.0, concurrency=3)
        acts: dict[str, Callable[[object], None]] = {
            name: getattr(self, f"act_{name}")
            for name in ("put", "accept", "refuse", "reply", "lose", "wait", "fail", "mend", "remove", "restart")
        }
        for name, what in steps:
            acts[name](what)
            self.check()
        self.act_mend(0)
        for _ in range(200):
            if not self.store.counts(JOBS).live and not self.deliveries.running:
                break
            while self.opening:
                self.accept()
                self.turn()
            for wire in list(self.wires):
                if self.is_asked(wire):
                    self.reply(wire)
            self.act_wait(5.0)
        counts = self.store.counts(JOBS)
        self.assertEqual((counts.live, self.delivery.in_flight, len(self.deliveries.settling)), (0, 0, 0), counts)
        self.assertEqual(self.deliveries.running, {})
        states = {self.task(id).state for id in self.ids}
        self.assertLessEqual(states, FINISHED)
        self.successResultOf(self.deliveries.stop())

    def check(self) -> None:
        """What is always so."""
        self.assertTrue(0 <= self.delivery.in_flight <= 3)
        sending = [wire for wire in self.wires if self.is_asked(wire)]
        ids = [wire.value().rpartition(b"x-task-id: ")[2].partition(b"\r\n")[0] for wire in sending]
        self.assertEqual(len(ids), len(set(ids)))
        self.assertLessEqual(len(sending), self.delivery.in_flight)

    def is_asked(self, wire: object) -> bool:
        """Whether a front has something to answer."""
        return getattr(wire.protocol, "_receiver", None) is not None  # type: ignore[attr-defined]

    def act_put(self, count: object) -> None:
        self.ids += self.put(*[b"x"] * int(str(count)), keep_ms=10**9)

    def act_accept(self, count: object) -> None:
        for _ in range(min(int(str(count)), self.opening)):
            self.accept()
        self.turn()

    def act_refuse(self, _: object) -> None:
        if self.opening:
            self.refuse()

    def act_reply(self, what: object) -> None:
        number, status = what  # type: ignore[misc]
        asked = [wire for wire in self.wires if self.is_asked(wire)]
        if asked:
            self.reply(asked[number % len(asked)], status)

    def act_lose(self, number: object) -> None:
        if self.wires:
            self.lose(self.wires[int(str(number)) % len(self.wires)])

    def act_wait(self, seconds: object) -> None:
        self.wait(float(str(seconds)))
        self.successResultOf(self.store.sweep())
        self.turn()

    def act_fail(self, name: object) -> None:
        self.store.failing.add(str(name))

    def act_mend(self, _: object) -> None:
        self.store.failing.clear()

    def act_remove(self, number: object) -> None:
        if self.ids:
            id = self.ids.pop(int(str(number)) % len(self.ids))
            self.successResultOf(self.store.remove(JOBS.tenant, [id]))
            self.deliveries.cancel(id)
            self.turn()

    def act_restart(self, _: object) -> None:
        """The process is killed, and another begins."""
        for call in self.reactor.getDelayedCalls():
            call.cancel()
        for wire in self.wires:
            wire.protocol.on_lost = lambda connection: None  # type: ignore[attr-defined]
        self.store._observers.clear()
        failing, self.store.failing = self.store.failing, set()
        self.begin()
        self.delivery = self.deliver(timeout_s=20.0, concurrency=3)
        self.store.failing = failing
