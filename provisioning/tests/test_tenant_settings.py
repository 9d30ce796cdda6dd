"""The settings of a tenant: appearance, suspension and export."""

import io
import json
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import call_command
from django.test import Client
from django.utils import timezone
from PIL import Image
from rest_framework.test import APIClient

from accounts.errors import SuspendedByOperator
from accounts.services import suspension, tenant_archive
from certificates.services.certificate_management import CertificateManagementService
from certificates.tests.keys import ec_key, request_for
from conftest import client_with_token
from core.limits import Rate
from devices.monitoring.models import Alert
from devices.monitoring.services import evaluation
from devices.monitoring.tests.factories import silence_rule
from devices.registry.models import Device
from devices.registry.services.credentials import create_enrollment_token, issue_device_token
from devices.registry.tests.factories import DeviceFactory
from devices.updates.tests.rollouts import create_rollout_rows
from events.models import Event
from events.tests.factories import ChannelFactory
from tenants.context import tenant_scope
from tenants.models import Role, Tenant, TenantLogo, TenantOwned
from tenants.suspension import is_suspended
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
Portal = Callable[..., Client]
Member = Callable[..., APIClient]


def page_of(tenant: Tenant, action: str = "change") -> str:
    return f"/admin/tenants/tenant/{tenant.pk}/{action}/"


def text(response: Any) -> str:
    content: str = response.content.decode()
    return content


@pytest.fixture
def portal(tenant: Tenant) -> Portal:
    def signed_in(role: Role = Role.OWNER) -> Client:
        client = Client()
        client.force_login(MembershipFactory.create(tenant=tenant, role=role).user)
        return client

    return signed_in


@pytest.fixture
def suspended(tenant: Tenant, django_capture_on_commit_callbacks: Any) -> Tenant:
    with django_capture_on_commit_callbacks(execute=True), tenant_scope(tenant.pk):
        now = timezone.now()
        return suspension.suspend(
            tenant=tenant, reason="Unpaid since May", by_operator=False, now=now
        )


def bomb() -> bytes:
    """Return a small PNG file with very many pixels."""
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    return file.getvalue()


class TestAppearance:
    def save(self, client: Client, tenant: Tenant, **fields: Any) -> Any:
        return client.post(page_of(tenant), {"name": "Acme", **fields})

    def test_an_owner_gives_the_portal_a_name_a_colour_and_a_logo(
        self, portal: Portal, tenant: Tenant
    ) -> None:
        file = io.BytesIO()
        Image.new("RGB", (800, 400), "red").save(file, "JPEG")
        upload = SimpleUploadedFile("logo.jpg", file.getvalue())
        client = portal()

        response = self.save(
            client, tenant, brand_name="Acme Signage", brand_color="#0A5C9E", logo=upload
        )

        assert response.status_code == 302, text(response)
        page = text(client.get(page_of(tenant)))
        assert "Acme Signage" in page
        assert "rgb(10, 92, 158)" in page
        assert f"/logo/{tenant.slug}/?" in page
        logo = Client().get(f"/admin/logo/{tenant.slug}/")
        with Image.open(io.BytesIO(logo.content)) as image:
            assert (image.format, image.size) == ("PNG", (256, 128))
        assert "Acme Signage" in text(Client().get(f"/t/{tenant.slug}/admin/login/"))

    def test_the_portal_of_another_tenant_keeps_its_appearance(
        self, portal: Portal, tenant: Tenant
    ) -> None:
        self.save(portal(), tenant, brand_name="Acme Signage", brand_color="#0a5c9e")
        other = Client()
        other.force_login(MembershipFactory.create().user)

        page = text(other.get("/admin/devices/device/"))
        assert "Acme Signage" not in page
        assert "rgb(10, 92, 158)" not in page

    def test_a_logo_is_removed(self, portal: Portal, tenant: Tenant) -> None:
        file = io.BytesIO()
        Image.new("RGB", (10, 10)).save(file, "PNG")
        client = portal()
        self.save(client, tenant, logo=SimpleUploadedFile("logo.png", file.getvalue()))
        assert TenantLogo.every_tenant.exists()

        self.save(client, tenant, removes_logo="on")

        assert not TenantLogo.every_tenant.exists()
        assert Client().get(f"/admin/logo/{tenant.slug}/").status_code == 404

    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            ({"brand_color": "#ffee00"}, "cannot be read well"),
            ({"brand_color": "red"}, "Enter a colour"),
            ({"brand_color": "#0a5c9"}, "Enter a colour"),
            ({"logo": SimpleUploadedFile("logo.png", bomb())}, "This is no PNG"),
            ({"logo": SimpleUploadedFile("logo.svg", b"<svg/>")}, "This is no PNG"),
            (
                {"logo": SimpleUploadedFile("logo.png", b"\x89PNG\r\n\x1a\nbroken")},
                "This is no PNG",
            ),
        ],
    )
    def test_what_cannot_be_used_is_refused(
        self, portal: Portal, tenant: Tenant, fields: dict[str, Any], sentence: str
    ) -> None:
        assert sentence in text(self.save(portal(), tenant, **fields))


