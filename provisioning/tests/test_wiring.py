"""Project wiring: task names, views, URLs, migrations, OpenAPI document, first run."""

import json
import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.validation import validate_schema

from core.apps import check_extension_points
from core.extension_points import ExtensionPoint
from events.domain_events import DomainEvent
from events.models import Event
from provisioning import health
from provisioning.api import document
from provisioning.celery import app
from provisioning.schedule import RENAMED_TASKS
from provisioning.tests.openapi import built_document, openapi_document

pytestmark = pytest.mark.django_db


def url_patterns(resolver: URLResolver) -> Iterator[URLPattern]:
    """Yield all URL patterns outside the portal."""
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            if pattern.app_name != "admin":
                yield from url_patterns(pattern)
        else:
            yield pattern


URL_PATTERNS = list(url_patterns(get_resolver()))


def test_every_scheduled_and_routed_task_exists() -> None:
    app.loader.import_default_modules()
    scheduled = {row["task"] for row in settings.CELERY_BEAT_SCHEDULE.values()}

    assert scheduled | set(settings.CELERY_TASK_ROUTES) <= set(app.tasks)


def test_no_view_has_a_queryset_attribute() -> None:
    """A queryset attribute would be created at import, before any tenant is bound."""
    views = {getattr(pattern.callback, "cls", None) for pattern in URL_PATTERNS}

    assert {view for view in views if getattr(view, "queryset", None) is not None} == set()


def test_no_path_ends_with_a_slash() -> None:
    paths = [str(pattern.pattern) for pattern in URL_PATTERNS]

    assert [path for path in paths if path.endswith("/")] == []


def test_migrations_are_complete() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_every_domain_event_is_named_noun_past_tense() -> None:
    classes = [DomainEvent]
    for event_class in classes:
        classes += event_class.__subclasses__()
    names = {event.name for event in classes if hasattr(event, "name")}

    assert len(names) > 50
    assert all(re.fullmatch(r"[a-z_]+\.[a-z_]+", name) for name in names)


def test_every_function_registered_at_an_extension_point_exists() -> None:
    registered = [path for point in ExtensionPoint.known for path in point.paths]

    assert len(registered) > 15
    assert check_extension_points() == []


def test_the_check_names_a_registered_function_that_does_not_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ExtensionPoint, "known", [])
    point: ExtensionPoint[Any] = ExtensionPoint("a test")
    point.register("core.nothing.here")

    (error,) = check_extension_points()
    assert error.msg.startswith("core.nothing.here, registered at a test: ")


def test_a_task_also_runs_under_its_former_name(monkeypatch: pytest.MonkeyPatch) -> None:
    app.loader.import_default_modules()
    assert set(RENAMED_TASKS.values()) <= set(app.tasks)
    runs: list[str] = []

    for former, name in RENAMED_TASKS.items():
        monkeypatch.setattr(app.tasks[name], "run", lambda name=name: runs.append(name))
        app.tasks[former].apply(throw=True)

    assert runs == list(RENAMED_TASKS.values())


def test_the_openapi_document_is_complete_and_current_and_has_no_warnings() -> None:
    built, warnings = built_document()
    validate_schema(built)
    assert warnings == []
    # Read again, because schemathesis changes the document that it is given.
    assert built == json.loads(document.PATH.read_bytes()), (
        f"Write it again, see {document.__name__}."
    )

    api_paths = {
        re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", f"/{pattern.pattern}")
        for pattern in URL_PATTERNS
        if hasattr(pattern.callback, "cls") and pattern.callback.cls.schema is not None
    } - {"/schema", "/docs"}
    assert set(openapi_document()["paths"]) == api_paths


def test_text_parameters_of_queries_are_documented_without_nul() -> None:
    operation = openapi_document()["paths"]["/updates/devices/{device_id}"]["get"]
    schemas = {item["name"]: item["schema"] for item in operation["parameters"]}

    assert schemas["error_code"]["pattern"] == r"^[^\u0000]*$"


@pytest.mark.parametrize("path", ["/schema", "/docs", "/health/live", "/health/ready"])
def test_public_paths_need_no_credential(path: str) -> None:
    assert Client().get(path).status_code == 200


def test_the_api_documentation_loads_nothing_from_other_hosts() -> None:
    page = Client().get("/docs").content.decode()

    assert re.findall(r"(?:src|href)=\"(?:https?:)?//[^\"]+", page) == []


def test_the_readiness_check_names_the_unreachable_server(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "_cached", health.CachedChecks())  # no earlier result
    settings.REDIS_BROKER_URL = "redis://127.0.0.1:1/0"

    response = Client().get("/health/ready")

    assert response.status_code == 503
    assert response.json()["checks"] == {"database": "ok", "broker": "away"}


def test_metrics_require_the_loopback_address_or_a_token(settings: Any) -> None:
    assert Client().get("/metrics").status_code == 200
    assert Client().get("/metrics", REMOTE_ADDR="203.0.113.9").status_code == 403

    settings.METRICS_TOKEN = "figures"
    assert Client().get("/metrics").status_code == 403
    response = Client().get("/metrics", HTTP_AUTHORIZATION="Bearer figures")
    assert response.content.count(b'devices{status="online"}') == 1


def test_every_response_has_its_own_request_id() -> None:
    first, second = (Client().get("/devices")["X-Request-ID"] for _ in range(2))

    assert first != second


def test_the_home_page_redirects_to_the_portal() -> None:
    assert Client().get("/")["Location"] == "/admin/"
    assert Client().get("/admin")["Location"] == "/admin/"


def test_the_first_run_creates_an_administrator_and_an_enrollment_token_once(client: Any) -> None:
    first, second = StringIO(), StringIO()

    call_command("first_run", stdout=first)
    call_command("first_run", stdout=second)

    output = first.getvalue()
    password = re.search(r"password +(\S+)", output)
    token = re.search(r"enr_[\w-]{43}", output)
    assert password is not None
    assert token is not None
    assert second.getvalue() == ""
    fields = {"username": "admin@example.com", "password": password[1]}
    assert client.post("/admin/login/?next=/admin/", fields).status_code == 302
    response = Client().post(
        "/devices/auto-register",
        {"serial_number": "TV-0001"},
        content_type="application/json",
        headers={"Authorization": f"Bearer {token[0]}"},
    )
    assert response.status_code == 201
    assert Event.every_tenant.exists()
