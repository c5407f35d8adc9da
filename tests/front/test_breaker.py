"""Whether an endpoint is trusted."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.errors import ClientFault, ScarceFault, ServerFault, Unreachable, UpstreamFault
from tqserver.front.breaker import (
    GOOD,
    REST_S,
    REST_TRIAL_S,
    TRIAL_S,
    Breaker,
    Standing,
    ejected_max,
    failure_kind,
    status_kind,
)
from tqserver.front.endpoints import EndpointSet
from tqserver.plane.messages import Endpoint, OutlierRule

RULE = OutlierRule(failures=3, window_s=10.0, eject_s=2.0, eject_max_s=16.0)


class BreakerCase(SynchronousTestCase):
    """One endpoint and a clock."""

    def setUp(self) -> None:
        self.breaker = Breaker()
        self.now = 100.0

    def fail(self, times: int = 1, kind: str = "break", spare: bool = True, began: float | None = None) -> bool:  # type: ignore[override]
        """The endpoint breaks requests."""
        ejected = False
        for _ in range(times):
            ejected = self.breaker.failed(
                self.now,
                self.now if began is None else began,
                kind,  # type: ignore[arg-type]
                RULE,
                spare,
                0.999999,
            )
        return ejected

    def wait(self) -> None:
        """Until the endpoint may be asked again."""
        self.now = max(self.now, self.breaker.blocked_until)

    def blocked_s(self) -> float:
        """How long it is left alone from now on."""
        return round(max(0.0, self.breaker.blocked_until - self.now), 3)


class EjectionTests(BreakerCase):
    """An endpoint that breaks what it is given."""

    def test_several_in_a_row(self) -> None:
        """Some failures in a row have an endpoint left alone; fewer do not."""
        self.assertFalse(self.fail(2))
        self.assertEqual(self.blocked_s(), 0)
        self.assertTrue(self.fail())
        self.assertTrue(self.breaker.out)
        self.assertEqual(self.blocked_s(), 2)

    def test_not_in_a_row(self) -> None:
        """An answer in between begins the count anew."""
        self.fail(2)
        self.breaker.answered(self.now, self.now)
        self.assertTrue(self.breaker.forgettable)
        self.assertFalse(self.fail(2))

    def test_too_far_apart(self) -> None:
        """Failures that are far apart do not add up."""
        for _ in range(10):
            self.assertFalse(self.fail())
            self.now += RULE.window_s / 1.5
        self.assertFalse(self.breaker.out)

    def test_one_is_tried(self) -> None:
        """After its time one request is let through; when it is answered, the endpoint is trusted."""
        self.fail(3)
        self.wait()
        self.breaker.begun(self.now)
        began = self.now
        self.assertGreater(self.breaker.blocked_until, self.now)
        self.assertTrue(self.breaker.out)
        self.now += 0.1
        self.breaker.answered(self.now, began)
        self.assertEqual((self.breaker.standing, self.breaker.blocked_until), (Standing.TRUSTED, GOOD))

    def test_grows(self) -> None:
        """Each time that it is tried in vain it is left alone for longer, up to a limit."""
        pauses = []
        self.fail(3)
        for _ in range(5):
            pauses.append(self.blocked_s())
            self.wait()
            self.breaker.begun(self.now)
            self.assertTrue(self.fail())
        self.assertEqual(pauses, [2, 4, 8, 16, 16])

    def test_forgiven(self) -> None:
        """Who was well for long enough is not held to what was before; who was not, is."""
        for well_s, pause_s in ((1.0, 4), (100.0, 2)):
            self.breaker = Breaker()
            self.fail(3)
            self.wait()
            self.breaker.begun(self.now)
            self.breaker.answered(self.now, self.now)
            self.now += well_s
            self.fail(3)
            self.assertEqual(self.blocked_s(), pause_s, well_s)

    def test_forgotten(self) -> None:
        """Nothing is kept of an endpoint that has been well for long."""
        self.fail(3)
        self.wait()
        self.breaker.begun(self.now)
        self.breaker.answered(self.now, self.now)
        self.assertFalse(self.breaker.forgettable)
        self.now += 100
        self.breaker.answered(self.now, self.now)
        self.assertTrue(self.breaker.forgettable)

    def test_silent_trial(self) -> None:
        """A request that tries it and is neither answered nor broken keeps others waiting for a moment only."""
        self.fail(3)
        self.wait()
        self.breaker.begun(self.now)
        self.assertEqual(self.blocked_s(), TRIAL_S)
        self.wait()
        self.breaker.begun(self.now)
        self.assertTrue(self.breaker.out)
        self.assertEqual(self.blocked_s(), TRIAL_S)

    def test_herd(self) -> None:
        """What was under way when it was ejected says nothing new, whichever way it ends."""
        began = self.now
        self.fail(3)
        until = self.breaker.blocked_until
        self.now += 1
        self.fail(50, began=began)
        self.breaker.answered(self.now, began)
        self.assertEqual((self.breaker.blocked_until, self.breaker.ejections), (until, 1))
        self.wait()
        self.breaker.begun(self.now)
        self.fail(1, began=began)
        self.breaker.answered(self.now, began)
        self.assertEqual((self.breaker.standing, self.breaker.ejections), (Standing.TRIED, 1))

    def test_needed(self) -> None:
        """An endpoint without which there would be too few is not ejected, until there are enough again."""
        self.assertFalse(self.fail(20, spare=False))
        self.assertEqual(self.breaker.blocked_until, GOOD)
        self.assertTrue(self.fail())

    def test_released(self) -> None:
        """An ejected one that is needed is trusted again at once."""
        self.fail(3)
        self.breaker.release()
        self.assertEqual(self.breaker.blocked_until, GOOD)
        self.assertFalse(self.fail(2))

    def test_what_counts(self) -> None:
        """Only the kinds of failures that the rule names count."""
        self.assertFalse(self.fail(20, kind="timeout"))
        self.assertFalse(self.breaker.failed(self.now, self.now, "break", OutlierRule(failures=0), True, 0.5))
        self.assertTrue(self.breaker.forgettable)


class RestTests(BreakerCase):
    """An endpoint that refuses connections."""

    def test_rests(self) -> None:
        """It is left alone for a moment, even if there is no other."""
        self.assertFalse(self.fail(kind="connect", spare=False))
        self.assertEqual(self.blocked_s(), REST_S)
        self.assertFalse(self.breaker.out)

    def test_one_first(self) -> None:
        """After that one goes first; if it is not refused at once, all may follow."""
        self.fail(kind="connect")
        self.wait()
        self.breaker.begun(self.now)
        self.assertEqual(self.blocked_s(), REST_TRIAL_S)
        self.wait()
        self.breaker.begun(self.now)
        self.assertEqual(self.breaker.blocked_until, GOOD)

    def test_refused_again(self) -> None:
        """If it is refused again, it rests again; and when that has happened too often, it is ejected."""
        self.fail(2, kind="connect")
        self.wait()
        self.breaker.begun(self.now)
        self.assertTrue(self.fail(kind="connect"))
        self.assertTrue(self.breaker.out)

    def test_answered(self) -> None:
        """An answer is enough to trust it."""
        self.fail(kind="connect")
        self.wait()
        self.breaker.begun(self.now)
        self.breaker.answered(self.now, self.now)
        self.assertTrue(self.breaker.forgettable)

    def test_our_own_fault(self) -> None:
        """When we could not connect for a reason of our own, it rests and nothing is counted."""
        for _ in range(10):
            self.breaker.rest(self.now)
            self.assertEqual(self.blocked_s(), REST_S)
            self.wait()
            self.breaker.begun(self.now)
        self.assertEqual(self.breaker.failures, 0)
        self.fail(3)
        until = self.breaker.blocked_until
        self.breaker.rest(self.now)
        self.assertEqual(self.breaker.blocked_until, until)


class KindTests(SynchronousTestCase):
    """What an end says about the endpoint."""

    def test_faults(self) -> None:
        """Refusing, breaking and being late are the endpoint's; a client's fault and one of ours are not."""
        for fault, kind in (
            (Unreachable("x", status=504), "connect"),
            (UpstreamFault("x"), "break"),
            (UpstreamFault("x", status=504), "timeout"),
            (ClientFault("x"), None),
            (ServerFault("x"), None),
            (ScarceFault("x"), None),
        ):
            self.assertEqual(failure_kind(fault), kind, fault)

    def test_statuses(self) -> None:
        """A worker's own answer says nothing, unless it is asked for."""
        plain, gateway, all_of_them = OutlierRule(), OutlierRule(on=("gateway",)), OutlierRule(on=("gateway", "5xx"))
        for status, kinds in (
            (200, (None, None, None)),
            (500, (None, None, "5xx")),
            (503, (None, "gateway", "gateway")),
        ):
            self.assertEqual(tuple(status_kind(status, rule) for rule in (plain, gateway, all_of_them)), kinds, status)

    def test_share(self) -> None:
        """A share of the endpoints may be ejected, and never all of them."""
        rule, all_of_them = OutlierRule(ejected_percent_max=50), OutlierRule(ejected_percent_max=100)
        self.assertEqual([ejected_max(count, rule) for count in (0, 1, 2, 3, 4, 10)], [0, 0, 1, 1, 2, 5])
        self.assertEqual([ejected_max(count, all_of_them) for count in (0, 1, 2, 10)], [0, 0, 1, 9])


