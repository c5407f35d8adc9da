"""
Tests of L{tqserver.config.shape}, and of the two tables as a whole: every key, every spelling, every mistake.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.folder import Folder
from tqserver.config.model import PoolConfig, ServerConfig, WorkerConfig
from tqserver.config.server_file import SERVER, build_server
from tqserver.config.shape import PROBLEMS_MAX, Found, Shape
from tqserver.config.worker_file import build_worker
from tqserver.config.worker_keys import WORKER
from tqserver.errors import Problem

from .samples import SERVER_BAD, SERVER_GOOD, WORKER_BAD, WORKER_GOOD

POOL = ServerConfig(file="/p/etc/server.yaml", project="/p", workers=PoolConfig(directory="/p/workers"))


def nested(path: str, value: str) -> str:
    """YAML of one dotted key, each part on a line of its own."""
    *sections, name = path.split(".")
    lines = ["  " * depth + section + ":" for depth, section in enumerate(sections)]
    return "\n".join([*lines, "  " * len(sections) + f"{name}: {value}", ""])


def server_of(text: str | bytes) -> tuple[ServerConfig | None, tuple[Problem, ...]]:
    """What a server.yaml of this content becomes, without any file."""
    found = SERVER.read(text.encode() if isinstance(text, str) else text, "/p/etc/server.yaml")
    config = build_server(found, None, {}, 4)
    return config, found.problems()


def worker_of(text: str | bytes) -> tuple[WorkerConfig | None, tuple[Problem, ...]]:
    """What a worker.yaml of this content becomes, without any file; the folder holds a Go source."""
    data = text.encode() if isinstance(text, str) else text
    found = WORKER.read(data, "/p/workers/api/config/worker.yaml")
    read = build_worker(found, "api", "/p/workers/api", POOL, Folder(names=("main.go",)))
    return read and read.config, found.problems()


NEED_A_ROUTE = {"path": "path: /api\n", "routes": "path: /api\n"}
SECTION_TYPES = {"php": "php", "bun": "bun", "python": "python", "build": "command", "run": "command"} | dict.fromkeys(
    ("apis", "store", "deliver", "schedules"), "queue"
)


def worker_text(key: str, spelling: str, value: str) -> str:
    """A worker.yaml that says one thing, in a way that nothing else is wrong."""
    text = nested(spelling, value)
    type_ = SECTION_TYPES.get(key.partition(".")[0])
    if type_ is not None:
        text += f"type: {type_}\n"
    if key == "build":
        text += "run: [./api]\n"
    return text if key in ("path", "routes") else text + "path: /api\n"


class KeyTests(SynchronousTestCase):
    """Every key by itself."""

    def test_samples_are_complete(self) -> None:
        """Every key of the tables has its samples, and no sample is of a key that is gone."""
        for shape, good, bad in ((SERVER, SERVER_GOOD, SERVER_BAD), (WORKER, WORKER_GOOD, WORKER_BAD)):
            paths = sorted(key.path for key in shape.keys)
            self.assertEqual(sorted(good), paths)
            self.assertEqual(sorted(bad), paths)

    def test_server_keys_arrive(self) -> None:
        """Every key of server.yaml changes the configuration that comes out."""
        usual, problems = server_of("")
        self.assertEqual(problems, ())
        for path, value in SERVER_GOOD.items():
            config, problems = server_of(nested(path, value))
            self.assertEqual(problems, (), path)
            self.assertNotEqual(config, usual, path)

    def test_worker_keys_arrive_in_every_spelling(self) -> None:
        """Every key of worker.yaml changes the worker, and every spelling of it to the same."""
        for key in WORKER.keys:
            value = WORKER_GOOD[key.path]
            if key.path == "environment_file":
                continue  # It changes nothing unless the file is there: see test_load.
            usual, _ = worker_of(worker_text(key.path, "strip_prefix", "true") + NEED_A_ROUTE.get(key.path, ""))
            config, problems = worker_of(worker_text(key.path, key.path, value))
            self.assertEqual(problems, (), key.path)
            self.assertNotEqual(config, usual, key.path)
            for spelling in key.also:
                older, problems = worker_of(worker_text(key.path, spelling, value))
                self.assertEqual(problems, (), spelling)
                self.assertEqual(older, config, spelling)

    def test_bad_values(self) -> None:
        """Every wrong value is one problem, on its line, under the path as it was written, with a remedy."""
        for shape, bad, load in ((SERVER, SERVER_BAD, server_of), (WORKER, WORKER_BAD, worker_of)):
            for key in shape.keys:
                for spelling in (key.path, *key.also):
                    text = nested(spelling, bad[key.path])
                    if shape is WORKER and key.path not in ("path", "routes"):
                        text += "path: /api\n"
                    config, problems = load("# A remark\n" + text)
                    self.assertIsNone(config)
                    self.assertEqual(len(problems), 1, (spelling, problems))
                    self.assertEqual(problems[0].line, 2 + spelling.count("."), problems)
                    self.assertTrue(problems[0].path.startswith(spelling), problems)
                    self.assertTrue(problems[0].hint, problems)

    def test_two_spellings_at_once(self) -> None:
        """A key that is said in two ways is a mistake that names the other line."""
        _, (problem,) = worker_of("path: /\nmax_requests: 5\ngo:\n  max_requests: 5\n")
        self.assertEqual((problem.line, problem.path), (4, "go.max_requests"))
        self.assertIn("max_requests on line 2", problem.message)

    def test_unknown_keys(self) -> None:
        """An unknown key is a mistake, and the hint says what was meant, even if it belongs elsewhere."""
        for text, line, path, hint in (
            ("server:\n  prot: 5\n", 2, "server.prot", "did you mean server.port?"),
            ("server:\n  debounce_ms: 5\n", 2, "server.debounce_ms", "did you mean file_watcher.debounce_ms?"),
            ("sever:\n  port: 5\n", 1, "sever", "did you mean server?"),
            ("workers:\n  zzz: 5\n", 2, "workers.zzz", "known here: directory, "),
        ):
            (problem,) = server_of(text)[1]
            self.assertEqual((problem.line, problem.path), (line, path))
            self.assertIn(hint, problem.hint)

    def test_sections(self) -> None:
        """A section without keys is as good as none; one that is no mapping is a mistake."""
        self.assertEqual(server_of("server:\nworkers: ~\n")[1], ())
        for text in ("server: 8080\n", "server: [port]\n", "server: ''\n"):
            (problem,) = server_of(text)[1]
            self.assertEqual((problem.line, problem.path), (1, "server"))
            self.assertIn("host", problem.message)

    def test_top(self) -> None:
        """A file that is a list, or a word, is told so."""
        for text in ("- a\n- b\n", "hello\n", "5\n"):
            (problem,) = server_of(text)[1]
            self.assertEqual((problem.line, problem.path), (1, ""))

    def test_not_yet(self) -> None:
        """A key of the documentation that this version has not is refused with a way around, not ignored."""
        for text in (
            "admin:\n  listen: {address: 127.0.0.1, port: 1}\n",
            "server:\n  listen: [{port: 1, tls: {certificate: a}}]\n",
        ):
            (problem,) = server_of(text)[1]
            self.assertEqual(problem.line, 2)
            self.assertIn("this version does not have yet", problem.message)
            self.assertTrue(problem.hint)

    def test_many_problems(self) -> None:
        """Of more problems than anybody reads, the first are listed and the others counted."""
        text = "".join(f"wrong{number}: 1\n" for number in range(PROBLEMS_MAX + 25))
        problems = server_of(text)[1]
        self.assertEqual(len(problems), PROBLEMS_MAX + 1)
        self.assertEqual([problem.line for problem in problems[:-1]], list(range(1, PROBLEMS_MAX + 1)))
        self.assertIn("25 more", problems[-1].message)

    def test_anchors(self) -> None:
        """Anchors, aliases and merges say things once."""
        text = "path: /\nbun: {env: &env {A: '1'}}\ntype: bun\nenvironment: {<<: *env, B: '2'}\n"
        config, problems = worker_of(text)
        self.assertEqual(problems, ())
        assert config is not None
        self.assertEqual(config.process.environment, (("A", "1"), ("B", "2")))


def lines_and_text(
    chosen: list[tuple[str, bool]], good: Mapping[str, str], bad: Mapping[str, str]
) -> tuple[str, list[tuple[int, str]]]:
    """
    A file with these keys, and where its mistakes are.

    @param chosen: paths, each with whether its value is wrong.
    """
    sections: dict[str, list[tuple[str, bool]]] = {}
    for path, wrong in chosen:
        sections.setdefault(path.rpartition(".")[0], []).append((path, wrong))
    lines: list[str] = []
    expected: list[tuple[int, str]] = []

    def emit(section: str, depth: int) -> None:
        for path, wrong in sections.get(section, []):
            lines.append("  " * depth + f"{path.rpartition('.')[2]}: {(bad if wrong else good)[path]}")
            if wrong:
                expected.append((len(lines), path))
        inner = sorted(
            {
                path.removeprefix(section + "." if section else "").partition(".")[0]
                for path in sections
                if path and path != section and (not section or path.startswith(section + "."))
            }
        )
        for name in inner:
            lines.extend(["# A section", "  " * depth + name + ":"])
            emit(f"{section}.{name}" if section else name, depth + 1)

    emit("", 0)
    return "\n".join([*lines, ""]), expected


SERVER_MIX = sorted(set(SERVER_GOOD) - {"server.listen"})
WORKER_MIX = sorted(
    path
    for path in WORKER_GOOD
    if not path.startswith(("php.", "bun.", "python.", "apis", "store.", "deliver", "schedules"))
    and path not in ("path", "routes", "type", "build", "run", "environment_file", "max_requests", "health.type")
)


class MistakesTests(SynchronousTestCase):
    """All mistakes are reported at once."""

    @settings(derandomize=True, deadline=None, max_examples=60)
    @given(st.permutations(SERVER_MIX), st.integers(1, 12), st.lists(st.booleans(), min_size=12, max_size=12))
    def test_server(self, order: list[str], count: int, wrong: list[bool]) -> None:
        """
        Whichever keys of server.yaml are wrong: those are reported, no others, in the order of the file.
        """
        chosen = list(zip(order[:count], wrong, strict=False))
        text, expected = lines_and_text(chosen, SERVER_GOOD, SERVER_BAD)
        self.assert_reported(server_of(text)[1], expected, text)

    @settings(derandomize=True, deadline=None, max_examples=60)
    @given(st.permutations(WORKER_MIX), st.integers(1, 12), st.lists(st.booleans(), min_size=12, max_size=12))
    def test_worker(self, order: list[str], count: int, wrong: list[bool]) -> None:
        """The same of worker.yaml."""
        chosen = [("path", False), *zip(order[:count], wrong, strict=False)]
        text, expected = lines_and_text(chosen, WORKER_GOOD, WORKER_BAD)
        self.assert_reported(worker_of(text)[1], expected, text)

    def assert_reported(self, problems: tuple[Problem, ...], expected: list[tuple[int, str]], text: str) -> None:
        """Problems are at these lines; the path of one within a list or a mapping is longer."""
        lines = [problem.line for problem in problems]
        self.assertEqual(lines, [line for line, _ in expected], (text, problems))
        for problem, (_, path) in zip(problems, expected, strict=True):
            self.assertTrue(problem.path.startswith(path), (problem, path))


WORDS = sorted(
    {part for shape in (SERVER, WORKER) for path in shape.spellings for part in path.split(".")}
    | {"host", "tls", "address", "unix", "<<", "A"}
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(
        [*SERVER_BAD.values(), *WORKER_GOOD.values(), "{", "%", "/%2f", "[::1]", "é", "\ud7ff", "1" * 5000]
    ),
    st.dates(),
    st.binary(max_size=4),
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(WORDS), inner, max_size=5)),
    max_leaves=25,
)
SYNTAX = st.lists(
    st.sampled_from(
        [*WORDS, ": ", ":\n  ", "\n", "- ", "[", "]", "{", "}", "&a ", "*a", "<<: *a", "!t ", "!!int ", "'", '"']
        + ["|\n", "\t", ">-\n ", "? ", "---", "...", "%", "#", ",", "8080", "1.5", "null", "~", "\\", "é"]
        + ["\u2028", "=", "\x85"]
    ),
    max_size=40,
).map("".join)


class GarbageTests(SynchronousTestCase):
    """
    Whatever stands in a file, the answer is a configuration or problems, never an exception of another kind.
    """

    def assert_answer(self, data: bytes) -> None:
        """Both files give one or the other, and problems that can be shown on one line each."""
        lines = len(re.split("[\n\r\x85\u2028\u2029]", data.decode("utf-8", "replace")))
        for load in (server_of, worker_of):
            config, problems = load(data)
            self.assertEqual(config is None, bool(problems), (data, problems))
            for problem in problems:
                self.assertTrue(str(problem).isprintable(), problem)
                self.assertTrue(problem.hint, problem)
                self.assertIn(problem.line, range(lines + 1))

    @settings(derandomize=True, deadline=None, max_examples=150)
    @given(st.binary(max_size=200))
    def test_bytes(self, data: bytes) -> None:
        """Bytes of any kind."""
        self.assert_answer(data)

    @settings(derandomize=True, deadline=None, max_examples=150)
    @given(SYNTAX)
    @example("a: &a [*a]")
    @example("path: &a {<<: *a}")
    @example("<<: *a\u2028<<")
    @example("[")
    def test_syntax(self, text: str) -> None:
        """Pieces of YAML and of our keys in any order."""
        self.assert_answer(text.encode())

    @settings(derandomize=True, deadline=None, max_examples=150)
    @given(st.dictionaries(st.sampled_from(WORDS), TREES, max_size=6))
    def test_trees(self, tree: dict[str, object]) -> None:
        """Our keys with values of any kind, in any place."""
        self.assert_answer(yaml.safe_dump(tree, allow_unicode=True).encode("utf-8", "replace"))

    @settings(derandomize=True, deadline=None, max_examples=100)
    @given(st.sampled_from(sorted(WORKER_GOOD)), SCALARS)
    def test_values(self, path: str, value: object) -> None:
        """Every key with any scalar."""
        text = nested(path, yaml.safe_dump(value, default_flow_style=True, width=10**9).partition("\n")[0])
        self.assert_answer((text + "type: command\n").encode("utf-8", "replace"))

    def test_aliases_of_a_large_mapping(self) -> None:
        """A list of aliases of a large mapping is refused by the length of the list, not unfolded."""
        large = ", ".join(f"k{number}: 1" for number in range(5000))
        data = f"ignore: &a {{{large}}}\nroutes: [{', '.join(['*a'] * 2000)}]\n".encode()
        problems = worker_of(data)[1]
        self.assertIn("2000 items", str(problems))
        data = f"ignore: &a {{{large}}}\nroutes: [{', '.join(['*a'] * 50)}]\n".encode()
        problems = worker_of(data)[1]
        self.assertEqual(len([problem for problem in problems if "has 5000 keys" in problem.message]), 50)


class ShapeTests(SynchronousTestCase):
    """The table itself."""

    def test_found_knows_what_failed(self) -> None:
        """
        A contradiction with a key that failed is not reported: the default in its place would be the liar.
        """
        _, problems = server_of("workers:\n  port_range_start: x\n  port_range_end: 5\n")
        self.assertEqual([problem.path for problem in problems], ["workers.port_range_start"])

    def test_unknown_value(self) -> None:
        """What is not in the file has no value."""
        found = Found("f", Shape(()))
        self.assertIsNone(found.get("a", str))
        self.assertNotIn("a", found)
        found.raise_problems()
