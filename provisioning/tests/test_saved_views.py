"""Saved views, chosen columns, and exports of lists."""

import csv
import io
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from django.utils import timezone
from python_calamine import CalamineWorkbook

from devices.registry.models import DeviceTag
from devices.registry.services import attributes, device_details
from devices.registry.tests.factories import DeviceFactory, TagFactory
from tenants.context import tenant_scope
from tenants.models import Role, SavedView, Tenant
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
LIST = "/admin/devices/device/"
Portal = Callable[..., Client]


@pytest.fixture
def portal(tenant: Tenant) -> Portal:
    def signed_in(role: Role = Role.VIEWER) -> Client:
        client = Client()
        client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)
        return client

    return signed_in


def text(response: Any) -> str:
    page: str = response.content.decode()
    return page


def content_of(response: Any) -> bytes:
    """Return the content of an export, and close its file, as a server does."""
    content = b"".join(response.streaming_content)
    if (file := getattr(response, "file_to_stream", None)) is not None:
        file.close()
    return content


def save(client: Client, name: str, query: str = "status=offline", **fields: str) -> Any:
    return client.post(f"{LIST}views/", {"name": name, "query": query, **fields}, follow=True)


class TestViews:
    def test_a_view_opens_the_list_with_its_filters_and_columns(
        self, portal: Portal, tenant: Tenant
    ) -> None:
        client = portal()
        client.post(f"{LIST}columns/", {"column": ["name", "os_version"]})
        save(client, "Gone", "status=offline&o=1&p=3")
        client.post(f"{LIST}columns/", {"usual": "1"})
        view = SavedView.every_tenant.get()

        response = client.get(f"{LIST}views/{view.pk}/")

        assert response["Location"] == f"{LIST}?status=offline&o=1"
        assert view.user is not None
        assert view.user.list_columns == {"devices.device": ["name", "os_version"]}

    def test_a_view_is_seen_by_its_owner_only_unless_it_is_shared(self, portal: Portal) -> None:
        operator = portal(Role.OPERATOR)
        save(operator, "Mine")
        save(operator, "Ours", shared="on")

        page = text(portal().get(LIST))
        assert "Ours" in page
        assert "Mine" not in page

    def test_a_viewer_shares_no_view_and_deletes_no_shared_one(self, portal: Portal) -> None:
        save(portal(Role.OPERATOR), "Ours", shared="on")
        view = SavedView.every_tenant.get()
        viewer = portal()

        assert save(viewer, "Mine", shared="on").status_code == 403
        viewer.post(f"{LIST}views/{view.pk}/delete/")
        assert SavedView.every_tenant.count() == 1

    def test_a_view_is_replaced_by_one_with_its_name_and_can_be_deleted(
        self, portal: Portal
    ) -> None:
        client = portal()
        save(client, "Gone")
        save(client, "Gone", "status=online")

        view = SavedView.every_tenant.get()
        assert view.query == "status=online"
        client.post(f"{LIST}views/{view.pk}/delete/")
        assert not SavedView.every_tenant.exists()

    @pytest.mark.parametrize("name", ["", " ", "x" * 61])
    def test_a_view_needs_a_name(self, portal: Portal, name: str) -> None:
        assert "1 to 60 characters" in text(save(portal(), name))

    def test_a_view_of_another_tenant_is_not_found(self, portal: Portal, tenant: Tenant) -> None:
        other = MembershipFactory.create(role=Role.OPERATOR)
        client = Client()
        client.force_login(other.user)
        save(client, "Theirs", shared="on")
        view = SavedView.every_tenant.get()

        response = portal().get(f"{LIST}views/{view.pk}/", follow=True)

        assert "There is no such view." in text(response)


class TestColumns:
    def test_chosen_columns_are_shown_until_the_usual_ones_are_wanted(
        self, portal: Portal, tenant: Tenant
    ) -> None:
        with tenant_scope(tenant.pk):
            attributes.define(key="floor", label="Floor", kind="text", now=_now())
            device = DeviceFactory.create(tenant=tenant, os_version="Android 11")
            device_details.update(device=device, attributes={"floor": "second"}, now=_now())
            tag = TagFactory.create(tenant=tenant, name="lobby")
            DeviceTag.objects.create(device=device, tag=tag)
        client = portal()
        assert "second" not in _cells(client)

        client.post(
            f"{LIST}columns/",
            {"column": ["os_version", "tag_names", "attribute_floor", "nonsense"]},
        )

        cells = _cells(client)
        assert {device.name, "Android 11", "lobby", "second"} <= set(cells.split("|"))
        client.post(f"{LIST}columns/", {"usual": "1"})
        assert "second" not in _cells(client)

    @pytest.mark.parametrize("page", ["export/", "export.xlsx"])
    def test_an_export_works_with_columns_that_load_other_rows(
        self, portal: Portal, tenant: Tenant, page: str
    ) -> None:
        DeviceFactory.create(tenant=tenant)
        client = portal()
        client.post(f"{LIST}columns/", {"column": ["tag_names", "identifiers_text"]})

        assert content_of(client.get(f"{LIST}{page}"))


class TestWorkbook:
    def test_a_list_is_exported_as_a_workbook_as_it_is_filtered(
        self, portal: Portal, tenant: Tenant
    ) -> None:
        DeviceFactory.create(tenant=tenant, name="=1+1", model="A")
        DeviceFactory.create(tenant=tenant, name="other", model="B")

        response = portal().get(f"{LIST}export.xlsx?model={quote('A')}")

        content = content_of(response)
        rows = CalamineWorkbook.from_filelike(io.BytesIO(content)).get_sheet_by_index(0).to_python()
        assert [row[1] for row in rows] == ["name", "=1+1"]
        exported = portal().get(f"{LIST}export/?model=A")
        lines = content_of(exported).decode("utf-8-sig")
        assert next(csv.reader(io.StringIO(lines))) == rows[0]

    def test_a_list_with_too_many_rows_is_refused_with_advice(
        self, portal: Portal, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("core.spreadsheets.MAX_WORKBOOK_ROWS", 1)
        DeviceFactory.create_batch(2, tenant=tenant)

        assert "Export as CSV instead." in text(portal().get(f"{LIST}export.xlsx", follow=True))


def _now() -> datetime:
    return timezone.now()


def _cells(client: Client) -> str:
    """Return the texts of the cells of the list, separated by |."""
    page = text(client.get(LIST))
    body = page[page.index("<tbody") : page.index("</tbody>")] if "<tbody" in page else ""
    return "|".join(part.strip() for part in re.split(r"<[^>]*>", body) if part.strip())
