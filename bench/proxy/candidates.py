"""What is measured: our server, nginx, and the Go proxy, started on the same files and the same worker."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.project import ASK_AGAIN_S, PORTS_PER_SERVER, START_S, Project, Unmet, free_port, number, worker_pids
from bench.proxy.machine import children, find
from bench.proxy.rows import NGINX
from bench.wire import Connection, Lost

STOP_PEER_S = 10.0
"""Longest for a peer to end, before it is killed."""

HELLO = b"hello world"
SMALL_BYTES = 1024
LARGE_BYTES = 10 * 1024 * 1024

WORKER = "bench"
STATIC = "files"
PHP = "php"

SERVER_YAML = """\
mode: production
server:
  host: 127.0.0.1
  port: {port}
  fronts: {fronts}
  max_connections: 20000
workers:
  port_range_start: {first}
  port_range_end: {last}
"""

WORKER_YAML = """\
path: /
type: command
run: [./backend]
public: null
scaling:
  min_workers: 1
  max_workers: 1
environment:
  GOMAXPROCS: "1"
"""

PHP_YAML = """\
path: /php
type: php
php:
  pool:
    manager: static
    max_workers: {children}
"""
PHP_CHILDREN = 40
"""More than the load has connections: php-fpm binds a child to each connection that is kept."""
HELLO_PHP = f"""<?php
header('Content-Type: text/plain; charset=utf-8');
echo '{HELLO.decode()}';
"""

STATIC_YAML = """\
path: /files
type: static
"""

NGINX_CONF = """\
{user}
worker_processes 1;
worker_rlimit_nofile 65536;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
daemon off;
events {{ worker_connections 32768; }}
http {{
    client_body_temp_path {directory}/client_body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;

    types {{ text/plain txt; }}
    default_type application/octet-stream;
    sendfile on;
    access_log {directory}/access.log combined buffer=64k flush=1s;
    keepalive_timeout 120s;
    keepalive_requests 1000000000;

    upstream worker {{
        server 127.0.0.1:{worker_port};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
{upstreams}    map $http_upgrade $connection_field {{
        default upgrade;
        ''      '';
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://worker;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Connection $connection_field;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Request-ID $request_id;
            proxy_read_timeout 120s;
        }}
        location /files/ {{
            alias {files}/;
        }}
{locations}    }}
}}
"""

NGINX_PHP_UPSTREAM = """\
    upstream php {{
        server unix:{socket};
        keepalive {children};
        keepalive_requests 1000000000;
    }}
"""
NGINX_PHP_LOCATION = """\
        location ~ ^/php(?<script>/[a-z]+\\.php)$ {{
            fastcgi_pass php;
            fastcgi_keep_conn on;
            include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME {root}$script;
            fastcgi_param HTTP_X_FORWARDED_FOR $remote_addr;
            fastcgi_param HTTP_X_REAL_IP $remote_addr;
            fastcgi_param HTTP_X_FORWARDED_PROTO $scheme;
            fastcgi_param HTTP_X_REQUEST_ID $request_id;
        }}
"""


@dataclass(frozen=True)
class Candidate:
    """
    Something that serves on a port of the loopback.

    @ivar name: as the table calls it.
    @ivar pids: the processes that serve: no supervisor, no master, no worker.
    """

    name: str
    port: int
    pids: tuple[int, ...]


class Server(Project):
    """Our own server, in production, on the worker of this benchmark and a folder of static files."""

    programs: Path
    php: bool = False

    def _copy(self) -> None:
        (self.directory / "etc").mkdir()
        first = 10_000 + PORTS_PER_SERVER * random.randrange(100)
        (self.directory / "etc/server.yaml").write_text(
            SERVER_YAML.format(port=self.port, fronts=self.fronts, first=first, last=first + PORTS_PER_SERVER - 1)
        )
        worker = self._worker(WORKER, WORKER_YAML)
        shutil.copy2(self.programs / "backend", worker / "backend")
        public = self._worker(STATIC, STATIC_YAML) / "public"
        public.mkdir()
        chance = random.Random(1)  # the same files for everybody
        (public / "small.txt").write_bytes(chance.randbytes(SMALL_BYTES // 2).hex().encode())
        (public / "large.bin").write_bytes(chance.randbytes(LARGE_BYTES))
        if self.php:
            scripts = self._worker(PHP, PHP_YAML.format(children=PHP_CHILDREN)) / "public"
            scripts.mkdir()
            (scripts / "hello.php").write_text(HELLO_PHP)

    def _worker(self, name: str, config: str) -> Path:
        folder = self.directory / "workers" / name
        (folder / "config").mkdir(parents=True)
        (folder / "config/worker.yaml").write_text(config)
        return folder

    def when_answers(self, path: str, body: bytes) -> None:
        """Wait until a path is answered as it has to be."""
        with self.connection() as connection:

            def met() -> bool:
                try:
                    response = connection.ask("GET", path)
                except Lost:
                    return False
                return response.status == 200 and response.body == body

            self.when(f"{path} is answered", met, START_S)

    @property
    def files(self) -> Path:
        """The folder of static files."""
        return self.directory / "workers" / STATIC / "public"

    @property
    def front_pids(self) -> tuple[int, ...]:
        """The processes that serve clients."""
        fronts = self.status()["fronts"]
        assert isinstance(fronts, list)
        return tuple(number(front["pid"]) for front in fronts)

    @property
    def other_pids(self) -> tuple[int, ...]:
        """The supervisor and the workers' processes."""
        workers = [pid for worker in self.status_workers() for pid in worker_pids(worker)]
        return (self.pid, *workers)

    @property
    def php_pids(self) -> tuple[int, ...]:
        """The masters of php-fpm."""
        return tuple(pid for worker in self.status_workers() if worker["name"] == PHP for pid in worker_pids(worker))

    @property
    def worker_port(self) -> int:
        """Where the worker listens that all proxies have."""
        for worker in self.status_workers():
            if worker["name"] == WORKER:
                instances = worker["instances"]
                assert isinstance(instances, list)
                return number(instances[0]["port"])
        raise Unmet(f"the status does not know the worker {WORKER}")