class TestSuspension:
    def test_members_and_devices_are_refused(
        self, member: Member, device: Device, tenant: Tenant, suspended: Tenant
    ) -> None:
        with tenant_scope(tenant.pk):
            token = issue_device_token(device, now=timezone.now())
            _, enrollment = create_enrollment_token(name="x", now=timezone.now())
        new = {"serial_number": "SN-1"}

        for response in (
            member().get("/devices"),
            client_with_token(token).post("/devices/connect", {}),
            client_with_token(enrollment).post("/devices/auto-register", new),
        ):
            assert response.status_code == 403
            assert response.json()["errors"][0]["code"] == "tenant_suspended"

    def test_a_member_of_a_suspended_tenant_pairs_no_device(
        self, portal: Portal, suspended: Tenant
    ) -> None:
        assert portal().get("/admin/pair/").status_code == 403

    def test_other_tenants_go_on(self, member: Member, suspended: Tenant) -> None:
        assert member(of=TenantFactory.create()).get("/devices").status_code == 200

    def test_no_alert_opens_for_silent_devices(
        self, tenant: Tenant, now: datetime, suspended: Tenant
    ) -> None:
        silence_rule(tenant=tenant)
        DeviceFactory.create(tenant=tenant, last_seen=datetime(2026, 1, 1, tzinfo=now.tzinfo))

        evaluation.evaluate_all(now=now)

        assert not Alert.every_tenant.exists()

    def test_the_portal_says_why_and_an_owner_resumes(
        self,
        portal: Portal,
        tenant: Tenant,
        suspended: Tenant,
        django_capture_on_commit_callbacks: Any,
    ) -> None:
        page = portal(Role.VIEWER).get("/admin/devices/device/")
        assert page.status_code == 403
        assert "Unpaid since May" in text(page)
        owner = portal()
        assert "Suspended since" in text(owner.get(page_of(tenant)))

        owner.get(page_of(tenant, "resume"))  # only asks
        tenant.refresh_from_db()
        assert tenant.suspended_at is not None
        with django_capture_on_commit_callbacks(execute=True):
            owner.post(page_of(tenant, "resume"))

        assert owner.get("/admin/devices/device/").status_code == 200
        assert not is_suspended(tenant.pk)
        assert Event.every_tenant.named("tenant.resumed").count() == 1

    def test_an_owner_suspends_after_a_question(
        self, portal: Portal, tenant: Tenant, django_capture_on_commit_callbacks: Any
    ) -> None:
        owner = portal()
        assert "Nothing is deleted" in text(owner.get(page_of(tenant, "suspend")))

        with django_capture_on_commit_callbacks(execute=True):
            owner.post(page_of(tenant, "suspend"), {"reason": "Season is over"})

        tenant.refresh_from_db()
        assert tenant.suspension_reason == "Season is over"
        assert is_suspended(tenant.pk)

    @pytest.mark.parametrize("action", ["suspend", "resume", "export"])
    def test_an_admin_may_not(self, portal: Portal, tenant: Tenant, action: str) -> None:
        assert portal(Role.ADMIN).post(page_of(tenant, action)).status_code == 403

    def test_only_an_operator_ends_the_suspension_by_an_operator(
        self, portal: Portal, tenant: Tenant
    ) -> None:
        call_command("suspend_tenant", tenant.slug, reason="Abuse")
        tenant.refresh_from_db()

        with pytest.raises(SuspendedByOperator):
            suspension.resume(tenant=tenant, by_operator=False, now=timezone.now())
        call_command("suspend_tenant", tenant.slug, resume=True)
        tenant.refresh_from_db()
        assert tenant.suspended_at is None


