"""
How a queue is started by hand: options, what the environment says besides, and what neither may ask for.

An option beats the environment, the environment beats the file, the file beats what is usual.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import NoReturn, cast

from attrs import evolve, field, frozen

from ..config.load import load_queue
from ..config.queue_model import (
    MEMORY_BYTES_MAX,
    MEMORY_MESSAGES_MAX,
    ApiListen,
    ApiSettings,
    QueueSettings,
    StoreSettings,
    TqsSettings,
    ZapqSettings,
)
from ..errors import ConfigFault
from ..units import size_bytes

HOST = "127.0.0.1"
PORT = 8080
DATA = "data"

CONFIG_STATUS = 1
"""How the process ends when it cannot be as it is told."""

_DESCRIPTION = """
A queue without a server. Options beat the environment (TQS_PORT, TQS_DATABASE, TQS_API_TOKEN, QUEUE_MAX_BYTES,
QUEUE_MAX_MSGS), and that beats the file.
"""


@frozen(kw_only=True)
class Started:
    """
    How a queue was started.

    @ivar launch: descriptor of what the supervisor tells; L{None} if it was started by hand: then the rest counts.
    @ivar settings: what it is.
    @ivar tls_cert: path of a certificate with its chain, PEM; empty for no TLS.
    @ivar tls_key: path of its key.
    """

    launch: int | None = None
    settings: QueueSettings = field(factory=QueueSettings)
    tls_cert: str = ""
    tls_key: str = ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tqserver.queue", description=_DESCRIPTION)
    parser.add_argument("--launch", type=int, metavar="FD", help="for the supervisor, not for people")
    parser.add_argument("--api", choices=["tqs", "zapq", "codeq"], help="which service is there, at the root")
    parser.add_argument("--config", metavar="FILE", help="a YAML file with the keys of a queue")
    parser.add_argument("--addr", metavar="HOST:PORT", help=f"or unix:PATH; usually {HOST}:{PORT}")
    parser.add_argument("--insecure", action="store_true", help="without a token, let other machines in all the same")
    parser.add_argument("--tls-cert", metavar="FILE", default="", help="certificate and chain, PEM")
    parser.add_argument("--tls-key", metavar="FILE", default="", help="its key, PEM")
    parser.add_argument("--data", metavar="DIR", help=f"folder of tasks, or of snapshots; usually {DATA}")
    tqs = parser.add_argument_group("of tqs")
    tqs.add_argument("--store", choices=["sqlite", "memory"], help="where messages are; usually sqlite")
    durable = "what an answer survives, unless messages are in memory; usually disk"
    tqs.add_argument("--durability", choices=["disk", "process"], help=durable)
    zapq = parser.add_argument_group("of zapq")
    zapq.add_argument("--max-bytes", metavar="SIZE", help="of all messages, such as 256M")
    zapq.add_argument("--max-msgs", metavar="N", help="how many messages")
    zapq.add_argument(
        "--persist-on-stop", metavar="FILE", help="snapshot, below the folder, that is written at the end"
    )
    zapq.add_argument("--load-on-start", metavar="FILE", help="snapshot that is loaded at the start, if it is there")
    return parser


def read_options(arguments: Sequence[str], environ: Mapping[str, str]) -> Started:
    """
    Read a command line.

    @raise SystemExit: it asks for help, or for what cannot be; the reason was printed.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.launch is not None:
        return Started(launch=options.launch)
    if options.api == "codeq":
        parser.error("--api codeq: this service is not available yet; there are tqs and zapq")
    try:
        settings = load_queue(options.config) if options.config else QueueSettings()
    except ConfigFault as fault:
        parser.exit(CONFIG_STATUS, f"{fault}\n")
    if bool(options.tls_cert) != bool(options.tls_key):
        parser.error("--tls-cert and --tls-key need each other")
    if options.api is None:
        if not options.config:
            parser.error("say --api tqs or --api zapq, or name a file with --config")
        given = [name for name in _OF_ONE_API if getattr(options, name)]
        if given:
            parser.error(f"--{given[0].replace('_', '-')} needs --api: which service is meant?")
        if not settings.apis.listeners:
            parser.exit(
                CONFIG_STATUS, f"{options.config}: no service has a listen: who could reach it? (see apis.tqs.listen)\n"
            )
        return Started(settings=settings, tls_cert=options.tls_cert, tls_key=options.tls_key)
    reading = _Reading(parser, options, environ)
    settings = reading.tqs(settings) if options.api == "tqs" else reading.zapq(settings)
    return Started(settings=settings, tls_cert=options.tls_cert, tls_key=options.tls_key)


_OF_ONE_API = (
    "addr",
    "insecure",
    "data",
    "store",
    "durability",
    "max_bytes",
    "max_msgs",
    "persist_on_stop",
    "load_on_start",
)