def endpoints(count: int) -> tuple[Endpoint, ...]:
    """Some of one worker."""
    return tuple(Endpoint(id=f"api.1.{number}", port=9000 + number) for number in range(count))


class SetTests(SynchronousTestCase):
    """All endpoints of a worker together."""

    def test_never_all(self) -> None:
        """If all break everything, no more than the share is ejected, and the others are used on."""
        known = EndpointSet()
        known.update(endpoints(4))
        for _ in range(20):
            for state in known.current:
                known.went_wrong(state, 1.0, 1.0, "break", RULE, 0.5)
        self.assertEqual((len(known.ejected), len(known.available(1.0)), known.ejections), (2, 2, 2))

    def test_fewer_endpoints(self) -> None:
        """When others go, ejected ones come back in their place."""
        known = EndpointSet()
        known.update(endpoints(4))
        for state in known.current[:2]:
            for _ in range(3):
                known.went_wrong(state, 1.0, 1.0, "break", RULE, 0.5)
        self.assertEqual(len(known.available(1.0)), 2)
        known.update(endpoints(2))
        known.keep_enough(RULE)
        self.assertEqual([state.id for state in known.available(1.0)], ["api.1.0"])
        known.keep_enough(OutlierRule(failures=0))
        self.assertEqual(len(known.available(1.0)), 2)

    def test_next_change(self) -> None:
        """It is known when the next one may be asked again."""
        known = EndpointSet()
        known.update(endpoints(2))
        self.assertIsNone(known.next_change(1.0))
        known.went_wrong(known.current[0], 1.0, 1.0, "connect", RULE, 0.5)
        self.assertEqual(known.next_change(1.0), 1.0 + REST_S)
        self.assertIsNone(known.next_change(1.0 + REST_S))

    @settings(max_examples=200, derandomize=True, deadline=None)
    @given(
        st.integers(1, 5),
        st.integers(0, 100),
        st.lists(
            st.tuples(st.integers(0, 4), st.sampled_from(["begin", "answer", "connect", "break"]), st.floats(0, 3)),
            max_size=80,
        ),
    )
    def test_anything(self, count: int, percent: int, events: list[tuple[int, str, float]]) -> None:
        """
        Whatever happens: some endpoint is not ejected, no more than the share are, what is trusted is free, and nobody
        is left alone for longer than the limit.
        """
        rule = OutlierRule(failures=2, eject_max_s=16.0, ejected_percent_max=percent)
        known = EndpointSet()
        known.update(endpoints(count))
        now, begun = 0.0, dict.fromkeys(range(count), 0.0)
        for number, event, wait_s in events:
            number %= count
            state = known.current[number]
            now += wait_s
            if event == "begin":
                if state.free(now):
                    state.begun(now)
                    begun[number] = now
            elif event == "answer":
                state.went_well(now, begun[number])
            else:
                known.went_wrong(state, now, begun[number], event, rule, 0.5)  # type: ignore[arg-type]
            self.assertLessEqual(len(known.ejected), ejected_max(count, rule))
            for each in known.current:
                self.assertEqual(
                    each.blocked_until == GOOD, each.breaker is None or each.breaker.standing is Standing.TRUSTED
                )
                self.assertLessEqual(each.blocked_until, now + rule.eject_max_s)
