"""Import and export in the portal and by commands."""

import csv
import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from certificates.models import DeviceCertificate
from certificates.tests.issuance import issue_certificate
from core import spreadsheets
from devices.imports.models import DeviceImport
from devices.imports.services import work
from devices.imports.tests import files
from devices.monitoring.tests.factories import AlertFactory
from devices.registry.models import Device, Site
from devices.registry.services import device_details
from devices.registry.tests.factories import DeviceFactory, DeviceIdentifierFactory
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Role, Tenant, User
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
IMPORTS = "/admin/imports/deviceimport/"
DEVICES = "/admin/devices/device/"


def signed_in(tenant: Tenant, role: Role = Role.OPERATOR) -> Client:
    client = Client()
    client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)
    return client


def uploaded(client: Client, content: bytes, name: str = "devices.csv") -> str:
    """Upload a file as `upload.js` does. Return the address of the import's page."""
    made = client.post(f"{IMPORTS}create/").json()
    response = client.put(
        made["upload"],
        content,
        content_type="application/octet-stream",
        headers={"X-File-Name": name},
    )
    assert response.status_code == 200, response.content
    page: str = response.json()["page"]
    assert page == made["page"]
    return page


def act(client: Client, page: str, **fields: str) -> str:
    response = client.post(page.replace("change/", "act/"), fields, follow=True)
    assert response.status_code == 200
    return response.content.decode()


def run_worker(now: datetime) -> None:
    with every_tenant_scope():
        while work.next_slice(now=lambda: now, time_is_up=lambda: False):
            pass


