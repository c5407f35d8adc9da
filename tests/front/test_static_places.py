"""Where files may lie, and whether it is of any use to look there."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.front import static_places
from tqserver.front.static_names import Root
from tqserver.front.static_path import Rules
from tqserver.front.static_places import PATTERN_NAMES_MAX, Place, Places

NAMES = (b"assets", b"a.b+c", b"favicon.ico", b"index.html")


def place(*names: bytes, told: bool = True) -> Place:
    """A place with these names in it."""
    root = Root("/nonexistent/root", lambda: 0)
    root.names, root.told = set(names), told
    return Place(b"/nonexistent/root", root, (b"index.html", b"index.htm"), Rules((), b""), sources=False)


def wear_in(places: Places) -> None:
    """Ask until it pays to be quick."""
    for _ in range(static_places.LOOKS_BEFORE_PATTERN):
        places.may_hold(b"/somewhere")


class MayHoldTests(SynchronousTestCase):
    """Whether a request may mean a file."""

    def setUp(self) -> None:
        self.patch(static_places, "LOOKS_BEFORE_PATTERN", 3)

    def both(self, make: Callable[[], Places], yes: tuple[bytes, ...], no: tuple[bytes, ...]) -> None:
        """Check what is said in the beginning, and by what is made of it later."""
        for worn_in in (False, True):
            places = make()
            if worn_in:
                wear_in(places)
                self.assertNotEqual(places.may_hold, places._look)
            for path in yes:
                self.assertTrue(places.may_hold(path), (path, worn_in))
            for path in no:
                self.assertFalse(places.may_hold(path), (path, worn_in))

    def test_one_place(self) -> None:
        """The first segment decides; what is encoded may be anything."""
        self.both(
            lambda: Places(b"", place(b"assets", b"a.b+c"), None),
            (b"/assets", b"/assets/", b"/assets/x/y", b"/a.b+c", b"/x/%61", b"/%61ssets", b"/x%"),
            (b"/", b"/asset", b"/assets2", b"/x/assets", b"/aXb+c", b"//assets", b"/assets\n", b"*"),
        )

    def test_index(self) -> None:
        """The folder itself is asked for if there is an index."""
        self.both(lambda: Places(b"", place(b"index.htm"), None), (b"/", b"/index.htm"), (b"/index.html", b"/x"))

    def test_prefix(self) -> None:
        """A worker's files are under its prefix, and without it."""
        self.both(
            lambda: Places(b"/api", place(b"assets", b"index.html"), None),
            (b"/api/assets/x", b"/api", b"/api/", b"/assets", b"/api/index.html", b"/a%70i/x"),
            (b"/api/x", b"/api/x/assets", b"/apix/assets", b"/x", b"/api//assets"),
        )

    def test_two_places(self) -> None:
        """The server's files are for all."""
        self.both(
            lambda: Places(b"/api", place(b"own"), place(b"shared")),
            (b"/api/own", b"/shared", b"/own"),
            (b"/api/shared", b"/api", b"/api/x", b"/"),
        )
        self.both(
            lambda: Places(b"", place(b"own"), place(b"shared", b"index.html")),
            (b"/own", b"/shared/x", b"/"),
            (b"/x",),
        )

    def test_nothing(self) -> None:
        """Where there are no files nobody looks for any, not even for encoded ones."""
        for places in (Places(b"", None, None), Places(b"/api", place(), place()), Places(b"/api", None, place())):
            for path in (b"/", b"/api", b"/api/x", b"/%61"):
                self.assertFalse(places.may_hold(path))

    def test_not_told(self) -> None:
        """A folder that nobody tells of is asked; this one is not there."""
        places = Places(b"", place(b"old", told=False), None)
        for _ in range(2):
            self.assertFalse(places.may_hold(b"/old"))
            wear_in(places)
        self.assertEqual(places.may_hold, places._look)

    def test_fallback(self) -> None:
        """With a page for everything, everything may mean it."""
        self.assertTrue(Places(b"", place(), None, b"/index.html").may_hold(b"/x/y"))

    def test_changes(self) -> None:
        """A name that comes or goes counts from the next request on."""
        own = place(b"a")
        places = Places(b"", own, None)
        wear_in(places)
        assert own.root is not None
        self.assertFalse(places.may_hold(b"/b"))
        own.root.names.add(b"b")
        own.root.changed()
        self.assertTrue(places.may_hold(b"/b"))
        own.root.names.clear()
        own.root.changed()
        self.assertFalse(places.may_hold(b"/b"))
        own.root.names.add(b"c")
        own.root.changed()
        self.assertTrue(places.may_hold(b"/c"))
        wear_in(places)
        self.assertFalse(places.may_hold(b"/a"))

    def test_closed(self) -> None:
        """Places that are not needed any more are not told."""
        own = place(b"a")
        places = Places(b"", own, own)
        places.close()
        assert own.root is not None
        self.assertEqual(own.root.listeners, set())

    def test_many_names(self) -> None:
        """With many names in a folder it is a look into a set, for good."""
        places = Places(b"", place(*(b"%d" % number for number in range(PATTERN_NAMES_MAX + 1))), None)
        wear_in(places)
        wear_in(places)
        self.assertEqual(places.may_hold, places._look)
        self.assertTrue(places.may_hold(b"/7"))
        self.assertFalse(places.may_hold(b"/x"))

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(
        st.sampled_from([b"", b"/api", b"/a.b/c+"]),
        st.none() | st.sets(st.sampled_from(NAMES)),
        st.none() | st.sets(st.sampled_from(NAMES)),
        st.lists(
            st.lists(
                st.sampled_from([b"/", b"/api", b"/a.b/c+", b"assets", b"a.b+c", b"index.html", b"x", b"%", b"."]),
                max_size=5,
            ).map(lambda parts: b"/" + b"".join(parts).lstrip(b"/")),
            min_size=1,
            max_size=8,
        ),
    )
    def test_both_say_the_same(
        self, prefix: bytes, own: set[bytes] | None, shared: set[bytes] | None, paths: list[bytes]
    ) -> None:
        """What is quick says what is slow says, for all paths that the route takes."""
        places = [
            Places(prefix, None if own is None else place(*own), None if shared is None else place(*shared))
            for _ in range(2)
        ]
        wear_in(places[1])
        for path in paths:
            if prefix and b"%" not in path and not (path + b"/").startswith(prefix + b"/"):
                path = prefix + path
            self.assertEqual(bool(places[0].may_hold(path)), bool(places[1].may_hold(path)), path)


class CandidatesTests(SynchronousTestCase):
    """In which order the places are looked at."""

    def test_order(self) -> None:
        """The worker's under the prefix, the worker's, the server's."""
        own, shared = place(), place()
        places = Places(b"/api", own, shared)
        self.assertEqual(places.candidates(b"/api/x", 4), [(own, b"/x"), (own, b"/api/x"), (shared, b"/api/x")])
        self.assertEqual(places.candidates(b"/api", 4), [(own, b"/"), (own, b"/api"), (shared, b"/api")])
        self.assertEqual(Places(b"", own, shared).candidates(b"/x", 0), [(own, b"/x"), (shared, b"/x")])
        self.assertEqual(Places(b"", None, None).candidates(b"/x", 0), [])
