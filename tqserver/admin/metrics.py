"""
The metrics, in Prometheus' text format, made from the status tree at the moment they are asked for.

Labels are names of workers and words of ours, never anything that a client sent, so that nobody can make the number of
series grow.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from attrs import frozen
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


@frozen(kw_only=True)
class WorkerSample:
    """
    What is measured of one worker.

    @ivar instances: how many are in which state.
    @ivar memory_bytes: resident, of all instances.
    @ivar restarts: instances that died and were started again.
    @ivar ejected: how many instances some front leaves alone now because too many requests went wrong.
    @ivar ejections: how often that was the case.
    @ivar retries: requests that were sent again after an instance broke them.
    @ivar unretried: those that could have been, but for the budget.
    @ivar latency: counts by duration; one more than there are bounds.
    """

    name: str
    up: bool
    instances: Mapping[str, int]
    memory_bytes: int
    restarts: int
    requests: int
    errors: int
    ejected: int
    ejections: int
    retries: int
    unretried: int
    waiting: int
    latency: Sequence[int]


@frozen(kw_only=True)
class Sample:
    """
    What is measured of the server.

    @ivar latency_bounds_s: upper bounds of the latency buckets, in seconds.
    """

    version: str
    mode: str
    uptime_s: float
    config_good: bool
    fronts: int
    connections: int
    in_flight: int
    upgraded: int
    workers: Sequence[WorkerSample]
    latency_bounds_s: Sequence[float]


class _Collector(Collector):
    """One sample as metrics."""

    def __init__(self, sample: Sample) -> None:
        self._sample = sample

    def collect(self) -> Iterable[Metric]:
        sample = self._sample
        yield InfoMetricFamily("tqserver", "The server.", {"version": sample.version, "mode": sample.mode})
        for name, text, value in (
            ("uptime_seconds", "How long the supervisor has run.", sample.uptime_s),
            ("config_good", "Whether the configuration files as they are now can be used.", int(sample.config_good)),
            ("fronts", "Front processes.", sample.fronts),
            ("connections", "Open connections of clients.", sample.connections),
            ("requests_in_flight", "Requests that are being served.", sample.in_flight),
            ("upgraded_connections", "Connections that speak another protocol, as WebSockets do.", sample.upgraded),
        ):
            yield GaugeMetricFamily(f"tqserver_{name}", text, value)
        yield from self._workers(sample.workers)
        yield self._latency()

    def _workers(self, workers: Sequence[WorkerSample]) -> Iterable[Metric]:
        up = GaugeMetricFamily("tqserver_worker_up", "Whether the worker serves.", labels=["worker"])
        instances = GaugeMetricFamily("tqserver_worker_instances", "Instances by state.", labels=["worker", "state"])
        memory = GaugeMetricFamily(
            "tqserver_worker_memory_bytes", "Resident memory of the worker's processes.", labels=["worker"]
        )
        waiting = GaugeMetricFamily("tqserver_worker_waiting", "Requests that wait for an instance.", labels=["worker"])
        requests = CounterMetricFamily("tqserver_worker_requests", "Requests for the worker.", labels=["worker"])
        errors = CounterMetricFamily(
            "tqserver_worker_errors", "Requests that the worker broke or did not answer in time.", labels=["worker"]
        )
        restarts = CounterMetricFamily(
            "tqserver_worker_restarts", "Instances that died and were started again.", labels=["worker"]
        )
        ejected = GaugeMetricFamily(
            "tqserver_worker_ejected",
            "Instances that are left alone for a while because too many requests went wrong.",
            labels=["worker"],
        )
        ejections = CounterMetricFamily(
            "tqserver_worker_ejections", "How often an instance was left alone.", labels=["worker"]
        )
        retries = CounterMetricFamily(
            "tqserver_worker_retries", "Requests that were sent again after an instance broke them.", labels=["worker"]
        )
        unretried = CounterMetricFamily(
            "tqserver_worker_unretried",
            "Requests that were not sent again because too many others had been.",
            labels=["worker"],
        )
        for worker in workers:
            label = [worker.name]
            up.add_metric(label, int(worker.up))
            for state, count in sorted(worker.instances.items()):
                instances.add_metric([worker.name, state], count)
            memory.add_metric(label, worker.memory_bytes)
            waiting.add_metric(label, worker.waiting)
            requests.add_metric(label, worker.requests)
            errors.add_metric(label, worker.errors)
            restarts.add_metric(label, worker.restarts)
            ejected.add_metric(label, worker.ejected)
            ejections.add_metric(label, worker.ejections)
            retries.add_metric(label, worker.retries)
            unretried.add_metric(label, worker.unretried)
        return up, instances, memory, waiting, requests, errors, restarts, ejected, ejections, retries, unretried

    def _latency(self) -> Metric:
        """Time from giving a request to an instance to the end of its answer."""
        sample = self._sample
        family = HistogramMetricFamily(
            "tqserver_worker_request_seconds",
            "Time from an instance getting a request to its answer's end.",
            labels=["worker"],
        )
        bounds = [*map(repr, sample.latency_bounds_s), "+Inf"]
        for worker in sample.workers:
            total, buckets = 0, []
            for bound, count in zip(bounds, worker.latency, strict=False):
                total += count
                buckets.append((bound, float(total)))
            if buckets:
                family.add_metric([worker.name], buckets, sum_value=None)
        return family


def render(sample: Sample) -> bytes:
    """The metrics as Prometheus reads them; see L{CONTENT_TYPE}."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(sample))
    return generate_latest(registry)
