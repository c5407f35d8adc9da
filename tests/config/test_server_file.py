"""Tests of L{tqserver.config.server_file}: what server.yaml says is what the server gets."""

from __future__ import annotations

import os
import re

from twisted.trial.unittest import SynchronousTestCase

from tqserver.config.model import HTTPConfig, ListenConfig, PoolConfig, ServerConfig, WatchConfig
from tqserver.errors import ConfigFault

from .trees import only, server_in, write_tree

REPOSITORY = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class ServerTests(SynchronousTestCase):
    """A server.yaml in the etc folder of a project."""

    def setUp(self) -> None:
        self.base = os.path.abspath(self.mktemp())

    def fault(self, text: str | bytes, mode: str | None = None, environ: dict[str, str] | None = None) -> ConfigFault:
        """The fault of a server.yaml."""
        return self.assertRaises(ConfigFault, server_in, self.base, text, mode, environ or {})

    def test_defaults(self) -> None:
        """An empty file gives what the documentation says."""
        base = self.base
        self.assertEqual(
            server_in(base),
            ServerConfig(
                file=f"{base}/etc/server.yaml",
                project=base,
                mode="development",
                http=HTTPConfig(
                    listen=(ListenConfig(address="0.0.0.0", port=8080),),
                    fronts=4,
                    read_timeout_s=30,
                    write_timeout_s=30,
                    idle_timeout_s=120,
                    request_timeout_s=60,
                    stop_timeout_s=30,
                    header_bytes_max=16384,
                    body_bytes_max=0,
                    connections_max=10000,
                    read_bytes_min_per_s=0,
                    in_flight_max=0,
                    trusted_proxies=(),
                    log_file=f"{base}/logs/server_{{date}}.log",
                    access_log=f"{base}/logs/access_{{date}}.log",
                    access_log_format="combined",
                    public=f"{base}/public",
                    health_path=None,
                ),
                workers=PoolConfig(
                    directory=f"{base}/workers",
                    port_first=9000,
                    port_last=9999,
                    startup_delay_s=0.1,
                    restart_delay_s=0.1,
                    shutdown_grace_s=0.5,
                    drain_timeout_s=30,
                    ready_timeout_s=5,
                    build_parallel=2,
                    build_timeout_s=120,
                ),
                watch=WatchConfig(
                    enabled=True,
                    debounce_s=0.05,
                    ignore=(
                        *("*.log", "data/", "logs/", "node_modules/", ".git/"),
                        *("*~", ".#*", "*.sw?", "__pycache__/"),
                    ),
                ),
                admin_socket=f"{base}/var/admin.sock",
                metrics_enabled=True,
                metrics_path="/metrics",
                metrics_listen="front",
            ),
        )

    def test_annotated_file(self) -> None:
        """
        The server.yaml that we ship names every default truly: without its comment marks it says the same.
        """
        with open(os.path.join(REPOSITORY, "etc/server.yaml"), encoding="utf-8") as stream:
            shipped = stream.read()
        write_tree(self.base, {"workers/": ""})
        usual = server_in(self.base)
        self.assertEqual(server_in(self.base, shipped), usual)
        spoken = re.sub(r"(?m)^( *)#([a-z_]+:)", r"\1\2", shipped)
        self.assertGreater(spoken.count("\n"), 100)
        # A list of listeners is the one thing that cannot be said together with its alternative.
        spoken = re.sub(r"(?m)^  listen:\n", "", spoken)
        self.assertEqual(server_in(self.base, spoken), usual)

    def test_annotated_file_is_complete(self) -> None:
        """Every key stands in the server.yaml that we ship."""
        from tqserver.config.server_file import SERVER

        with open(os.path.join(REPOSITORY, "etc/server.yaml"), encoding="utf-8") as stream:
            shipped = stream.read()
        for key in SERVER.keys:
            section, _, name = key.path.rpartition(".")
            indent = "  " * (section.count(".") + 1) if section else ""
            self.assertRegex(shipped, rf"(?m)^{indent}#{name}:", key.path)

    def test_project_directory(self) -> None:
        """
        Paths start beside the folder etc or config, or in the folder of the file if it is called otherwise.
        """
        from tqserver.config.load import load_server

        base = write_tree(self.base, {"config/a.yaml": "", "etc/a.yaml": "", "conf.d/a.yaml": ""})
        for folder, project in (("config", base), ("etc", base), ("conf.d", f"{base}/conf.d")):
            self.assertEqual(load_server(f"{base}/{folder}/a.yaml").project, project)

    def test_mode(self) -> None:
        """The command line goes before the environment, which goes before the file; short words do."""
        file, variable = "mode: prod\n", {"TQSERVER_MODE": "dev"}
        self.assertEqual(server_in(self.base, file).mode, "production")
        self.assertEqual(server_in(self.base, file, None, variable).mode, "development")
        self.assertEqual(server_in(self.base, file, "production", variable).mode, "production")
        self.assertEqual(server_in(self.base, "", None, {"TQSERVER_MODE": ""}).mode, "development")

    def test_wrong_mode(self) -> None:
        """A wrong mode is told with its source, whether or not another source goes first."""
        problem = only(self.fault("", "produktion"))
        self.assertEqual((problem.file, problem.hint), ("--mode", "did you mean production?"))
        self.assertEqual(only(self.fault("", None, {"TQSERVER_MODE": "x"})).file, "TQSERVER_MODE")
        self.assertEqual(only(self.fault("mode: x\n", "dev")).path, "mode")

    def test_production_watches_nothing(self) -> None:
        """In production files are watched only if the file says so."""
        self.assertFalse(server_in(self.base, "mode: production\n").watch.enabled)
        self.assertTrue(server_in(self.base, "mode: production\nfile_watcher: {enabled: true}\n").watch.enabled)

    def test_no_logs(self) -> None:
        """Null, ~ and the empty text switch a log off."""
        for none in ("null", "~", '""', ""):
            text = f"server:\n  log_file: {none}\n  access_log: {none}\n  public: {none}\n"
            http = server_in(self.base, text).http
            self.assertEqual((http.log_file, http.access_log, http.public), (None, None, None))

    def test_absolute_path(self) -> None:
        """An absolute path stays, and dots are resolved."""
        http = server_in(self.base, "server: {log_file: /var/log/../log/s.log, public: ./a/../b}\n").http
        self.assertEqual((http.log_file, http.public), ("/var/log/s.log", f"{self.base}/b"))

    def test_listeners(self) -> None:
        """A list of listeners takes the place of host and port."""
        text = (
            "server:\n  listen:\n  - {address: localhost, port: 80}\n"
            "  - {address: '[::1]', port: 0}\n  - {unix: a.sock}\n  - {port: 81}\n"
        )
        self.assertEqual(
            server_in(self.base, text).http.listen,
            (
                ListenConfig(address="127.0.0.1", port=80),
                ListenConfig(address="::1", port=0),
                ListenConfig(unix=f"{self.base}/a.sock", port=0),
                ListenConfig(address="0.0.0.0", port=81),
            ),
        )

    def test_wrong_listeners(self) -> None:
        """What is wrong with a listener is told at its line."""
        for entry, message in (
            ("{address: 127.0.0.1}", "neither port nor unix"),
            ("{unix: a, port: 5}", "also address or port"),
            ("{prot: 5}", "not a known key"),
            ("8080", "must hold"),
            ("{unix: " + "a" * 108 + "}", "longer than the 107 bytes"),
            ("{port: 80}", "listens where the listener on line 3 does"),
        ):
            fault = self.fault(f"server:\n  listen:\n  - {{port: 80}}\n  - {entry}\n")
            problem = only(fault)
            self.assertEqual(problem.line, 4)
            self.assertTrue(problem.path.startswith("server.listen[1]"), problem.path)
            self.assertIn(message, problem.message)

    def test_proxied_listeners(self) -> None:
        """A listener whose connections tell whose they are; the same place with and without is the same place."""
        trusted = "server:\n  trusted_proxies: [10.0.0.0/8, unix]\n  listen:\n"
        text = trusted + "  - {port: 80, proxy_protocol: true}\n  - {unix: a.sock, proxy_protocol: yes}\n"
        self.assertEqual(
            server_in(self.base, text).http.listen,
            (
                ListenConfig(address="0.0.0.0", port=80, proxy_protocol=True),
                ListenConfig(unix=f"{self.base}/a.sock", port=0, proxy_protocol=True),
            ),
        )
        problem = only(self.fault(trusted + "  - {port: 80, proxy_protocol: true}\n  - {port: 80}\n"))
        self.assertIn("listens where the listener on line 4 does", problem.message)

    def test_proxied_by_nobody(self) -> None:
        """A listener on which nobody would be believed, and so everybody refused, is a mistake."""
        for trusted, entry, missing in (
            ("[]", "{port: 80, proxy_protocol: true}", "network"),
            ("[unix]", "{port: 80, proxy_protocol: true}", "network"),
            ("[10.0.0.0/8]", "{unix: a.sock, proxy_protocol: true}", "unix"),
        ):
            text = f"server:\n  trusted_proxies: {trusted}\n  listen:\n  - {{port: 81}}\n  - {entry}\n"
            problem = only(self.fault(text))
            self.assertEqual((problem.line, problem.path), (5, "server.listen[1].proxy_protocol"))
            self.assertIn(missing, problem.hint)

    def test_free_ports(self) -> None:
        """Two listeners on free ports are two listeners."""
        self.assertEqual(len(server_in(self.base, "server: {listen: [{port: 0}, {port: 0}]}\n").http.listen), 2)

    def test_listen_beside_port(self) -> None:
        """Host or port beside a list would be ignored, so it is refused."""
        problem = only(self.fault("server:\n  listen: [{port: 80}]\n  port: 81\n"))
        self.assertEqual((problem.line, problem.path), (3, "server.port"))

    def test_networks(self) -> None:
        """Trusted networks are CIDR; a slip in the mask names the network that was meant."""
        text = "server: {trusted_proxies: [10.0.0.0/8, 192.0.2.1, '2001:db8::/32', Unix]}\n"
        http = server_in(self.base, text).http
        self.assertEqual(http.trusted_proxies, ("10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "unix"))
        self.assertIn("10.0.0.0/8", only(self.fault("server: {trusted_proxies: [10.1.2.3/8]}\n")).hint)
        self.assertIn("no network", only(self.fault("server: {trusted_proxies: [example.org]}\n")).message)

    def test_port_range(self) -> None:
        """A range that ends before it begins is told at the key that the file has."""
        problem = only(self.fault("workers:\n  port_range_start: 20000\n"))
        self.assertEqual((problem.line, problem.path), (2, "workers.port_range_start"))
        self.assertIn("port_range_end", problem.hint)

    def test_numbers(self) -> None:
        """Numbers may be quoted, grouped and have fractions where that is clear; nothing else is guessed."""
        text = "server: {port: '8081', max_connections: 1_000, read_timeout_seconds: .5}\n"
        http = server_in(self.base, text).http
        self.assertEqual((http.listen[0].port, http.connections_max, http.read_timeout_s), (8081, 1000, 0.5))
        for wrong in ("08081", "0x50", "8081.0", "80:80", "8_a", "yes", "1" * 400):
            self.assertEqual(only(self.fault(f"server: {{port: {wrong}}}\n")).path, "server.port")

    def test_workers_directory_that_is_not_there(self) -> None:
        """A named directory that is not there is most likely misspelled; the usual one may come later."""
        problem = only(self.fault("workers:\n  directory: wrkers\n"))
        self.assertEqual((problem.line, problem.path), (2, "workers.directory"))
        self.assertIn(f"{self.base}/wrkers", problem.message)

    def test_fronts(self) -> None:
        """Auto is one front for each core."""
        self.assertEqual(server_in(self.base, "server: {fronts: auto}\n").http.fronts, 4)
        self.assertEqual(server_in(self.base, "server: {fronts: 2}\n").http.fronts, 2)
