"""Which file a path means."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.front.static_case import StaticTestCase


class FindTests(StaticTestCase):
    """Which file a path means."""

    def test_files(self) -> None:
        """Files are found at any depth, also under names that are not ASCII or not even UTF-8."""
        self.put("a.txt")
        self.put("deep/er/b c.txt")
        (self.root / "deep" / os.fsdecode(b"\xff.txt")).write_bytes(b"")
        self.put("größe.txt")
        for path in (b"/a.txt", b"/%61.txt", b"/deep/er/b%20c.txt", b"/deep/%ff.txt", b"/gr%C3%B6%C3%9Fe.txt"):
            self.assertTrue(self.found(path), path)

    def test_absent(self) -> None:
        """What is not there is somebody else's to answer."""
        self.put("a.txt")
        for path in (b"/b.txt", b"/a.txt/", b"/a.txt/b", b"/", b"", b"/x/y", b"a.txt", b"/" + b"x" * 5000, b"*"):
            self.assertFalse(self.found(path), path)
        self.assertIsNone(self.find(b"/a.txt", Path("/nonexistent/root")))

    def test_traversal(self) -> None:
        """Nothing outside the directory is ever served, however the dots and slashes are written."""
        (self.base / "secret.txt").write_text("secret")
        self.put("sub/a.txt")
        for path in (
            b"/../secret.txt",
            b"/%2e%2e/secret.txt",
            b"/%2E./secret.txt",
            b"/sub/../../secret.txt",
            b"/..%2fsecret.txt",
            b"/..%5csecret.txt",
            b"/..\\secret.txt",
            b"//" + str(self.base / "secret.txt").encode(),
            b"/sub/%2e/a.txt",
            b"/sub%2fa.txt",
            b"/sub//a.txt",
            b"/sub/a.txt%00.html",
            b"/%252e%252e/secret.txt",
        ):
            self.assertFalse(self.found(path), path)

    def test_dot_files(self) -> None:
        """Files and folders whose names begin with a dot are never served."""
        self.put(".env")
        self.put(".git/config")
        self.put("sub/.htpasswd")
        for path in (b"/.env", b"/%2eenv", b"/.git/config", b"/sub/.htpasswd"):
            self.assertFalse(self.found(path), path)

    def test_sources(self) -> None:
        """PHP sources are never served as text, nor what an editor left beside them, whatever the case."""
        for name in (
            "index.php",
            "INDEX.PhP",
            "a.phtml",
            "a.phar",
            "a.php3",
            "a.php8",
            "a.phps",
            "a.php~",
            "a.php.bak",
            "a.php.swp",
            "a.php.1",
            "a.php.bak~",
            "a.php.gz",
            "a.php_old",
            "x.php/inner.txt",
        ):
            self.put(name)
            self.assertFalse(self.found(b"/" + name.encode()), name)
        for name in ("php.txt", "about-php.html", "Foo.php.html", "photo.phpx"):
            self.put(name)
            self.assertTrue(self.found(b"/" + name.encode()), name)

    def test_source_pattern_is_quick(self) -> None:
        """A path that is made to be hard to compare costs nothing."""
        self.assertFalse(self.found(b"/x.php" + b".1~_ -" * 600 + b"!"))

    def test_links(self) -> None:
        """A symbolic link within the directory is followed; one that leads out, or to a source, is not."""
        (self.base / "secret.txt").write_text("secret")
        (self.base / "outside").mkdir()
        (self.base / "outside" / "a.txt").write_text("secret")
        (self.base / "public-too").mkdir()
        (self.base / "public-too" / "a.txt").write_text("secret")
        self.put("index.php")
        self.put("real.txt")
        for name, target in [
            ("in.txt", "real.txt"),
            ("out.txt", "../secret.txt"),
            ("out", "../outside"),
            ("beside.txt", "../public-too/a.txt"),
            ("source.txt", "index.php"),
            ("loop", "loop"),
        ]:
            (self.root / name).symlink_to(target)
        self.assertTrue(self.found(b"/in.txt"))
        for path in (b"/out.txt", b"/out/a.txt", b"/beside.txt", b"/source.txt", b"/loop"):
            self.assertFalse(self.found(path), path)

    def test_root_is_a_link(self) -> None:
        """The directory itself may be a link that a deployment turns."""
        self.put("a.txt")
        current = self.base / "current"
        current.symlink_to("public")
        self.assertIsNotNone(self.find(b"/a.txt", current))

    def test_only_regular_files(self) -> None:
        """Pipes and devices are not files to serve, and asking for one does not hang."""
        os.mkfifo(self.root / "pipe")
        (self.root / "null").symlink_to("/dev/null")
        self.assertFalse(self.found(b"/pipe"))
        self.assertFalse(self.found(b"/null"))

    def test_directory(self) -> None:
        """A directory means its index, if it has one."""
        self.put("with/index.html")
        self.put("without/a.txt")
        self.assertTrue(self.found(b"/with/"))
        self.assertTrue(self.found(b"/with"))
        self.assertFalse(self.found(b"/without/"))
        self.put("index.html")
        self.assertTrue(self.found(b"/"))

    @settings(derandomize=True, deadline=None, max_examples=200)
    @given(
        st.lists(
            st.sampled_from(
                [b"/", b"..", b".", b"%2e", b"%2f", b"%5c", b"\\", b"%00", b"secret.txt", b"sub", b"a.txt", b"%25"]
            ),
            max_size=8,
        ).map(b"".join)
    )
    def test_jailed(self, path: bytes) -> None:
        """No combination of dots, slashes and escapes leads out, or makes anything fail."""
        if not (self.base / "secret.txt").exists():
            (self.base / "secret.txt").write_text("secret")
            self.put("sub/a.txt")
        found = self.find(path)
        if found is not None:
            self.assertEqual(found.plain.content.file, os.fsencode(self.root / "sub/a.txt"))
