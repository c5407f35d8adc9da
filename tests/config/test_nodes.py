"""Tests of L{tqserver.config.nodes}: YAML that is not what it should be."""

from __future__ import annotations

import yaml
from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.nodes import DEPTH_MAX, EVENTS_MAX, FILE_BYTES_MAX, Mistake, Wrong, closest, compose, joined, pairs


def wrong_of(data: bytes) -> Wrong:
    """The one thing that is wrong with a document."""
    try:
        compose(data)
    except Mistake as mistake:
        (wrong,) = mistake.wrongs
        return wrong
    raise AssertionError(f"nothing is wrong with {data[:60]!r}")


class ComposeTests(SynchronousTestCase):
    """A file that cannot be read as YAML gives one clear problem."""

    def test_nothing(self) -> None:
        """An empty file, or one of remarks only, has no content, and that is fine."""
        for data in (b"", b"# nothing yet\n", b"---\n", b"\xef\xbb\xbf"):
            root = compose(data)
            self.assertTrue(root is None or root.value == "", data)

    def test_byte_order_mark(self) -> None:
        """A file that an editor saved with a byte order mark is read."""
        root = compose(b"\xef\xbb\xbfa: 1\n")
        assert isinstance(root, yaml.MappingNode)
        self.assertEqual(root.value[0][0].value, "a")

    def test_problems(self) -> None:
        """What is wrong is said with its line and a remedy, whatever it is."""
        for data, line, message, hint in (
            (b"a: 1\n\tb: 2\n", 2, "tab", "spaces"),
            (b"a:\n\t- 2\n", 2, "cannot start any token", "spaces"),
            (b"a: [1\nb: 2\n", 2, "which began on line 1", "mend"),
            (b"a: 'x\nb: 1\n\n", 4, "which began on line 1", "mend"),
            (b"a: b: c\n", 1, "mapping values are not allowed", "quotes"),
            (b"a: 1\n---\nb: 2\n", 2, "another document", "---"),
            (b"a: 1\nignore: *log\n", 2, "undefined alias", "quotes"),
            (b"a: 1\nb: caf\xe9\n", 2, "not UTF-8", "UTF-8"),
            (b"\xff\xfea\x00", 1, "UTF-16", "UTF-8"),
            (b"a: 1\nb: \xc3\xa9\xc3\xa9\n\n\nc: \x07\n", 5, "U+0007", "remove"),
            (b"a: \x00\n", 1, "U+0000", "remove"),
            (b'a: 1\nb: "\\ud800"\n', 2, "Unicode", "mend"),
            (b"%YAML 7.0\n---\na: 1\n", 1, "incompatible", "mend"),
        ):
            wrong = wrong_of(data)
            self.assertEqual(wrong.line, line, (data, wrong))
            self.assertIn(message, wrong.message)
            self.assertIn(hint, wrong.hint)

    def test_large_file(self) -> None:
        """A file that was named by mistake, such as a log of 10 MB, is refused before it is read as YAML."""
        self.assertIn("at most", wrong_of(b"x" * (FILE_BYTES_MAX + 1)).message)

    def test_deep_file(self) -> None:
        """Nesting without end takes no stack without end."""
        self.assertIn("levels deep", wrong_of(b"[" * 100_000).message)
        self.assertIn("levels deep", wrong_of(b"- " * 100_000).message)
        self.assertIsNotNone(compose(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX))

    def test_crowded_file(self) -> None:
        """
        A file with more values than any configuration is refused, with the line where it became too much.
        """
        wrong = wrong_of(b"- 1\n" * (EVENTS_MAX + 10))
        self.assertIn("more than", wrong.message)
        self.assertTrue(EVENTS_MAX - 10 <= wrong.line <= EVENTS_MAX + 10, wrong)


def pairs_of(text: str) -> tuple[dict[str, str], list[Wrong]]:
    """The pairs of a mapping whose values are scalars, and what is wrong."""
    root = compose(text.encode())
    assert isinstance(root, yaml.MappingNode)
    found, wrongs = pairs(root, "")
    return {pair.key: pair.value.value for pair in found if isinstance(pair.value, yaml.ScalarNode)}, wrongs


class PairsTests(SynchronousTestCase):
    """The keys of a mapping."""

    def test_twice(self) -> None:
        """
        A key that is there twice is a mistake that names both lines: YAML itself would take the last in
        silence.
        """
        found, wrongs = pairs_of("a: 1\nb: 2\na: 3\n")
        self.assertEqual(found, {"a": "1", "b": "2"})
        self.assertEqual([(wrong.line, wrong.path) for wrong in wrongs], [(3, "a")])
        self.assertIn("line 1", wrongs[0].message)

    def test_no_text(self) -> None:
        """A key that is a list or a mapping is a mistake."""
        for text in ("? [a]\n: 1\n", "{a: 1}: 2\n", "!x y: 1\n"):
            self.assertIn("must be text", pairs_of(text)[1][0].message)

    def test_words_of_yaml(self) -> None:
        """A key that YAML takes for a switch or a number is the text that stands there."""
        self.assertEqual(pairs_of("on: 1\n8080: 2\n")[0], {"on": "1", "8080": "2"})

    def test_merge(self) -> None:
        """Merged keys are taken, the own ones go first, and then those of the first merged mapping."""
        text = "<<: [{a: 1, b: 1}, {b: 2, c: 2}]\na: own\n"
        self.assertEqual(pairs_of(text), ({"a": "own", "b": "1", "c": "2"}, []))

    def test_merge_of_something_else(self) -> None:
        """A merge of anything but mappings is a mistake."""
        self.assertIn("merges mappings only", pairs_of("<<: 5\n")[1][0].message)

    def test_merge_in_circles(self) -> None:
        """A mapping that merges itself ends."""
        self.assertEqual(pairs_of("&a\nx: 1\n<<: *a\n")[0], {"x": "1"})

    def test_merge_bomb(self) -> None:
        """Merges that double at each level cost no more than they are long."""
        levels = ["l0: &l0 {x: 1}"]
        levels += [f"l{n}: &l{n} {{<<: [*l{n - 1}, *l{n - 1}], k{n}: 1}}" for n in range(1, 200)]
        found, wrongs = pairs_of("\n".join([*levels, "<<: *l199"]))
        self.assertEqual(wrongs, [])
        self.assertEqual(len([key for key in found if key.startswith("k")]), 199)


class WordTests(SynchronousTestCase):
    """What messages are made of."""

    def test_closest(self) -> None:
        """A slip of the finger finds the word, something else finds nothing."""
        known = ("min_workers", "max_workers", "queue_threshold")
        self.assertEqual(closest("min_worker", known), "min_workers")
        self.assertEqual(closest("Max-Workers", known), "max_workers")
        self.assertIsNone(closest("colour", known))
        self.assertIsNone(closest("max_workers" * 1000, known))

    def test_odd_keys(self) -> None:
        """A key of many lines or letters leaves a message one short line."""
        for key in ("a\nb", "x" * 5000):
            path = joined("scaling", key)
            self.assertTrue(len(path) < 100 and path.isprintable(), path)
