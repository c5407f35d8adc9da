"""What a file holds, by its name."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tqserver.front.content_type import content_type


class ContentTypeTests(SynchronousTestCase):
    """What a file holds."""

    def test_names(self) -> None:
        """The end of the name decides, in any case; text says its charset; what is unknown is just bytes."""
        for name, kind in [
            (b"/a/index.HTML", b"text/html; charset=utf-8"),
            (b"x.mjs", b"text/javascript; charset=utf-8"),
            (b"x.svg", b"image/svg+xml"),
            (b"x.woff2", b"font/woff2"),
            (b"x.tar.gz", b"application/gzip"),
            (b"x.unheard-of", b"application/octet-stream"),
            (b"LICENSE", b"application/octet-stream"),
            (b"/dir.html/file", b"application/octet-stream"),
        ]:
            self.assertEqual(content_type(name), kind, name)
