"""What an operator sees from outside: the request log, health, Prometheus metrics."""

import hmac
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import prometheus_client
import psutil
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.models import Count
from django.http import HttpRequest, HttpResponse, JsonResponse
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    multiprocess,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from redis import Redis, RedisError

from devices.monitoring.models import Alert
from devices.registry.models import Device
from events.models import ChannelDelivery, Delivery
from events.severity import Severity
from tenants.context import current_caller, every_tenant_scope

logger = logging.getLogger("provisioning.request")

REQUESTS = Counter(
    "http_requests_total", "Requests answered", ["method", "view", "code"]
)
SECONDS = Histogram(
    "http_request_seconds",
    "Time from request to answer",
    ["view"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class RequestLogMiddleware:
    """One line and one count for each request; never its body, headers or query."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        begun = time.perf_counter()
        response = self.get_response(request)
        seconds = time.perf_counter() - begun
        match = request.resolver_match
        view = match.view_name if match else "none"
        REQUESTS.labels(request.method, view, response.status_code).inc()
        SECONDS.labels(view).observe(seconds)
        level = (
            logging.INFO
            if response.status_code >= 400 or seconds > 1
            else logging.DEBUG
        )
        if logger.isEnabledFor(level):
            logger.log(
                level,
                "%s %s %d",
                request.method,
                request.path,
                response.status_code,
                extra={"milliseconds": round(seconds * 1000, 1)},
            )
        return response


def live(request: HttpRequest) -> JsonResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


def ready(request: HttpRequest) -> JsonResponse:
    """The process can do its work; 503 names the part that is away."""
    checks = {"database": _database_answers(), "broker": _broker_answers()}
    good = all(checks.values())
    body = {
        "status": "ok" if good else "unavailable",
        "checks": {name: "ok" if up else "away" for name, up in checks.items()},
    }
    return JsonResponse(body, status=200 if good else 503)


def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format, for loopback callers or with `METRICS_TOKEN` as bearer."""
    if not _may_read_metrics(request):
        return HttpResponse(
            "Not for this caller.\n", status=403, content_type="text/plain"
        )
    registry = prometheus_client.REGISTRY
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:  # all processes of this machine
        registry = CollectorRegistry()
        _forget_the_dead(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    figures = CollectorRegistry()
    figures.register(Figures())
    text = prometheus_client.generate_latest(registry)
    text += prometheus_client.generate_latest(figures)
    return HttpResponse(text, content_type=prometheus_client.CONTENT_TYPE_LATEST)


def _forget_the_dead(folder: Path) -> None:
    """What a process that was killed held, nobody holds any more."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not psutil.pid_exists(pid):
            with suppress(FileNotFoundError):  # another scrape was quicker
                multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]


class Figures(Collector):
    """What the database knows; asked at each scrape, the same whichever process answers."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        devices = GaugeMetricFamily("devices", "Devices by status", labels=["status"])
        with every_tenant_scope():
            counted = dict(
                Device.every_tenant.order_by()
                .values_list("status")
                .annotate(count=Count("pk"))
            )
        for status in Device.Status.values:
            devices.add_metric([status], counted.get(status, 0))
        yield devices
        deliveries = GaugeMetricFamily(
            "event_deliveries", "Deliveries to listeners", labels=["state"]
        )
        deliveries.add_metric(["waiting"], Delivery.objects.waiting().count())
        deliveries.add_metric(["dead"], Delivery.objects.dead().count())
        yield deliveries
        with every_tenant_scope():
            yield from _of_monitoring()


def _of_monitoring() -> Iterator[GaugeMetricFamily]:
    messages = GaugeMetricFamily(
        "channel_messages", "Messages to channels", labels=["state"]
    )
    messages.add_metric(["waiting"], ChannelDelivery.every_tenant.waiting().count())
    messages.add_metric(["dead"], ChannelDelivery.every_tenant.dead().count())
    yield messages
    alerts = GaugeMetricFamily("alerts_open", "Open alerts", labels=["severity"])
    open_ones = Alert.every_tenant.open().order_by().values_list("severity")
    counted = dict(open_ones.annotate(count=Count("pk")))
    for severity in Severity.values:
        alerts.add_metric([severity], counted.get(severity, 0))
    yield alerts


def _may_read_metrics(request: HttpRequest) -> bool:
    if settings.METRICS_TOKEN:
        given = request.headers.get("Authorization", "")
        wanted = f"Bearer {settings.METRICS_TOKEN}"
        return hmac.compare_digest(given.encode(), wanted.encode())
    return current_caller().address in {"127.0.0.1", "::1"}


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


def _broker_answers() -> bool:
    client: Any = Redis.from_url(
        settings.REDIS_URL, socket_connect_timeout=1, socket_timeout=1
    )
    try:
        with client:
            return bool(client.ping())
    except RedisError:
        return False