class TestExport:
    @pytest.fixture
    def filled(self, tenant: Tenant, device: Device) -> Tenant:
        now = timezone.now()
        user = MembershipFactory.create(tenant=tenant).user
        _, package, _, _ = create_rollout_rows(device, now, by=user)
        package.stored_name = storages["packages"].save("app.apk", ContentFile(b"the app"))
        package.save()
        CertificateManagementService().issue_certificate(
            device=device, csr_pem=request_for(ec_key()), now=now
        )
        with tenant_scope(tenant.pk):
            issue_device_token(device, now=now)
        DeviceFactory.create(name="Of another tenant")
        return tenant

    def rows(self, archive: zipfile.ZipFile, model: str) -> list[dict[str, Any]]:
        lines = archive.read(f"rows/{model}.jsonl").decode().splitlines()
        return [json.loads(line) for line in lines]

    def test_an_owner_downloads_everything_of_the_tenant_and_nothing_of_others(
        self, portal: Portal, filled: Tenant, device: Device
    ) -> None:
        response = portal().get(page_of(filled, "export"))

        content = b"".join(response.streaming_content)  # type: ignore[attr-defined]
        archive = zipfile.ZipFile(io.BytesIO(content))
        assert archive.testzip() is None
        assert [row["name"] for row in self.rows(archive, "devices.device")] == [device.name]
        assert len(self.rows(archive, "certificates.devicecertificate")) == 1
        assert self.rows(archive, "events.event")
        [name] = [name for name in archive.namelist() if name.startswith("files/")]
        assert archive.read(name) == b"the app"
        manifest = json.loads(archive.read("manifest.json"))
        assert manifest["tenant"] == filled.slug
        assert manifest["rows"]["devices.device"] == 1
        assert b"Of another tenant" not in b"".join(map(archive.read, archive.namelist()))
        assert Event.every_tenant.named("tenant.exported").count() == 1

    def test_secrets_and_their_hashes_are_left_out(self, filled: Tenant, tmp_path: Path) -> None:
        ChannelFactory.create(tenant=filled, secret="PROTECTED-SECRET")

        call_command("export_tenant", filled.slug, str(tmp_path / "acme.zip"))

        with zipfile.ZipFile(tmp_path / "acme.zip") as archive:
            everything = b"".join(map(archive.read, archive.namelist()))
            tokens = self.rows(archive, "devices.devicetoken")
        assert tokens
        assert all("digest" not in row for row in tokens)
        assert b"PROTECTED-SECRET" not in everything

    def test_each_model_of_a_tenant_is_in_the_archive(self) -> None:
        from django.apps import apps

        models = set(tenant_archive.models_of_tenants())
        owned = {model for model in apps.get_models() if issubclass(model, TenantOwned)}
        assert {model._meta.label for model in owned - models} == {"accounts.IdempotentRequest"}

    @pytest.mark.django_db(transaction=True)
    def test_an_export_is_recorded_outside_of_a_test_transaction(
        self, portal: Portal, tenant: Tenant
    ) -> None:
        assert portal().get(page_of(tenant, "export")).status_code == 200

    def test_exports_are_limited(self, portal: Portal, tenant: Tenant, settings: Any) -> None:
        settings.RATES = dict(settings.RATES, export=Rate(1, 60))
        client = portal()
        client.get(page_of(tenant, "export"))

        assert "Exports are limited" in text(client.get(page_of(tenant, "export"), follow=True))

    def test_a_file_is_not_overwritten(self, tenant: Tenant, tmp_path: Path) -> None:
        file = tmp_path / "acme.zip"
        file.write_text("kept")

        with pytest.raises(FileExistsError):
            call_command("export_tenant", tenant.slug, str(file))
        assert file.read_text() == "kept"