@contextmanager
def ours(
    programs: Path, checkout: Path, fronts: int = 1, php: bool = False, path: tuple[Path, ...] = ()
) -> Iterator[Server]:
    """
    Our server, for as long as the context lasts.

    @param programs: where the built worker is.
    @param checkout: whose code it runs.
    @param php: whether there is a php worker as well.
    @param path: where its Python looks for modules besides.
    """
    server = Server((), fronts=fronts, checkout=checkout, path=path)
    server.programs = programs
    server.php = php
    with server:
        server.when_answers("/bench", HELLO)
        server.when_answers("/files/small.txt", (server.files / "small.txt").read_bytes())
        if php:
            server.when_answers("/php/hello.php", HELLO)
        yield server


@contextmanager
def process(argv: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process, for as long as the context lasts."""
    with log.open("wb") as output:
        started = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )
    try:
        yield started
    finally:
        started.terminate()
        try:
            started.wait(STOP_PEER_S)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


@contextmanager
def php_twin(server: Server, directory: Path) -> Iterator[tuple[Path, tuple[int, ...]]]:
    """
    A second php-fpm, with the configuration that our server has made for its own; only the socket is another.

    @return: that socket, and the processes.
    """
    config, *more = server.directory.glob("var/run/*/*.conf")
    assert not more, more
    socket, log = directory / "php.sock", directory / "php.out"
    text = config.read_text()
    own = str(config.with_suffix(".sock"))
    if f"listen = '{own}'" not in text:
        raise Unmet(f"{config} does not listen where it was thought to")
    twin = directory / "php.conf"
    twin.write_text(text.replace(own, str(socket)))
    root = ["--allow-to-run-as-root"] if os.geteuid() == 0 else []
    with process([find("php-fpm"), "--nodaemonize", "--fpm-config", str(twin), *root], log) as started:
        wait_for("php-fpm listens", socket.exists, started, log)
        yield socket, (started.pid,)


@contextmanager
def nginx(server: Server) -> Iterator[tuple[Candidate, tuple[int, ...]]]:
    """
    nginx with one worker process, before the worker of our server, and before a php-fpm of its own if ours has one.

    @return: it, and the processes behind it.
    """
    port = free_port()
    directory = Path(tempfile.mkdtemp(prefix="tqserver-bench-nginx-"))
    log = directory / "nginx.out"
    upstreams = locations = ""
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        behind: tuple[int, ...] = ()
        if server.php:
            socket, behind = stack.enter_context(php_twin(server, directory))
            upstreams = NGINX_PHP_UPSTREAM.format(socket=socket, children=PHP_CHILDREN)
            locations = NGINX_PHP_LOCATION.format(root=server.directory / "workers" / PHP / "public")
        config = directory / "nginx.conf"
        config.write_text(
            NGINX_CONF.format(
                user="user root;" if os.geteuid() == 0 else "",
                directory=directory,
                worker_port=server.worker_port,
                port=port,
                files=server.files,
                upstreams=upstreams,
                locations=locations,
            )
        )
        argv = [find("nginx"), "-p", str(directory), "-e", str(directory / "error.log"), "-c", str(config)]
        started = stack.enter_context(process(argv, log))
        wait_for("nginx answers", lambda: answers(port), started, log)
        yield Candidate(NGINX, port, tuple(children(started.pid))), behind


@contextmanager
def go_proxy(server: Server, programs: Path, name: str, kept: int = 0, procs: int = 0) -> Iterator[Candidate]:
    """
    The Go proxy before the worker of our server.

    @param kept: connections to the worker that it keeps; 0: as its default transport does.
    @param procs: C{GOMAXPROCS}; 0: as many as it finds.
    """
    port = free_port()
    log = programs / f"{name.replace(' ', '-')}.out"
    argv = [
        *(str(programs / "goproxy"), "-listen", f"127.0.0.1:{port}"),
        *("-to", f"http://127.0.0.1:{server.worker_port}", "-kept", str(kept)),
    ]
    with process(argv, log, **({"GOMAXPROCS": str(procs)} if procs else {})) as started:
        wait_for("the Go proxy answers", lambda: answers(port), started, log)
        yield Candidate(name, port, (started.pid,))


def answers(port: int) -> bool:
    """Whether the worker's answer comes from a port."""
    connection = Connection(("127.0.0.1", port), timeout_s=5.0)
    try:
        return connection.ask("GET", "/bench").body == HELLO
    except Lost:
        return False
    finally:
        connection.close()


def wait_for(what: str, met: Callable[[], bool], started: subprocess.Popen[bytes], log: Path) -> None:
    """
    Wait until a process that we have started does what it should.

    @raise Unmet: it ended, or did not do it in time.
    """
    ended = time.monotonic() + START_S
    while not met():
        if started.poll() is not None or time.monotonic() > ended:
            raise Unmet(f"not within {START_S:.0f} s: {what}\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(ASK_AGAIN_S)
