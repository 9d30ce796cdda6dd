"""Request log and Prometheus metrics."""

import hmac
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import prometheus_client
import psutil
from django.conf import settings
from django.core.cache import cache
from django.db import Error
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, multiprocess
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from core import clock
from core.database_errors import is_unavailable
from devices.monitoring.models import Alert
from devices.monitoring.services import evaluation_times
from devices.registry.models import Device
from events.models import ChannelDelivery, Delivery
from events.services import audit_log, audit_retention
from events.severity import Severity
from tenants.context import current_caller, every_tenant_scope

logger = logging.getLogger("provisioning.request")

# Other methods share one label, so that a client cannot create new time series.
METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
REQUESTS = Counter("http_requests_total", "HTTP responses sent", ["method", "view", "code"])
FAST_ANSWERS = Counter("fast_path_answers_total", "Responses of the fast path", ["view"])
DEVICE_COUNT_SECONDS = 60  # how old it may be; counting a million devices takes 80 ms
SECONDS = Histogram(
    "http_request_seconds",
    "Time from request to response",
    ["view"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class RequestLogMiddleware:
    """Count every request, and log it without its body, headers or query string.

    Errors and requests that took more than a second are logged at level INFO, all others
    at DEBUG.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        started = time.perf_counter()
        response = self.get_response(request)
        seconds = time.perf_counter() - started
        match = request.resolver_match
        view = match.view_name if match else "none"
        method = request.method if request.method in METHODS else "other"
        REQUESTS.labels(method, view, response.status_code).inc()
        SECONDS.labels(view).observe(seconds)
        log_request(str(request.method), request.path, response.status_code, seconds)
        return response


def log_request(method: str, path: str, status: int, seconds: float) -> None:
    """Log a request. See `RequestLogMiddleware`."""
    level = logging.INFO if status >= 400 or seconds > 1 else logging.DEBUG
    if logger.isEnabledFor(level):
        milliseconds = round(seconds * 1000, 1)
        logger.log(level, "%s %s %d", method, path, status, extra={"milliseconds": milliseconds})


def metrics(request: HttpRequest) -> HttpResponse:
    """Metrics in Prometheus' text format.

    Requires `METRICS_TOKEN` as a bearer token. If that setting is empty, only requests
    from the loopback address are allowed.
    """
    if not _may_read_metrics(request):
        return HttpResponse(
            "Access to the metrics requires METRICS_TOKEN as a bearer token or, if that"
            " setting is empty, a request from the loopback address.\n",
            status=403,
            content_type="text/plain",
        )
    registry = prometheus_client.REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:  # all processes of this machine
        registry = CollectorRegistry()
        _remove_dead_processes(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
        multiprocess.MultiProcessCollector(registry)
    text = prometheus_client.generate_latest(registry) + _database_metrics()
    return HttpResponse(text, content_type=prometheus_client.CONTENT_TYPE_LATEST)


def _database_metrics() -> bytes:
    """Return the gauges from the database. Without the database, say so in `database_up`."""
    try:
        return _generate(DatabaseCollector(), is_up=True)
    except Error as error:
        if not is_unavailable(error):
            raise
        return _generate(is_up=False)


def _generate(*collectors: Collector, is_up: bool) -> bytes:
    registry = CollectorRegistry()
    Gauge("database_up", "1 if the database answers, else 0", registry=registry).set(is_up)
    for collector in collectors:
        registry.register(collector)
    return prometheus_client.generate_latest(registry)


def _remove_dead_processes(folder: Path) -> None:
    """Remove the gauges of killed processes, such as the number of open streams."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not psutil.pid_exists(pid):
            with suppress(FileNotFoundError):  # another scrape has removed it
                multiprocess.mark_process_dead(pid)


class DatabaseCollector(Collector):
    """Gauges that are counted in the database, and are therefore the same in every process."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        devices = GaugeMetricFamily("devices", "Devices by status", labels=["status"])
        key = "devices_by_status"
        counts = cache.get_or_set(key, _count_devices, DEVICE_COUNT_SECONDS) or {}
        for status in Device.Status.values:
            devices.add_metric([status], counts.get(status, 0))
        yield devices
        deliveries = GaugeMetricFamily(
            "event_deliveries", "Event deliveries to subscribers", labels=["state"]
        )
        deliveries.add_metric(["waiting"], Delivery.objects.waiting().count())
        deliveries.add_metric(["dead"], Delivery.objects.dead().count())
        yield deliveries
        with every_tenant_scope():
            yield from _monitoring_gauges()


def _count_devices() -> dict[str, int]:
    with every_tenant_scope():
        rows = Device.every_tenant.order_by().values_list("status").annotate(count=Count("pk"))
        return dict(rows)


def _monitoring_gauges() -> Iterator[GaugeMetricFamily]:
    messages = GaugeMetricFamily(
        "channel_messages", "Messages to notification channels", labels=["state"]
    )
    messages.add_metric(["waiting"], ChannelDelivery.every_tenant.waiting().count())
    messages.add_metric(["dead"], ChannelDelivery.every_tenant.dead().count())
    yield messages
    alerts = GaugeMetricFamily("alerts_open", "Open alerts", labels=["severity"])
    open_alerts = Alert.every_tenant.open().order_by().values_list("severity")
    counts = dict(open_alerts.annotate(count=Count("pk")))
    for severity in Severity.values:
        alerts.add_metric([severity], counts.get(severity, 0))
    yield alerts
    yield GaugeMetricFamily(
        "audit_log_sealing_lag_seconds",
        "Age of the oldest event that is in no hash chain yet",
        value=audit_log.lag(now=clock.now()).total_seconds(),
    )
    before = clock.now() - timedelta(days=settings.EVENT_RETENTION_DAYS)
    yield GaugeMetricFamily(
        "audit_log_retention_lag_seconds",
        "How far the deletion of expired events is behind",
        value=audit_retention.lag(before=before).total_seconds(),
    )
    yield GaugeMetricFamily(
        "rules_evaluation_age_seconds",
        "Time since the last evaluation of the monitoring rules that waited longest",
        value=evaluation_times.age(now=clock.now()).total_seconds(),
    )


def _may_read_metrics(request: HttpRequest) -> bool:
    if settings.METRICS_TOKEN:
        authorization = request.headers.get("Authorization", "")
        expected = f"Bearer {settings.METRICS_TOKEN}"
        return hmac.compare_digest(authorization.encode(), expected.encode())
    return current_caller().address in {"127.0.0.1", "::1"}
