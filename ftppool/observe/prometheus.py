"""Metrics of pools for Prometheus (``pip install 'ftppool[prometheus]'``).

A service that lives long is scraped::

    metrics = PoolMetrics(registry=prometheus_client.REGISTRY)
    pool = FTPPool("ftp://user@host/inbox", on_event=metrics)
    metrics.watch(pool)

A cron job has ended before anybody scrapes it: it leaves a file for node_exporter's textfile
collector::

    metrics = PoolMetrics()
    try:
        upload_batch(files, url, on_event=metrics)
    finally:
        metrics.write("/var/lib/node_exporter/ftppool_nightly.prom")

The names follow OpenTelemetry's ``db.client.connection.*`` in the form that Prometheus wants, and
may still change with them.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ftppool.events import (
    BatchDone,
    ConnectFailed,
    Event,
    FileDone,
    LeakSuspected,
    LeaseLost,
    Retrying,
    SessionClosed,
    SessionLent,
    SessionOpened,
    SessionOpening,
    SessionRefused,
    SessionReturned,
    SlotWaitFailed,
)
from ftppool.report import BatchReport, Outcome, Status
from ftppool.stats import PoolStats, total
from ftppool.typed import override

try:
    from prometheus_client import (
        CollectorRegistry,
        Counter,
        Gauge,
        Histogram,
        write_to_textfile,
    )
    from prometheus_client.metrics_core import GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as _missing:
    raise ImportError(
        "ftppool.observe.prometheus needs prometheus_client: pip install 'ftppool[prometheus]'"
    ) from _missing

if TYPE_CHECKING:
    from ftppool.pool import FTPPool

__all__ = ["PoolMetrics"]

SHORT = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
"""Seconds: buckets of what should be quick."""
LONG = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0)
"""Seconds: buckets of what takes as long as it is large."""

_WHERE = ("pool", "address")


class PoolMetrics(Collector):
    """Counts what pools do: give it as ``on_event``, to as many pools as there are.

    Args:
        registry: Where the metrics are registered, such as ``prometheus_client.REGISTRY``. Default:
            a registry of their own, with nothing else in it.

    Attributes:
        registry: That registry.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry: CollectorRegistry = CollectorRegistry() if registry is None else registry
        self._pools: weakref.WeakSet[FTPPool] = weakref.WeakSet()
        self._watching = threading.Lock()  # a set must not grow while a scrape goes through it
        self._last: dict[tuple[str, str], PoolStats] = {}
        self._make_counters()
        self._make_histograms()
        self._make_batch()
        self.registry.register(self)

    def _make_counters(self) -> None:
        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(f"ftppool_{name}", words, labels, registry=self.registry)

        self._opened = counter("connection_opened", "Connections that reached a login", *_WHERE)
        self._closed = counter(
            "connection_closed", "Connections ended: politely (quit) or not (cut)", *_WHERE, "how"
        )
        self._refused = counter(
            "connection_refused", "Connections that the server refused for want of room", *_WHERE
        )
        self._errors = counter(
            "connection_errors", "Connections that failed for another reason", *_WHERE
        )
        self._timeouts = counter("connection_timeouts", "Borrowers who got no connection", *_WHERE)
        self._leaks = counter(
            "leaks", "Leases that are out for too long (suspected) or were lost", *_WHERE, "kind"
        )
        self._files = counter("files", "Files by what became of them", "pool", "outcome")
        self._retries = counter("file_retries", "Transfers that were tried again", "pool")
        self._bytes = counter("bytes", "Bytes that went over the wire for files", "pool")

    def _make_histograms(self) -> None:
        def histogram(
            name: str, words: str, labels: tuple[str, ...], buckets: tuple[float, ...]
        ) -> Histogram:
            return Histogram(
                f"ftppool_{name}_seconds", words, labels, buckets=buckets, registry=self.registry
            )

        self._create = histogram(
            "connection_create_time", "Connecting and logging in", _WHERE, SHORT
        )
        self._wait = histogram("connection_wait_time", "Waiting for a connection", _WHERE, SHORT)
        self._use = histogram("connection_use_time", "Having a connection", _WHERE, LONG)
        self._transfer = histogram(
            "transfer_time", "A file that arrived, all its attempts together", ("pool",), LONG
        )

    def _make_batch(self) -> None:
        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(
                f"ftppool_last_batch_{name}", words, ("pool", *labels), registry=self.registry
            )

        self._batch_time = gauge("timestamp_seconds", "When the last batch ended")
        self._batch_success = gauge("success", "1 if every file was uploaded or skipped, else 0")
        self._batch_duration = gauge("duration_seconds", "How long the last batch took")
        self._batch_files = gauge("files", "Files of the last batch", "outcome")
        self._batch_refused = gauge("refused", "Connections refused to its pool until its end")

    def watch(self, pool: FTPPool) -> None:
        """Show a pool's connections at each scrape, for as long as the program keeps the pool."""
        with self._watching:
            self._pools.add(pool)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write all metrics of the registry to a file, which appears in one step.

        Args:
            path: Its name must end in ``.prom`` for node_exporter; each job needs one of its own.

        Raises:
            OSError: It cannot be written.
        """
        write_to_textfile(os.fspath(path), self.registry)

    # -- counters, from events ---------------------------------------------------------------------

    def __call__(self, event: Event) -> None:
        """Count one event."""
        pool = event.pool
        match event:
            case FileDone():
                self._file_done(pool, event.outcome)
            case Retrying():
                self._retries.labels(pool).inc()
            case BatchDone():
                self._batch_done(pool, event.report)
            case _:
                address: str | None = getattr(event, "address", None)
                if address is not None:
                    self._of_session(event, (pool, address))

    def _of_session(self, event: Event, where: tuple[str, str]) -> None:
        match event:
            case SessionLent():
                self._wait.labels(*where).observe(event.waited)
            case SessionReturned():
                self._use.labels(*where).observe(event.used)
            case SessionOpening():
                self._introduce(*where)
            case SessionOpened():
                self._opened.labels(*where).inc()
                self._create.labels(*where).observe(event.elapsed)
            case SessionClosed():
                self._closed.labels(*where, "quit" if event.politely else "cut").inc()
            case SessionRefused():
                self._refused.labels(*where).inc()
            case ConnectFailed():
                self._errors.labels(*where).inc()
            case SlotWaitFailed():
                self._timeouts.labels(*where).inc()
            case LeakSuspected():
                self._leaks.labels(*where, "suspected").inc()
            case LeaseLost():
                self._leaks.labels(*where, "lost").inc()
            case _:
                pass

    def _introduce(self, pool: str, address: str) -> None:
        """Begin at 0: ``increase()`` does not see a counter that appears with 1."""
        for counter in (self._opened, self._refused, self._errors, self._timeouts):
            counter.labels(pool, address)
        for how in ("quit", "cut"):
            self._closed.labels(pool, address, how)
        for kind in ("suspected", "lost"):
            self._leaks.labels(pool, address, kind)

    def _file_done(self, pool: str, outcome: Outcome) -> None:
        self._files.labels(pool, outcome.status.value).inc()
        self._bytes.labels(pool).inc(outcome.sent)
        if outcome.status in (Status.UPLOADED, Status.DOWNLOADED):
            self._transfer.labels(pool).observe(outcome.elapsed)

    def _batch_done(self, pool: str, report: BatchReport) -> None:
        self._batch_time.labels(pool).set(time.time())
        self._batch_success.labels(pool).set(report.ok)
        self._batch_duration.labels(pool).set(report.elapsed)
        self._batch_refused.labels(pool).set(report.stats.refused)
        statuses = [outcome.status for outcome in report.outcomes]
        for status in Status:
            self._batch_files.labels(pool, status.value).set(statuses.count(status))
        if report.stats.address:
            self._last[pool, report.stats.address] = report.stats

    # -- gauges, at each scrape --------------------------------------------------------------------

    def describe(self) -> Iterator[Metric]:
        """Name the metrics of :meth:`collect` without values."""
        return iter(_families())

    @override
    def collect(self) -> Iterator[Metric]:
        """Ask the pools for what they have now; of those that are gone only the caps are known."""
        count, leased, waiting, cap, learned, effective = families = _families()
        living: dict[tuple[str, str], list[PoolStats]] = {}
        with self._watching:
            pools = list(self._pools)
        for pool in pools:
            stats = pool.stats()
            living.setdefault((pool.name, stats.address), []).append(stats)
        for where, found in living.items():
            stats = total(found)
            for state in ("idle", "opening", "closing", "settling"):
                count.add_metric([*where, state], getattr(stats, state))
            count.add_metric([*where, "used"], stats.open - stats.idle)
            leased.add_metric(where, stats.leased)
            waiting.add_metric(where, stats.waiting)
        for where, stats in {**self._last, **{w: f[-1] for w, f in living.items()}}.items():
            cap.add_metric(where, stats.cap)
            effective.add_metric(where, stats.effective)
            if stats.learned is not None:
                learned.add_metric(where, stats.learned)
        return iter(families)


def _families() -> list[GaugeMetricFamily]:
    def gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"ftppool_connection{name}", words, labels=[*_WHERE, *labels])

    return [
        gauge("s", "Connections now, by what they are doing", "state"),
        gauge("_leased", "Borrowers who have a connection, or a place of one, now"),
        gauge("_pending_requests", "Borrowers who wait for a connection now"),
        gauge("_max", "Connections allowed by max_per_ip"),
        gauge("_learned_max", "The lower number that refusals taught; absent without a lesson"),
        gauge("_effective_max", "Connections allowed now: the smaller one of both"),
    ]
