"""Which endpoint takes a request."""

from __future__ import annotations

from attrs import define
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.front.balance import by_hash, least_in_flight, random_two, round_robin


@define
class Endpoint:
    """As far as balancing is concerned."""

    id: str
    in_flight: int = 0


class BalanceTests(SynchronousTestCase):
    """The policies."""

    def test_least_in_flight(self) -> None:
        """The idlest takes the request; equals take turns."""
        one, two, three = Endpoint("1", 2), Endpoint("2", 1), Endpoint("3", 1)
        self.assertEqual(
            [least_in_flight([one, two, three], turn).id for turn in range(6)], ["2", "2", "3", "2", "2", "3"]
        )

    def test_round_robin(self) -> None:
        """One after the other, whatever they have to do."""
        endpoints = [Endpoint("1", 9), Endpoint("2"), Endpoint("3")]
        self.assertEqual([round_robin(endpoints, turn).id for turn in range(4)], ["1", "2", "3", "1"])

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.floats(0, 0.999), st.floats(0, 0.999))
    def test_random_two(self, loads: list[int], first: float, second: float) -> None:
        """Two different ones are drawn, and the busiest of all is never chosen over an idler one."""
        endpoints = [Endpoint(str(number), load) for number, load in enumerate(loads)]
        chosen = random_two(endpoints, first, second)
        if len(set(loads)) == len(loads) > 1:
            self.assertNotEqual(chosen.in_flight, max(loads))

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(st.binary(max_size=20), st.integers(2, 8))
    def test_hash_moves_only_its_own_share(self, key: bytes, count: int) -> None:
        """When an endpoint goes, keys of the others stay where they are."""
        endpoints = [Endpoint(str(number)) for number in range(count)]
        chosen = by_hash(endpoints, key)
        for gone in endpoints:
            if gone is not chosen:
                self.assertIs(by_hash([each for each in endpoints if each is not gone], key), chosen)

    def test_hash_spreads(self) -> None:
        """Many keys reach all endpoints."""
        endpoints = [Endpoint(f"api.1.{number}") for number in range(4)]
        counts = {endpoint.id: 0 for endpoint in endpoints}
        for number in range(1000):
            counts[by_hash(endpoints, b"10.0.0.%d" % number).id] += 1
        self.assertTrue(all(count > 100 for count in counts.values()), counts)
