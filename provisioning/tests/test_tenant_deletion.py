"""The deletion of a tenant: it waits, and then nothing is left."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from django.apps import apps
from django.conf import settings as django_settings
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.core.management import call_command
from django.db import connection
from django.test import Client

from accounts.errors import DeletionHasBegun, LastOwner
from accounts.models import SignInIdentity, SignInProvider, UserSession
from accounts.services import erasure, invitations, suspension, tenant_deletion, user_sessions
from accounts.services.tokens import issue_api_token
from certificates.models import CertificateAuthority, ForgottenRevocation, RevocationList
from certificates.queries import status_of
from certificates.services import forgetting, revocation_lists
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.tests.keys import ec_key, request_for
from devices.bulk.services import operations
from devices.configurations.services import layers
from devices.imports.models import DeviceImport
from devices.maintenance.services import windows
from devices.metrics.tests.reporting import every_five_minutes, report
from devices.monitoring.models import Alert, RuleOverride
from devices.monitoring.tests.factories import AlertFactory, RuleFactory
from devices.registry.models import Device
from devices.registry.services import attributes, device_details
from devices.registry.services.credentials import create_enrollment_token, issue_device_token
from devices.registry.tests.factories import (
    DeviceFactory,
    DeviceIdentifierFactory,
    IdentifierConflictFactory,
    SiteFactory,
)
from devices.registry.tests.waiting import wait_until
from devices.remote_control.tests.remote_control import create_remote_control_rows
from devices.updates.tests.rollouts import create_rollout_rows
from events.models import Seal
from events.services import audit_log
from events.tests.factories import ChannelFactory
from provisioning import tasks
from provisioning.tenant_deletion import delete_due, in_order, owned_models
from tenants import saved_views
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import DeletedTenant, Membership, Role, Tenant, TenantOwned, User
from tenants.tests.factories import MembershipFactory, TenantFactory

pytestmark = pytest.mark.django_db
NAME = "Unforgettable"
EMAIL = "unforgettable@example.com"


@pytest.fixture
def moment() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def device(moment: datetime) -> Device:
    """A device of a tenant that has something of nearly everything."""
    tenant = TenantFactory.create(name=NAME, slug="unforgettable")
    user = User.objects.create_user(EMAIL, "a-long-and-good-one")
    user_sessions.begin(user=user, address=None, browser=NAME, now=moment)
    membership = MembershipFactory.create(tenant=tenant, user=user, role=Role.OWNER)
    north = SiteFactory.create(tenant=tenant, name=NAME)
    SiteFactory.create(tenant=tenant, name=f"{NAME} south", parent=north)
    device: Device = DeviceFactory.create(tenant=tenant, name=NAME, site=north)
    DeviceIdentifierFactory.create(device=device, written=NAME)
    IdentifierConflictFactory.create(holder=device)
    create_remote_control_rows(device, moment, by=user)
    _, package, _, _ = create_rollout_rows(device, moment, by=user)
    package.stored_name = storages["packages"].save(f"{device.pk}.apk", ContentFile(b"app"))
    package.save()
    service = CertificateManagementService()
    service.issue_certificate(device=device, csr_pem=request_for(ec_key()), now=moment)
    service.issue_certificate(device=DeviceFactory.create(tenant=tenant), now=moment)
    report(device, *every_five_minutes(moment - timedelta(hours=1), [20.0]), now=moment)
    rule = RuleFactory.create(tenant=tenant, name=NAME)
    RuleOverride.every_tenant.create(tenant=tenant, rule=rule, device=device, threshold=5)
    AlertFactory.create(tenant=tenant, rule=rule, device=device, title=NAME)
    ChannelFactory.create(tenant=tenant, name=NAME)
    with tenant_scope(tenant.pk):
        issue_device_token(device, now=moment)
        create_enrollment_token(name=NAME, now=moment)
        issue_api_token(membership=membership, name=NAME, now=moment)
        invitations.invite(
            email="x@example.com", role=Role.VIEWER, by=user, by_role=Role.OWNER, now=moment
        )
        attributes.define(key="floor", label=NAME, kind="text", now=moment)
        device_details.update(
            device=device, notes=NAME, attributes={"floor": NAME}, tags=[NAME], now=moment
        )
        layers.save(
            subject=layers.Subject(scope="device", device=device),
            document={"extra": {"text": NAME}},
            now=moment,
        )
        windows.create(name=NAME, starts_at=moment, ends_at=moment + timedelta(hours=1), now=moment)
        saved_views.save(
            user=user, is_shared=True, model="x", name=NAME, query="", columns=(), now=moment
        )
        operations.start(
            action="add_tags", parameters={"tags": [NAME]}, filter={}, by=user, now=moment
        )
        DeviceImport.objects.create(
            file_name=NAME, state="columns", requested_at=moment, worked_at=moment
        )
        SignInProvider.objects.create(issuer=NAME, client_id=NAME, domains=["example.com"])
    with every_tenant_scope():
        audit_log.seal(now=moment + timedelta(minutes=5))
    return device


def request_deletion(tenant: Tenant, now: datetime) -> None:
    with tenant_scope(tenant.pk):
        tenant_deletion.request(tenant=tenant, typed_slug=tenant.slug, by_operator=False, now=now)


def build_lists(now: datetime) -> None:
    revocation_lists.rebuild_due(DeviceCertificatesService(), now=now)


def places_with(texts: set[str]) -> set[str]:
    """Return the tables and files that contain one of these texts."""
    found = set()
    with every_tenant_scope(), connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            name = connection.ops.quote_name(table)
            for text in texts:
                cursor.execute(
                    f"SELECT 1 FROM {name} AS r WHERE r::text ILIKE %s LIMIT 1", [f"%{text}%"]
                )
                if cursor.fetchone():
                    found.add(table)
    for root in (django_settings.CERTIFICATES_ROOT, storages["packages"].path("")):
        for file in Path(root).rglob("*"):
            if any(text.lower() in str(file).lower() for text in texts):
                found.add(str(file))
    return found


def test_nothing_is_left_of_a_deleted_tenant_but_what_revocation_lists_need(
    device: Device, moment: datetime
) -> None:
    tenant = device.tenant
    other = MembershipFactory.create()
    texts = {NAME, str(tenant.pk), str(device.pk), EMAIL}
    assert len(places_with(texts)) > 40
    serials = list(device.certificates.values_list("authority_key_id", "serial_number"))
    request_deletion(tenant, moment)
    due = moment + timedelta(days=14)

    assert delete_due(now=due) == 0  # the certificates are revoked, and not listed yet
    build_lists(due)
    with every_tenant_scope():
        audit_log.seal(now=due + timedelta(minutes=5))
        digest = bytes(Seal.objects.filter(chain=tenant.pk).latest("number").digest).hex()
    assert delete_due(now=due) == 1

    assert places_with(texts) == {"tenants_deletedtenant"}
    assert DeletedTenant.objects.get().audit_digest == digest
    assert list(Membership.every_tenant.all()) == [other]
    assert not User.objects.filter(email=EMAIL).exists()
    assert not UserSession.objects.exists()
    [(authority, serial)] = serials
    status = status_of(authority, serial)
    assert status is not None
    assert status[0] == "revoked"
    build_lists(due + timedelta(days=2))
    key_identifier = CertificateAuthority.objects.get(status="signing").key_identifier
    complete = RevocationList.objects.complete().of_authority(key_identifier).get()
    crl = x509.load_der_x509_crl(bytes(complete.der))
    assert crl.get_revoked_certificate_by_serial_number(int(serial, 16)) is not None


def test_an_interrupted_deletion_is_continued(device: Device, moment: datetime) -> None:
    request_deletion(device.tenant, moment)
    due = moment + timedelta(days=14)

    runs = 0
    while not delete_due(now=due, time_is_up=lambda: True):
        build_lists(due)
        runs += 1
        assert runs < 300

    assert places_with({NAME, str(device.tenant_id)}) == {"tenants_deletedtenant"}
    assert runs > 20


def test_nothing_is_deleted_before_the_waiting_time_is_over_or_after_it_was_taken_back(
    device: Device, moment: datetime
) -> None:
    tenant = device.tenant
    request_deletion(tenant, moment)
    delete_due(now=moment + timedelta(days=13))
    device.refresh_from_db()
    assert device.status != "retired"

    with tenant_scope(tenant.pk):
        suspension.resume(tenant=tenant, by_operator=False, now=moment)
    delete_due(now=moment + timedelta(days=20))

    device.refresh_from_db()
    assert device.status != "retired"
    tenant.refresh_from_db()
    assert (tenant.suspended_at, tenant.deletion_due_at) == (None, None)


def test_the_command_that_resumes_a_tenant_keeps_it(device: Device, moment: datetime) -> None:
    request_deletion(device.tenant, moment)

    call_command("suspend_tenant", device.tenant.slug, "--resume")
    delete_due(now=moment + timedelta(days=20))

    device.tenant.refresh_from_db()
    assert device.tenant.deletion_due_at is None


def test_a_tenant_whose_deletion_has_begun_is_not_resumed(device: Device, moment: datetime) -> None:
    tenant, due = device.tenant, moment + timedelta(days=14)
    request_deletion(tenant, moment)
    delete_due(now=due)

    with tenant_scope(tenant.pk), pytest.raises(DeletionHasBegun):
        suspension.resume(tenant=tenant, by_operator=True, now=due)
    tenant.refresh_from_db()
    assert tenant.suspended_at is not None


def test_a_file_that_cannot_be_deleted_stops_neither_the_next_run_nor_other_tenants(
    device: Device, moment: datetime
) -> None:
    other = TenantFactory.create()
    request_deletion(device.tenant, moment)
    request_deletion(other, moment + timedelta(hours=1))
    due = moment + timedelta(days=15)
    delete_due(now=due)
    build_lists(due)
    [stored] = Path(storages["packages"].path("")).rglob(f"{device.pk}*.apk")
    stored.unlink()
    (stored / "not-empty").mkdir(parents=True)

    with pytest.raises(ExceptionGroup):
        delete_due(now=due)
    assert not Tenant.objects.filter(pk=other.pk).exists()

    (stored / "not-empty").rmdir()
    assert delete_due(now=due) == 1
    assert places_with({NAME, str(device.tenant_id)}) == {"tenants_deletedtenant"}


def test_forgotten_revocations_go_when_no_list_needs_them(device: Device, moment: datetime) -> None:
    request_deletion(device.tenant, moment)
    due = moment + timedelta(days=14)
    delete_due(now=due)
    build_lists(due)
    delete_due(now=due)
    end = ForgottenRevocation.objects.latest("not_after").not_after

    forgetting.delete_old(now=end)
    assert ForgottenRevocation.objects.exists()
    forgetting.delete_old(now=end + timedelta(days=30))
    assert not ForgottenRevocation.objects.exists()


def test_a_member_of_another_tenant_keeps_the_account(device: Device, moment: datetime) -> None:
    user = User.objects.get(email=EMAIL)
    MembershipFactory.create(user=user)
    request_deletion(device.tenant, moment)
    due = moment + timedelta(days=14)
    delete_due(now=due)
    build_lists(due)

    assert delete_due(now=due) == 1
    assert User.objects.filter(email=EMAIL, is_active=True).exists()


def test_each_model_of_a_tenant_is_deleted_before_those_it_refers_to() -> None:
    owned = owned_models()
    order = list(in_order(owned))

    assert {model for model in apps.get_models() if issubclass(model, TenantOwned)} <= set(order)
    assert order.index(Alert) < order.index(Device)


def test_an_owner_types_the_slug_in_the_portal(device: Device) -> None:
    tenant = device.tenant
    client = Client()
    client.force_login(User.objects.get(email=EMAIL))
    page = f"/admin/tenants/tenant/{tenant.pk}/delete-tenant/"

    assert "after 14 days" in client.get(page).content.decode().lower()
    client.post(page, {"slug": "wrong"})
    tenant.refresh_from_db()
    assert tenant.deletion_due_at is None
    client.post(page, {"slug": tenant.slug})
    tenant.refresh_from_db()
    assert tenant.deletion_due_at is not None
    assert tenant.suspended_at is not None
    admin = Client()
    admin.force_login(MembershipFactory.create(tenant=tenant, role=Role.ADMIN).user)
    assert admin.post(page, {"slug": tenant.slug}).status_code == 403


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("celery_worker")
def test_a_worker_deletes_a_tenant(moment: datetime) -> None:
    tenant = TenantFactory.create()
    request_deletion(tenant, moment - timedelta(days=15))

    tasks.delete_due_tenants.delay()

    wait_until(lambda: not Tenant.objects.filter(pk=tenant.pk).exists())


class TestErasure:
    def test_nothing_but_the_audit_log_names_an_erased_person(self, device: Device) -> None:
        MembershipFactory.create(tenant=device.tenant, role=Role.OWNER)
        with every_tenant_scope():
            user = User.objects.get(email=EMAIL)
        SignInIdentity.every_tenant.create(
            tenant=device.tenant,
            user=user,
            issuer="https://login.example.com",
            subject="ada-4711",
            created_at=datetime.now(UTC),
        )

        call_command("erase_person", EMAIL.upper())

        left = {
            place for place in places_with({EMAIL, "ada-4711"}) if not place.startswith("events_")
        }
        assert left == set()
        user.refresh_from_db()
        assert (user.is_active, user.name, user.has_usable_password()) == (False, "", False)
        assert not Membership.every_tenant.filter(user=user).exists()

    def test_the_only_owner_of_a_tenant_is_not_erased(self, device: Device) -> None:
        user = User.objects.get(email=EMAIL)

        with pytest.raises(LastOwner):
            erasure.erase(user=user, now=datetime.now(UTC))
        assert User.objects.filter(email=EMAIL, is_active=True).exists()
