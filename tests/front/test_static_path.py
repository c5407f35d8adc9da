"""What a path means as a name, and patterns of names."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.front.static_path import NamePattern, Rules, decoded, public_name


class DecodedTests(SynchronousTestCase):
    """Which paths are names at all."""

    def test_once(self) -> None:
        """A path is decoded once: what is still encoded then stays so."""
        self.assertEqual(decoded(b"/a%20b"), b"/a b")
        self.assertEqual(decoded(b"/a%2520b"), b"/a%20b")
        self.assertEqual(decoded(b"/%zz%"), b"/%zz%")
        self.assertEqual(decoded(b""), b"/")

    def test_two_meanings(self) -> None:
        """What could mean anything but a plain name means nothing."""
        for path in (
            b"/../a",
            b"/a/..",
            b"/./a",
            b"/.git/config",
            b"/%2e%2e/a",
            b"//a",
            b"/a//b",
            b"/a%2Fb",
            b"/a%5cb",
            b"/a\\b",
            b"/a%00b",
            b"/a\0b",
            b"a",
            b"*",
            b"/" + b"x" * 5000,
        ):
            self.assertIsNone(decoded(path), path)

    def test_sources(self) -> None:
        """A source is a name, but not for the public, nor is what tools leave beside it."""
        for path in (b"/index.php", b"/INDEX.PHP~", b"/a.php.zst", b"/a.phar/b"):
            self.assertEqual(decoded(path), path)
            self.assertIsNone(public_name(path))
        self.assertEqual(public_name(b"/php.txt"), b"/php.txt")

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(st.binary(max_size=30))
    def test_any(self, path: bytes) -> None:
        """Whatever comes, a name has no part that is empty or begins with a dot, but for the end of a folder's."""
        name = decoded(path)
        if name is not None:
            *parts, last = name.split(b"/")[1:]
            for part in [*parts, last or b"x"]:
                self.assertTrue(part and not part.startswith(b".") and not re.search(rb"[\0\\/]", part), name)


def naive(pattern: str, name: str) -> bool:
    """Patterns of whole paths the slow way."""
    expression = ""
    for part in pattern.strip("/").split("/"):
        translated = re.escape(part).replace(r"\*", "[^/]*").replace(r"\?", "[^/]")
        expression += "(?:/[^/]*)*" if part == "**" else "/" + translated
    return re.fullmatch(expression, name) is not None


class PatternTests(SynchronousTestCase):
    """Patterns of names, as the configuration has them."""

    def test_names(self) -> None:
        """Without a slash a pattern is for the names of files, wherever they are."""
        pattern = NamePattern("*.js")
        for name, matches in [(b"/a.js", True), (b"/x/y/a.js", True), (b"/a.jsx", False), (b"/a.js/b", False)]:
            self.assertEqual(pattern.matches(name), matches, name)
        self.assertTrue(NamePattern("[ab]?.txt").matches(b"/x/a1.txt"))

    def test_paths(self) -> None:
        """With a slash it is for whole paths, where a star stays in its folder and two go through any number."""
        for pattern, name, matches in [
            ("/assets/*", b"/assets/a.js", True),
            ("/assets/*", b"/assets/x/a.js", False),
            ("/assets/**", b"/assets/x/y/a.js", True),
            ("/assets/**", b"/assets2/a.js", False),
            ("assets/**/*.js", b"/assets/a.js", True),
            ("assets/**/*.js", b"/assets/x/a.css", False),
            ("/**/img/*", b"/x/img/a", True),
            ("/**/img/*", b"/img/a", True),
            ("/a.txt", b"/a.txt", True),
            ("/a.txt", b"/x/a.txt", False),
            ("/assets/", b"/assets/x/a.js", True),
            ("assets/", b"/assets/a.js", True),
            ("assets/", b"/x/assets/a.js", True),
            ("/assets/", b"/x/assets/a.js", False),
            ("/**", b"/anything/at/all", True),
        ]:
            self.assertEqual(NamePattern(pattern).matches(name), matches, (pattern, name))

    def test_odd_names(self) -> None:
        """Names may hold anything."""
        self.assertTrue(NamePattern("/a/*").matches(b"/a/\xff\n"))
        self.assertTrue(NamePattern("größe.*").matches("/größe.txt".encode()))

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(
        st.lists(st.sampled_from(["a", "b", "*", "**", "a*", "?"]), min_size=1, max_size=5).map("/".join),
        st.lists(st.sampled_from(["a", "b", "ab", ""]), min_size=1, max_size=5).map("/".join),
    )
    def test_like_expressions(self, pattern: str, name: str) -> None:
        """A pattern means what the corresponding regular expression means."""
        name = "/" + name.strip("/")
        self.assertEqual(NamePattern("/" + pattern).matches(name.encode()), naive(pattern, name))

    def test_many_stars(self) -> None:
        """A pattern full of stars is no slower for a name that is made for it."""
        pattern = NamePattern("/" + "**/a*/" * 20 + "b")
        self.assertFalse(pattern.matches(b"/a" * 2000))

    def test_rules(self) -> None:
        """The first rule that matches decides, and a file that none is for gets the default."""
        rules = Rules((("/assets/**", "immutable"), ("*.js", "max-age=60")), b"no-cache")
        self.assertEqual(rules.value(b"/assets/a.js"), b"immutable")
        self.assertEqual(rules.value(b"/a.js"), b"max-age=60")
        self.assertEqual(rules.value(b"/a.html"), b"no-cache")
