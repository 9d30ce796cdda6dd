"""Names in settings are strings, and views are made at import: check both."""

import re
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import call_command
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular.drainage import GENERATOR_STATS

from core.apps import check_extension_points
from core.extension_points import ExtensionPoint
from events.domain_events import DomainEvent
from events.models import Event
from provisioning.celery import app
from provisioning.schedule import RENAMED_TASKS

pytestmark = pytest.mark.django_db


def doors(resolver: URLResolver) -> Iterator[URLPattern]:
    for pattern in resolver.url_patterns:
        if isinstance(pattern, URLResolver):
            if pattern.app_name != "admin":
                yield from doors(pattern)
        else:
            yield pattern


DOORS = list(doors(get_resolver()))


def test_every_scheduled_and_routed_task_exists() -> None:
    app.loader.import_default_modules()
    scheduled = {row["task"] for row in settings.CELERY_BEAT_SCHEDULE.values()}

    assert scheduled | set(settings.CELERY_TASK_ROUTES) <= set(app.tasks)


def test_no_view_keeps_a_queryset_made_at_import() -> None:
    """It would be made before any tenant is bound."""
    views = {getattr(door.callback, "cls", None) for door in DOORS}

    assert {
        view for view in views if getattr(view, "queryset", None) is not None
    } == set()


def test_no_path_ends_with_a_slash() -> None:
    assert [
        str(door.pattern) for door in DOORS if str(door.pattern).endswith("/")
    ] == []


def test_migrations_are_complete() -> None:
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


def test_every_domain_event_is_named_noun_past_tense() -> None:
    kinds = [DomainEvent]
    for kind in kinds:
        kinds += kind.__subclasses__()
    names = {kind.name for kind in kinds if hasattr(kind, "name")}

    assert len(names) > 50
    assert all(re.fullmatch(r"[a-z_]+\.[a-z_]+", name) for name in names)


def test_every_function_registered_at_an_extension_point_exists() -> None:
    registered = [path for point in ExtensionPoint.known for path in point.paths]

    assert len(registered) > 15
    assert check_extension_points() == []


def test_the_check_names_a_registered_function_that_does_not_exist(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    point: ExtensionPoint[Any] = ExtensionPoint("a test")
    monkeypatch.setattr(ExtensionPoint, "known", [point])
    point.register("core.nothing.here")

    (error,) = check_extension_points()
    assert error.msg.startswith("core.nothing.here, registered at a test: ")


def test_a_message_with_the_former_name_of_a_task_still_runs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app.loader.import_default_modules()
    assert set(RENAMED_TASKS.values()) <= set(app.tasks)
    ran: list[str] = []

    for former, name in RENAMED_TASKS.items():
        monkeypatch.setattr(app.tasks[name], "run", lambda name=name: ran.append(name))
        app.tasks[former].apply(throw=True)

    assert ran == list(RENAMED_TASKS.values())


def test_the_openapi_document_is_complete_and_free_of_warnings() -> None:
    GENERATOR_STATS.reset()
    out = StringIO()

    call_command("spectacular", stdout=out, fail_on_warn=True, validate=True)

    paths = yaml.safe_load(out.getvalue())["paths"]
    ours = {
        re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", f"/{door.pattern}")
        for door in DOORS
        if hasattr(door.callback, "cls")
    } - {"/schema", "/docs"}
    assert set(paths) == ours


@pytest.mark.parametrize("path", ["/schema", "/docs", "/health/live", "/health/ready"])
def test_open_doors_answer_without_a_credential(path: str) -> None:
    assert Client().get(path).status_code == 200


def test_the_page_of_the_document_asks_nothing_of_other_hosts() -> None:
    page = Client().get("/docs").content.decode()

    assert re.findall(r"(?:src|href)=\"(?:https?:)?//[^\"]+", page) == []


def test_readiness_names_the_part_that_is_away(settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"

    answer = Client().get("/health/ready")

    assert answer.status_code == 503
    assert answer.json()["checks"] == {"database": "ok", "broker": "away"}


def test_metrics_are_for_this_machine_or_a_token(settings: Any) -> None:
    assert Client().get("/metrics").status_code == 200
    assert Client().get("/metrics", REMOTE_ADDR="203.0.113.9").status_code == 403

    settings.METRICS_TOKEN = "figures"
    assert Client().get("/metrics").status_code == 403
    told = Client().get("/metrics", HTTP_AUTHORIZATION="Bearer figures")
    assert told.content.count(b'devices{status="online"}') == 1


def test_every_answer_bears_a_request_id() -> None:
    first, second = (Client().get("/devices")["X-Request-ID"] for _ in range(2))

    assert first != second


def test_the_home_page_leads_to_the_portal() -> None:
    assert Client().get("/")["Location"] == "/admin/"
    assert Client().get("/admin")["Location"] == "/admin/"


def test_the_first_run_makes_what_is_needed_to_enter_and_does_so_once(
    client: Any,
) -> None:
    first, second = StringIO(), StringIO()

    call_command("first_run", stdout=first)
    call_command("first_run", stdout=second)

    said = first.getvalue()
    password = re.search(r"password +(\S+)", said)
    token = re.search(r"enr_[\w-]{43}", said)
    assert password is not None
    assert token is not None
    assert second.getvalue() == ""
    known = {"username": "admin@example.com", "password": password[1]}
    assert client.post("/admin/login/?next=/admin/", known).status_code == 302
    answer = Client().post(
        "/devices/auto-register",
        {"serial_number": "TV-0001"},
        content_type="application/json",
        headers={"Authorization": f"Bearer {token[0]}"},
    )
    assert answer.status_code == 201
    assert Event.every_tenant.exists()
