"""Metrics as Prometheus gets them: scraped over HTTP, or written to a file."""

from __future__ import annotations

import gc
import json
import re
import socket
import subprocess
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import prometheus_client
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ftppool import BatchError, FTPPool, LeakWarning, PoolTimeout, RetryPolicy, upload_batch
from ftppool.observe.prometheus import PoolMetrics
from tests.conftest import Start
from tests.support import install
from tests.support.servers import Server

DOCS = Path(__file__).parents[2] / "docs"
ALERTS = DOCS / "monitoring" / "alerts.yml"
DASHBOARD = DOCS / "monitoring" / "dashboard.json"
PAGE = DOCS / "monitoring.md"
RULES_TEST = Path(__file__).parents[1] / "support" / "rules_test.yml"

Samples = dict[str, dict[frozenset[tuple[str, str]], float]]


@pytest.fixture
def metrics() -> PoolMetrics:
    return PoolMetrics()


@pytest.fixture
def scrape(metrics: PoolMetrics) -> Iterator[Callable[[], Samples]]:
    """Fetches and parses what an endpoint of ours says."""
    server, thread = prometheus_client.start_http_server(0, "127.0.0.1", registry=metrics.registry)
    url = f"http://127.0.0.1:{server.server_port}/metrics"

    def fetch() -> Samples:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return parsed(reply.read().decode())

    yield fetch
    server.shutdown()
    server.server_close()
    thread.join()


