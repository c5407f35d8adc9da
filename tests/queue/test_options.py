"""Tests of L{tqserver.queue.options}."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.queue_model import MEBIBYTE, ApiListen, TqsSettings, ZapqSettings
from tqserver.queue.options import Started, read_options


class OptionsCase(SynchronousTestCase):
    """A command line."""

    def read(self, line: str, environ: Mapping[str, str] | None = None) -> Started:
        return read_options(line.split(), environ or {})

    def tqs(self, line: str = "", environ: Mapping[str, str] | None = None) -> TqsSettings:
        settings = self.read(f"--api tqs {line}", environ).settings
        assert settings.apis.tqs is not None and settings.apis.zapq is None
        return settings.apis.tqs

    def zapq(self, line: str = "", environ: Mapping[str, str] | None = None) -> ZapqSettings:
        settings = self.read(f"--api zapq {line}", environ).settings
        assert settings.apis.zapq is not None and settings.apis.tqs is None
        return settings.apis.zapq

    def refused(self, line: str, environ: Mapping[str, str] | None = None) -> str:
        """What is said when it cannot be."""
        said = StringIO()
        self.patch(sys, "stderr", said)
        stop = self.assertRaises(SystemExit, self.read, line, environ)
        self.assertNotEqual(stop.code, 0)
        return said.getvalue()

    def file(self, text: str) -> str:
        path = Path(self.mktemp())
        path.write_text(text)
        return str(path.absolute())


class WhichTests(OptionsCase):
    """What is started."""

    def test_launch(self) -> None:
        """The supervisor says only where it tells the rest."""
        self.assertEqual(self.read("--launch 7").launch, 7)

    def test_nothing(self) -> None:
        """Who says nothing is told what there is to say."""
        self.assertIn("--api tqs or --api zapq", self.refused(""))
        self.assertIn("invalid choice", self.refused("--api sqs"))

    def test_codeq(self) -> None:
        """A service that is not there yet is not taken for a mistake."""
        self.assertIn("not available yet", self.refused("--api codeq"))

    def test_file_alone(self) -> None:
        """A file may say everything; then it says where services listen."""
        path = self.file("apis: {tqs: {listen: {port: 8070}}, zapq: {listen: {port: 8071}}}\n")
        apis = self.read(f"--config {path}").settings.apis
        self.assertEqual([listen.port for _, listen in apis.listeners], [8070, 8071])
        self.assertIn("no service has a listen", self.refused(f"--config {self.file('apis: [tqs]')}"))
        self.assertIn("--addr needs --api", self.refused(f"--config {path} --addr :1"))

    def test_bad_file(self) -> None:
        """What is wrong with a file is said with its line."""
        path = self.file("apis: [tqs]\nstore: {type: paper}\n")
        self.assertIn(f"{path}:2", self.refused(f"--api tqs --config {path}"))


class AddressTests(OptionsCase):
    """Where it listens."""

    def test_usual(self) -> None:
        """Without a word it is loopback."""
        self.assertEqual(self.tqs().listen, ApiListen(address="127.0.0.1", port=8080))
        self.assertEqual(self.zapq().listen, ApiListen(address="127.0.0.1", port=8080))

    def test_forms(self) -> None:
        """An address may be written in the usual ways."""
        self.assertEqual(self.tqs("--addr localhost:0").listen, ApiListen(address="127.0.0.1", port=0))
        self.assertEqual(self.tqs("--addr [::1]:80").listen, ApiListen(address="::1", port=80))
        self.assertEqual(self.tqs("--addr unix:q.sock").listen, ApiListen(unix=os.path.abspath("q.sock")))
        for address in ("8080", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1", "unix:", "a.b:1"):
            self.assertIn("--addr", self.refused(f"--api tqs --addr {address}"))

    def test_reach(self) -> None:
        """Where other machines reach it, it wants a token or the word that none is needed, and says why."""
        for address in ("0.0.0.0:80", ":80", "[::]:80", "192.0.2.1:80"):
            self.assertIn("TQS_API_TOKEN", self.refused(f"--api tqs --addr {address}"))
            self.assertIn("knows no tokens", self.refused(f"--api zapq --addr {address}"))
        listen = self.tqs("--addr :80", {"TQS_API_TOKEN": "secret"}).listen
        self.assertEqual(listen, ApiListen(address="0.0.0.0", port=80))
        self.assertTrue(self.tqs("--addr :80 --insecure").insecure)
        self.assertTrue(self.zapq("--addr :80 --insecure").insecure)

    def test_tls(self) -> None:
        """A certificate is nothing without its key."""
        self.assertIn("need each other", self.refused("--api zapq --tls-cert c.pem"))
        started = self.read("--api zapq --tls-cert c.pem --tls-key k.pem")
        self.assertEqual((started.tls_cert, started.tls_key), ("c.pem", "k.pem"))


class TqsTests(OptionsCase):
    """What TQS is told."""

    def test_environment(self) -> None:
        """The environment of the first server counts; an option beats it."""
        environ = {"TQS_PORT": "7000", "TQS_API_TOKEN": "secret", "TQS_DATABASE": "/nowhere/tqs.sqlite3"}
        self.assertEqual(self.tqs("", environ).listen, ApiListen(port=7000))
        self.assertEqual(self.tqs("", environ).api_token, "secret")
        self.assertEqual(self.tqs("--addr 127.0.0.1:7001", environ).listen, ApiListen(port=7001))
        self.assertEqual(self.read("--api tqs", environ).settings.store.directory, "/nowhere/tqs.sqlite3.d")
        self.assertEqual(self.read("--api tqs --data /d", environ).settings.store.directory, "/d")
        here = os.path.abspath(".")
        self.assertEqual(self.read("--api tqs", {"TQS_DATABASE": here}).settings.store.directory, here)
        self.assertIn("TQS_PORT", self.refused("--api tqs", {"TQS_PORT": "http"}))
        self.assertIn("TQS_API_TOKEN", self.refused("--api tqs", {"TQS_API_TOKEN": "a b"}))

    def test_store(self) -> None:
        """Messages are on the disk unless that is not wanted."""
        store = self.read("--api tqs").settings.store
        self.assertEqual((store.type, store.durability, store.directory), ("sqlite", "disk", os.path.abspath("data")))
        self.assertEqual(self.read("--api tqs --durability process").settings.store.durability, "process")
        store = self.read("--api tqs --store memory").settings.store
        self.assertEqual((store.type, store.bytes_max), ("memory", 256 * MEBIBYTE))
        store = self.read("--api tqs --store memory --data /d --durability disk").settings.store
        self.assertEqual(store.type, "memory")
        self.assertIn("means nothing", self.refused("--api tqs --max-bytes 1M"))

    def test_file(self) -> None:
        """What a file says counts where nothing else is said."""
        path = self.file("apis: {tqs: {api_token: long-enough, max_body: 10K, listen: {port: 8070}}}\n")
        tqs = self.tqs(f"--config {path}")
        self.assertEqual((tqs.api_token, tqs.body_chars_max, tqs.listen), ("long-enough", 10240, ApiListen(port=8070)))
        tqs = self.tqs(f"--config {path}", {"TQS_PORT": "1", "TQS_API_TOKEN": "another"})
        self.assertEqual((tqs.api_token, tqs.listen), ("another", ApiListen(port=1)))


class ZapqTests(OptionsCase):
    """What ZapQ is told."""

    def test_limits(self) -> None:
        """Options beat the environment, which beats what is usual."""
        usual = self.zapq()
        self.assertEqual((usual.bytes_max, usual.messages_max), (256 * MEBIBYTE, 50_000))
        environ = {"QUEUE_MAX_BYTES": "1G", "QUEUE_MAX_MSGS": "7"}
        zapq = self.zapq("", environ)
        self.assertEqual((zapq.bytes_max, zapq.messages_max), (1024 * MEBIBYTE, 7))
        zapq = self.zapq("--max-bytes 2K --max-msgs 9", environ)
        self.assertEqual((zapq.bytes_max, zapq.messages_max), (2048, 9))
        for line in ("--max-bytes x", "--max-bytes 0", "--max-msgs 1.5", "--max-msgs -1"):
            self.refused(f"--api zapq {line}")
        self.assertIn("QUEUE_MAX_MSGS", self.refused("--api zapq", {"QUEUE_MAX_MSGS": "many"}))
        self.assertIn("in memory", self.refused("--api zapq --store sqlite"))
        self.zapq("--store memory --durability process")

    def test_snapshots(self) -> None:
        """Snapshots have a folder, and two of them a name."""
        zapq = self.zapq("--data /d --persist-on-stop a --load-on-start b")
        self.assertEqual((zapq.data, zapq.persist_on_stop, zapq.load_on_start), ("/d", "a", "b"))
