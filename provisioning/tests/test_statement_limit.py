"""Lists and charts that would read too much are ended with a clear error."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from core.rest import pagination
from devices.metrics.services import aggregates
from devices.registry.models import DeviceQuerySet
from devices.registry.tests.factories import DeviceFactory
from tenants.admin import declared_filters
from tenants.models import Tenant, User

pytestmark = pytest.mark.django_db(transaction=True)  # a cancelled statement ends a transaction
Member = Callable[..., APIClient]


@pytest.fixture
def slow_search(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a search take a second, and limit lists to less."""
    DeviceFactory.create(tenant=tenant, name="hall")

    def matching_text(self: DeviceQuerySet, text: str) -> Any:
        return self.extra(where=["pg_sleep(1) IS NOT NULL"])

    monkeypatch.setattr(DeviceQuerySet, "matching_text", matching_text)
    monkeypatch.setattr(pagination, "MAX_SECONDS", 0.1)
    monkeypatch.setattr(declared_filters, "MAX_SECONDS", 0.1)


def test_a_list_that_takes_too_long_is_refused(slow_search: None, member: Member) -> None:
    answer = member().get("/devices?search=x")

    assert answer.status_code == 400
    (error,) = answer.json()["errors"]
    assert (error["code"], error["detail"][:21]) == ("takes_too_long", "This takes too long. ")
    assert member().get("/devices").status_code == 200


def test_a_page_that_takes_too_long_shows_the_list_without_its_filters(slow_search: None) -> None:
    portal = Client()
    superuser = User.objects.create_superuser("a@example.com")
    portal.force_login(superuser, backend="tenants.roles.RoleBackend")

    page = portal.get("/admin/devices/device/?q=x", follow=True)

    assert page.redirect_chain == [("/admin/devices/device/", 302)]
    assert "Use a narrower filter" in page.content.decode()
    assert "hall" in page.content.decode()


def test_an_aggregate_that_takes_too_long_is_refused(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aggregates, "MAX_SECONDS", 0.1)
    monkeypatch.setattr(aggregates, "_aggregate_sql", lambda *values: "SELECT pg_sleep(1)")

    answer = member().get("/devices/metrics/aggregate?measure=cpu_usage&by=hour")

    (error,) = answer.json()["errors"]
    assert (answer.status_code, error["code"]) == (400, "takes_too_long")
    assert "shorter period" in error["detail"]
