"""What Prometheus is told."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from tqserver.admin.metrics import Sample, WorkerSample, render


def worker(name: str, **facts: object) -> WorkerSample:
    """A worker that has done something."""
    values: dict[str, object] = {
        "up": True,
        "instances": {"healthy": 2, "starting": 1},
        "memory_bytes": 4096,
        "restarts": 3,
        "requests": 100,
        "errors": 4,
        "ejected": 1,
        "ejections": 6,
        "retries": 7,
        "unretried": 8,
        "waiting": 5,
        "latency": (10, 20, 30),
    }
    return WorkerSample(name=name, **{**values, **facts})  # type: ignore[arg-type]


class MetricsTests(SynchronousTestCase):
    """The text."""

    def samples(self, *workers: WorkerSample) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        """The metrics as Prometheus would read them."""
        text = render(
            Sample(
                version="1.2",
                mode="production",
                uptime_s=60.5,
                config_good=False,
                fronts=2,
                connections=7,
                in_flight=1,
                upgraded=2,
                workers=workers,
                latency_bounds_s=(0.1, 0.2),
            )
        ).decode()
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def test_server(self) -> None:
        """The server tells its version, its fronts and its connections, and that its configuration is broken."""
        samples = self.samples()
        self.assertEqual(samples["tqserver_info", (("mode", "production"), ("version", "1.2"))], 1)
        for name, value in (
            ("uptime_seconds", 60.5),
            ("config_good", 0),
            ("fronts", 2),
            ("connections", 7),
            ("upgraded_connections", 2),
        ):
            self.assertEqual(samples[f"tqserver_{name}", ()], value)

    def test_worker(self) -> None:
        """Each worker tells its instances, its requests and how long they took, in buckets that add up."""
        samples = self.samples(worker("api"), worker("blog", up=False, latency=()))
        label = (("worker", "api"),)
        for name, value in (
            ("up", 1),
            ("requests_total", 100),
            ("errors_total", 4),
            ("restarts_total", 3),
            ("waiting", 5),
        ):
            self.assertEqual(samples[f"tqserver_worker_{name}", label], value)
        self.assertEqual(samples["tqserver_worker_instances", (("state", "healthy"), ("worker", "api"))], 2)
        buckets = [
            samples["tqserver_worker_request_seconds_bucket", (("le", le), *label)] for le in ("0.1", "0.2", "+Inf")
        ]
        self.assertEqual(buckets, [10, 30, 60])
        self.assertEqual(samples["tqserver_worker_up", (("worker", "blog"),)], 0)

    def test_odd_names(self) -> None:
        """A name can neither break the text nor add a line to it."""
        samples = self.samples(worker('a"b\\c\nd'))
        self.assertEqual(samples["tqserver_worker_up", (("worker", 'a"b\\c\nd'),)], 1)