@frozen
class _Reading:
    """Makes settings of options, environment and a file."""

    parser: argparse.ArgumentParser
    options: argparse.Namespace
    environ: Mapping[str, str]

    def wrong(self, message: str) -> NoReturn:
        self.parser.error(message)

    def unfit(self, *names: str) -> None:
        """Refuse options that mean nothing to the service."""
        for name in names:
            if getattr(self.options, name):
                self.wrong(f"--{name.replace('_', '-')} means nothing to --api {self.options.api}")

    def tqs(self, settings: QueueSettings) -> QueueSettings:
        """TQS alone."""
        self.unfit("max_bytes", "max_msgs", "persist_on_stop", "load_on_start")
        tqs = settings.apis.tqs or TqsSettings()
        token = self.environ.get("TQS_API_TOKEN") or tqs.api_token
        if token is not None and not (token.isascii() and token.isprintable() and " " not in token):
            self.wrong("TQS_API_TOKEN must be printable ASCII without spaces")
        port = self.environ.get("TQS_PORT", "")
        listen = self.listen(tqs.listen, self.port("TQS_PORT", port) if port else None)
        insecure = tqs.insecure or self.options.insecure
        if token is None and not insecure:
            self.check_reach(listen, "no token is set: set TQS_API_TOKEN")
        tqs = evolve(tqs, api_token=token, listen=listen, insecure=insecure)
        return evolve(settings, apis=ApiSettings(tqs=tqs), store=self.store(settings.store))

    def store(self, store: StoreSettings) -> StoreSettings:
        """Where the messages of TQS are."""
        options = self.options
        database = self.environ.get("TQS_DATABASE", "")
        directory = store.directory
        if options.data:
            directory = options.data
        elif database:
            directory = database if os.path.isdir(database) else f"{database}.d"
        kind = options.store or store.type
        store = evolve(
            store,
            type=kind,
            directory=os.path.abspath(directory),
            durability=options.durability or store.durability,
        )
        if kind == "memory":
            return evolve(
                store,
                bytes_max=store.bytes_max or MEMORY_BYTES_MAX,
                messages_max=store.messages_max or MEMORY_MESSAGES_MAX,
            )
        return store

    def zapq(self, settings: QueueSettings) -> QueueSettings:
        """ZapQ alone."""
        options = self.options
        if options.store == "sqlite":
            self.wrong("--store sqlite means nothing to --api zapq, which is in memory")
        zapq = settings.apis.zapq or ZapqSettings()
        insecure = zapq.insecure or options.insecure
        listen = self.listen(zapq.listen, None)
        if not insecure:
            self.check_reach(listen, "ZapQ knows no tokens")
        zapq = evolve(
            zapq,
            bytes_max=self.limit("QUEUE_MAX_BYTES", "max_bytes", zapq.bytes_max, size_bytes, "a size such as 256M"),
            messages_max=self.limit("QUEUE_MAX_MSGS", "max_msgs", zapq.messages_max, int, "a number"),
            data=os.path.abspath(options.data or zapq.data or DATA),
            persist_on_stop=options.persist_on_stop or zapq.persist_on_stop,
            load_on_start=options.load_on_start or zapq.load_on_start,
            listen=listen,
            insecure=insecure,
        )
        # Its own queue is all there is.
        store = evolve(settings.store, type="memory", bytes_max=1, messages_max=1)
        return evolve(settings, apis=ApiSettings(zapq=zapq), store=store)

    def limit(self, variable: str, option: str, usual: int, read: type[int] | object, what: str) -> int:
        """A limit, from an option or else a variable."""
        text = getattr(self.options, option)
        name = f"--{option.replace('_', '-')}"
        if text is None:
            text, name = self.environ.get(variable), variable
        if not text:
            return usual
        try:
            value = cast("int", read(text))  # type: ignore[operator]
        except ValueError:
            value = 0
        if not value > 0:
            self.wrong(f"{name} must be {what}, at least 1, not {text[:40]!r}")
        return value

    def listen(self, configured: ApiListen | None, port: int | None) -> ApiListen:
        """Where the service listens."""
        text = self.options.addr
        if text is None:
            listen = configured or ApiListen(address=HOST, port=PORT)
            if port is not None:
                listen = ApiListen(address=listen.address, port=port)
            return listen
        if text.startswith("unix:"):
            path = text[len("unix:") :]
            if not path:
                self.wrong("--addr unix: must name a path")
            return ApiListen(unix=os.path.abspath(path))
        host, colon, number = text.rpartition(":")
        if not colon:
            self.wrong(f"--addr must be HOST:PORT or unix:PATH, not {text[:100]!r}")
        host = host.removeprefix("[").removesuffix("]")
        host = {"": "0.0.0.0", "localhost": HOST}.get(host, host)
        try:
            ip_address(host)
        except ValueError:
            self.wrong(f"--addr must have an IP address before the port, not {host[:100]!r}")
        return ApiListen(address=host, port=self.port("--addr", number))

    def port(self, name: str, text: str) -> int:
        """Read a port; 0 is any that is free."""
        if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= 65_535):
            self.wrong(f"{name} must have a port from 0 to 65535, not {text[:40]!r}")
        return int(text)

    def check_reach(self, listen: ApiListen, why: str) -> None:
        """Refuse an address where other machines reach us though nobody is asked for a token."""
        if listen.unix is None and not ip_address(listen.address).is_loopback:
            self.wrong(
                f"other machines reach {listen.address}, and {why}, or listen on 127.0.0.1; "
                "--insecure permits it all the same"
            )