def parsed(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            values = found.setdefault(sample.name, {})
            labels = frozenset(sample.labels.items())
            assert labels not in values, f"{sample.name} twice with {labels}"
            values[labels] = sample.value
    return found


def value(samples: Samples, name: str, **labels: str) -> float:
    """The one sample of a metric that has these labels."""
    (found,) = [v for have, v in samples[name].items() if labels.items() <= dict(have).items()]
    return found


@pytest.fixture
def ftp(start: Start) -> Server:
    return start("vsftpd", max_per_ip=2)


def test_a_scrape_shows_what_pools_have_and_did(
    ftp: Server, metrics: PoolMetrics, scrape: Callable[[], Samples]
) -> None:
    address = f"{ftp.host}:{ftp.port}"
    with FTPPool(ftp.url, max_per_ip=2, name="p", on_event=metrics) as pool:
        metrics.watch(pool)
        pool.upload_batch([(b"x" * 1000, f"{number}.txt") for number in range(10)])
        with pool.ftp(), pool.ftp():
            with pytest.raises(PoolTimeout):
                lend_in_a_thread(pool)
            now = scrape()
            assert value(now, "ftppool_connections", state="used", address=address) == 2
            assert value(now, "ftppool_connections", state="idle") == 0
            assert value(now, "ftppool_connection_leased") == 2
            assert value(now, "ftppool_connection_pending_requests") == 0
            assert value(now, "ftppool_connection_max", pool="p") == 2
            assert value(now, "ftppool_connection_effective_max") == 2
            assert not now.get("ftppool_connection_learned_max")
        now = scrape()
        assert value(now, "ftppool_connections", state="used") == 0
    end = scrape()
    assert value(end, "ftppool_connection_opened_total") == pool.stats().opened == 2
    assert value(end, "ftppool_connection_closed_total", how="quit") == 2
    assert value(end, "ftppool_connection_closed_total", how="cut") == 0
    assert value(end, "ftppool_connection_refused_total") == 0
    assert value(end, "ftppool_connection_timeouts_total") == 1
    assert value(end, "ftppool_files_total", outcome="uploaded") == 10
    assert value(end, "ftppool_bytes_total", pool="p") == 10_000
    assert value(end, "ftppool_transfer_time_seconds_count") == 10
    stats = pool.stats()
    assert value(end, "ftppool_connection_wait_time_seconds_count") == stats.acquired
    assert value(end, "ftppool_connection_use_time_seconds_count") == stats.returned
    assert value(end, "ftppool_connection_create_time_seconds_count") == 2
    assert value(end, "ftppool_last_batch_success") == 1
    assert value(end, "ftppool_last_batch_files", outcome="uploaded") == 10


def lend_in_a_thread(pool: FTPPool) -> None:
    """Ask as somebody who holds nothing."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as threads:
        threads.submit(pool.acquire, 0.1).result()


def test_refusals_and_what_they_taught_are_shown(
    ftp: Server, metrics: PoolMetrics, scrape: Callable[[], Samples]
) -> None:
    files = [(bytes(100_000), f"{number}.bin") for number in range(20)]
    with FTPPool(ftp.url, max_per_ip=4, rate_limit=2_000_000, on_event=metrics) as pool:
        metrics.watch(pool)
        pool.upload_batch(files)
        now = scrape()
        refused = pool.stats().refused
    assert refused >= 1
    assert value(now, "ftppool_connection_refused_total") == refused
    assert value(now, "ftppool_connection_learned_max") == 2
    assert value(now, "ftppool_connection_effective_max") == 2
    assert value(now, "ftppool_connection_max") == 4
    assert value(now, "ftppool_last_batch_refused") == refused


def test_leaks_are_counted(
    ftp: Server, metrics: PoolMetrics, scrape: Callable[[], Samples]
) -> None:
    with FTPPool(ftp.url, leak_warn_after=0.01, on_event=metrics) as pool:
        lease = pool.acquire()
        while not value(scrape(), "ftppool_leaks_total", kind="suspected"):
            pass  # the test's own time-out ends this
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LeakWarning)
            del lease
            gc.collect()
            while not value(scrape(), "ftppool_leaks_total", kind="lost"):
                pass
    assert pool.stats().leaked == 2


def test_two_pools_of_one_name_are_added_up(
    ftp: Server, metrics: PoolMetrics, scrape: Callable[[], Samples]
) -> None:
    with (
        FTPPool(ftp.url, name="same", on_event=metrics) as one,
        FTPPool(ftp.url, name="same", on_event=metrics) as two,
    ):
        metrics.watch(one)
        metrics.watch(two)
        with one.ftp(), two.ftp():
            assert value(scrape(), "ftppool_connections", state="used") == 2


def test_a_pool_that_is_gone_is_not_kept(
    ftp: Server, metrics: PoolMetrics, scrape: Callable[[], Samples]
) -> None:
    pool = FTPPool(ftp.url, on_event=metrics)
    metrics.watch(pool)
    with pool.ftp():
        pass
    pool.close()
    del pool
    gc.collect()
    assert not scrape().get("ftppool_connections")


def test_a_cron_job_leaves_a_file(ftp: Server, metrics: PoolMetrics, tmp_path: Path) -> None:
    path = tmp_path / "job.prom"
    path.write_text("older")
    with pytest.raises(BatchError):
        upload_batch([(b"x", "x"), tmp_path / "missing"], ftp.url, name="nightly", on_event=metrics)
    metrics.write(path)
    told = parsed(path.read_text())
    assert value(told, "ftppool_last_batch_success", pool="nightly") == 0
    assert value(told, "ftppool_last_batch_files", outcome="failed") == 1
    assert value(told, "ftppool_last_batch_timestamp_seconds") > 1.7e9
    assert value(told, "ftppool_connection_closed_total", how="quit") == 1
    assert value(told, "ftppool_connection_max") == 2
    assert [found.name for found in tmp_path.glob("job*")] == ["job.prom"]
    assert all(name.startswith("ftppool_") for name in told)


def test_a_server_that_is_not_there_is_an_error_and_a_wait_in_vain(
    metrics: PoolMetrics, scrape: Callable[[], Samples]
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ftp://u:p@127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(BatchError):
            upload_batch(
                [(b"x", "x")], url, on_event=metrics, retry=RetryPolicy(attempts=2, first_wait=0.01)
            )
    now = scrape()
    assert value(now, "ftppool_connection_errors_total") == 2
    assert value(now, "ftppool_connection_timeouts_total") == 1
    assert value(now, "ftppool_connection_opened_total") == 0


# -- what is over them -----------------------------------------------------------------------------


def names(text: str) -> set[str]:
    return set(re.findall(r"\bftppool_[a-z_]+\b", text)) - {"ftppool_event"}


def known(samples: Samples) -> set[str]:
    """Names of samples; and, for the page, of histograms as a whole."""
    return {*samples, *(name.removesuffix("_bucket") for name in samples)}


def expressions() -> list[str]:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def test_every_metric_of_dashboard_rules_and_page_exists(
    start: Start, metrics: PoolMetrics, scrape: Callable[[], Samples], tmp_path: Path
) -> None:
    server = start("vsftpd", max_per_ip=1)
    with FTPPool(server.url, max_per_ip=2, rate_limit=200_000, on_event=metrics) as pool:
        metrics.watch(pool)
        report = pool.upload_batch([(bytes(100_000), "a"), (bytes(100_000), "b")])
        assert report.stats.refused
        from ftppool.events import Retrying

        metrics(Retrying(pool=pool.name, remote="a", attempt=1, wait=0.1, error="lost"))
        there = known(scrape())
    rules = "\n".join(re.findall(r"expr:(?:.*\n)(?: {12}.*\n)*", ALERTS.read_text()))
    assert len(names(rules)) >= 8
    assert names(rules) <= there
    assert len(expressions()) > 20
    assert names("\n".join(expressions())) <= there
    table = "\n".join(re.findall(r"^\| `(ftppool_[a-z_]+)`", PAGE.read_text(), re.MULTILINE))
    assert names(table) <= there
    ours = {
        name.removesuffix("_bucket")
        for name in there
        if not re.search("_(created|sum|count|bucket)$", name)
    }
    assert names(table) == ours, "the page names every metric"


def promtool() -> str:
    found = install.find("promtool")
    if found is None:
        pytest.skip("no promtool: python -m tests.support.install gets it")
    return str(found)


def run(*command: str, stdin: str = "") -> str:
    done = subprocess.run(
        [promtool(), *command], input=stdin, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_promtool_takes_the_rules_and_they_fire_when_they_should(tmp_path: Path) -> None:
    assert "9 rules found" in run("check", "rules", str(ALERTS))
    # promtool would want every word of the annotations again.
    text = re.sub(
        r"^ {8}annotations:\n(?:(?: {10,}.*)?\n)+", "\n", ALERTS.read_text(), flags=re.MULTILINE
    )
    (tmp_path / "alerts.yml").write_text(text)
    (tmp_path / "test.yml").write_text(RULES_TEST.read_text())
    assert "SUCCESS" in run("test", "rules", str(tmp_path / "test.yml"))


def test_promtool_takes_the_dashboards_expressions(tmp_path: Path) -> None:
    lines = ["groups:", "  - name: panels", "    rules:"]
    for number, expression in enumerate(expressions()):
        text = expression.replace("$__rate_interval", "5m")
        lines += [f"      - record: panel:{number}", f"        expr: {json.dumps(text)}"]
    (tmp_path / "panels.yml").write_text("\n".join(lines) + "\n")
    assert f"{len(expressions())} rules found" in run(
        "check", "rules", str(tmp_path / "panels.yml")
    )


def test_promtool_takes_the_names(ftp: Server, metrics: PoolMetrics) -> None:
    with FTPPool(ftp.url, on_event=metrics) as pool:
        metrics.watch(pool)
        pool.upload_batch([(b"x", "x")])
        text = prometheus_client.generate_latest(metrics.registry).decode()
    run("check", "metrics", stdin=text)