def exported(client: Client, path: str) -> list[dict[str, str]]:
    response: Any = client.get(path)
    assert response.status_code == 200, response
    text = b"".join(response.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


class TestImport:
    def test_a_file_is_uploaded_checked_and_imported(self, tenant: Tenant, now: datetime) -> None:
        client = signed_in(tenant)
        page = uploaded(client, files.REPEATED, name="Ger%C3%A4te.csv")

        text = client.get(page).content.decode()
        assert "Geräte.csv" in text
        assert '<option value="serial_number" selected>' in text
        chosen = ["serial_number", "mac_addresses", "name", "model", "tags"]
        columns = {f"column_{place}": field for place, field in enumerate(chosen)}
        act(client, page, check="1", **columns)
        run_worker(now)
        text = client.get(page).content.decode()
        assert "Nothing has been changed yet." in text
        assert "Import 1 row<" in text
        assert "The same device as row 2." in text
        assert not Device.every_tenant.exists()

        act(client, page, start="1")
        run_worker(now)

        assert "Rows imported: 1." in client.get(page).content.decode()
        assert Device.every_tenant.get().name == "One"
        report = exported(client, page.replace("change/", "report/"))
        assert [row["outcome"] for row in report] == ["new", "repeated", "refused"]
        assert report[0]["device_id"] == str(Device.every_tenant.get().pk)

    def test_columns_that_identify_no_device_are_explained(
        self, tenant: Tenant, now: datetime
    ) -> None:
        client = signed_in(tenant)
        page = uploaded(client, b"first,second\n1,2\n")

        assert "No column identifies the devices." in act(client, page, check="1")

        act(client, page, check="1", column_0="serial_number", column_1="name")
        assert DeviceImport.every_tenant.get().state == "checking"

    def test_an_unknown_encoding_is_asked_for(self, tenant: Tenant) -> None:
        client = signed_in(tenant)
        page = uploaded(client, files.HEBREW)
        assert "Choose the encoding" in client.get(page).content.decode()

        assert "מסך ראשי" in act(client, page, read_again="1", encoding="cp1255")

    def test_a_file_that_is_no_table_is_refused_at_once(self, tenant: Tenant) -> None:
        client = signed_in(tenant)
        made = client.post(f"{IMPORTS}create/").json()

        response = client.put(made["upload"], b" ", content_type="application/octet-stream")

        assert (response.status_code, response.json()["error"]) == (409, "The file is empty.")

    def test_a_viewer_and_another_tenant_see_nothing(self, tenant: Tenant) -> None:
        page = uploaded(signed_in(tenant), files.CLASSIC_MAC)

        viewer = signed_in(tenant, Role.VIEWER)
        assert viewer.get(page).status_code == 403
        assert viewer.post(f"{IMPORTS}create/").status_code == 403
        other_member = signed_in(TenantFactory.create())
        assert other_member.get(page.replace("change/", "report/")).status_code == 404
        assert (
            other_member.post(page.replace("change/", "act/"), {"cancel": "1"}).status_code == 404
        )

    def test_a_superuser_chooses_the_tenant(self, tenant: Tenant) -> None:
        root = Client()
        root.force_login(User.objects.create_superuser("root@example.com", "x"))

        assert f'value="{tenant.slug}"' in root.get(f"{IMPORTS}add/").content.decode()
        assert root.post(f"{IMPORTS}create/", {"tenant": "none"}).status_code == 404
        assert root.post(f"{IMPORTS}create/", {"tenant": tenant.slug}).status_code == 200
        assert DeviceImport.every_tenant.get().tenant == tenant


class TestExport:
    def test_the_list_of_devices_is_exported_as_it_is_filtered(
        self, acting: Tenant, now: datetime
    ) -> None:
        site = Site.objects.create(name="Berlin", path=[], created_at=now)
        device = DeviceFactory.create(tenant=acting, name="Lobby", model="X96", site=site)
        DeviceIdentifierFactory.create(device=device, written="SN-1", value="sn-1")
        device_details.update(device=device, tags=["b", "a"], now=now)
        DeviceFactory.create(tenant=acting, name="Other", model="X88")
        foreign = TenantFactory.create()
        with tenant_scope(foreign.pk):
            DeviceFactory.create(tenant=foreign, model="X96")

        (row,) = exported(signed_in(acting, Role.VIEWER), f"{DEVICES}export/?model=X96")

        shown = {name: row[name] for name in ("id", "name", "serial_number", "site", "tags")}
        assert shown == {
            "id": str(device.pk),
            "name": "Lobby",
            "serial_number": "SN-1",
            "site": "Berlin",
            "tags": "a, b",
        }

    def test_an_export_starts_no_formula_and_imports_again_unchanged(
        self, acting: Tenant, now: datetime, tmp_path: Path
    ) -> None:
        for number, name in enumerate(
            ["=1+1", "-2", "@x", "'quoted'", "'=x", "+4", " two  blanks"]
        ):
            device = DeviceFactory.create(tenant=acting, name=name)
            DeviceIdentifierFactory.create(
                device=device, written=f"000{number}77", value=f"000{number}77"
            )
        rows = exported(signed_in(acting), f"{DEVICES}export/")
        assert not [row["name"] for row in rows if row["name"].startswith(("=", "-", "@", "+"))]

        output = io.StringIO()
        call_command("export_devices", tenant=acting.slug, stdout=output)
        file = tmp_path / "export.csv"
        file.write_text(output.getvalue(), newline="")
        result = json.loads(imported_by_command(file, acting, as_json=True))

        assert (result["unchanged"], result["left_out"]) == (7, [])

    def test_the_queries_do_not_grow_with_the_devices(
        self, acting: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = signed_in(acting)
        monkeypatch.setattr(spreadsheets, "ROWS_PER_CHUNK", 10)
        for _ in range(25):
            DeviceIdentifierFactory.create(device=DeviceFactory.create(tenant=acting))

        with CaptureQueriesContext(connection) as queries:
            assert len(exported(client, f"{DEVICES}export/")) == 25

        assert len(queries) < 40

    def test_certificates_alerts_and_events_are_exported(
        self, acting: Tenant, device: Device, now: datetime
    ) -> None:
        issue_certificate(device, now=now)
        AlertFactory.create(tenant=acting, device=device, title="Hot")
        client = signed_in(acting, Role.ADMIN)

        (certificate,) = exported(client, "/admin/certificates/devicecertificate/export/")
        (alert,) = exported(client, "/admin/monitoring/alert/export/")
        events = exported(client, "/admin/events/event/export/?q=certificate.issued")

        assert certificate["serial_number"] == DeviceCertificate.objects.get().serial_number
        assert (alert["title"], alert["device_name"]) == ("Hot", device.name)
        assert [event["name"] for event in events] == ["certificate.issued"]

    @pytest.mark.parametrize("query", ["q=%00", "status__exact=%00"])
    def test_a_filter_that_is_not_valid_exports_nothing(self, tenant: Tenant, query: str) -> None:
        DeviceFactory.create(tenant=tenant, name="Lobby")
        response: Any = signed_in(tenant).get(f"{DEVICES}export/?{query}")

        if response.status_code == 302:
            assert response["Location"] == f"{DEVICES}?e=1"
        else:
            assert b"Lobby" not in b"".join(response.streaming_content)

    def test_a_lookup_that_the_list_does_not_have_is_refused(self, tenant: Tenant) -> None:
        response = signed_in(tenant).get(f"{DEVICES}export/?identifiers__value__regex=.*")

        assert response.status_code == 400

    def test_an_export_that_breaks_off_says_so(
        self, acting: Tenant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = signed_in(acting)
        monkeypatch.setattr(spreadsheets, "ROWS_PER_CHUNK", 2)
        DeviceFactory.create_batch(5, tenant=acting)
        response: Any = client.get(f"{DEVICES}export/")
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE devices_device RENAME COLUMN model TO model_before")

        with transaction.atomic():
            lines = b"".join(response.streaming_content).decode().splitlines()
            transaction.set_rollback(True)

        assert len(lines) == 1 + 2 + 1
        assert lines[-1] == spreadsheets.INCOMPLETE


def imported_by_command(file: Path, tenant: Tenant, **options: Any) -> str:
    output = io.StringIO()
    call_command("import_devices", str(file), tenant=tenant.slug, stdout=output, **options)
    return output.getvalue()


class TestCommand:
    def test_a_dry_run_changes_nothing(self, tenant: Tenant, tmp_path: Path) -> None:
        file = tmp_path / "devices.csv"
        file.write_bytes(files.EMPTY_COLUMNS)

        assert "new: 2" in imported_by_command(file, tenant, dry_run=True)
        assert not Device.every_tenant.exists()
        assert DeviceImport.every_tenant.get().state == "cancelled"

        assert "new: 2" in imported_by_command(file, tenant)
        assert Device.every_tenant.count() == 2

    def test_refused_rows_are_named_and_the_others_imported(
        self, tenant: Tenant, tmp_path: Path
    ) -> None:
        file = tmp_path / "devices.csv"
        file.write_bytes(files.ROUNDED)

        with pytest.raises(CommandError, match="row 2: Serial number"):
            imported_by_command(file, tenant)

        assert Device.every_tenant.count() == 1

    @pytest.mark.parametrize("content", [b"", b"first\n1\n"])
    def test_a_file_that_cannot_be_used_leaves_no_open_import(
        self, tenant: Tenant, tmp_path: Path, content: bytes
    ) -> None:
        file = tmp_path / "devices.csv"
        file.write_bytes(content)

        with pytest.raises(CommandError):
            imported_by_command(file, tenant)

        assert DeviceImport.every_tenant.get().state == "cancelled"
        with pytest.raises(CommandError, match="cannot be read"):
            imported_by_command(tmp_path / "missing.csv", tenant)
