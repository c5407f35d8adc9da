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

    @settings(max_examples=100, derandomize=True, deadline=None)
    @given(st.binary(max_size=20), st.integers(1, 8))
    def test_hash_new_endpoint(self, key: bytes, count: int) -> None:
        """When an endpoint comes, a key stays where it is or goes to the new one; the order does not matter."""
        endpoints = [Endpoint(str(number)) for number in range(count)]
        before = by_hash(endpoints, key)
        new = Endpoint("new")
        self.assertIn(by_hash([new, *reversed(endpoints)], key), (before, new))

    def test_hash_spreads(self) -> None:
        """Each endpoint gets its share of many keys, however many there are and whatever the keys have in common."""
        for count in (2, 3, 4, 5, 7, 16):
            endpoints = [Endpoint(f"api.1.{number}") for number in range(count)]
            for template in ("10.0.{}.{}", "user-{}-{}", "{:08}{:08}"):
                counts = {endpoint.id: 0 for endpoint in endpoints}
                for number in range(count * 1000):
                    counts[by_hash(endpoints, template.format(number >> 8, number & 255).encode()).id] += 1
                # A share of a thousand keys is off by more than 15 % once in a million times.
                self.assertTrue(all(850 < each < 1150 for each in counts.values()), (template, counts))

    def test_hash_is_agreed(self) -> None:
        """Fronts are different processes, of different versions even: a key has the same endpoint in all."""
        endpoints = [Endpoint(f"api.1.{number}") for number in range(5)]
        self.assertEqual(
            [by_hash(endpoints, key).id[-1] for key in (b"", b"192.0.2.1", b"alice", b"bob", b"\xff\0")],
            ["3", "4", "4", "4", "1"],
        )

    def test_random_two_spreads(self) -> None:
        """Of equals each is chosen as often, and of any two the idler one."""
        endpoints = [Endpoint(str(number)) for number in range(4)]
        counts = dict.fromkeys("0123", 0)
        for one in range(100):
            for other in range(100):
                counts[random_two(endpoints, one / 100, other / 100).id] += 1
        self.assertTrue(all(2300 < each < 2700 for each in counts.values()), counts)
        busy, idle = Endpoint("1", 5), Endpoint("2", 1)
        for first in (0.0, 0.49, 0.5, 0.99):
            self.assertIs(random_two([busy, idle], first, 0.5), idle)
