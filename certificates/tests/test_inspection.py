"""The continuous audit finds what nobody looks for, and says when it looked last."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from certificates.models import DeviceCertificate, Drift, Inspection, RevocationList
from certificates.services import inspection, revocation_lists
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.tasks import inspect_certificates
from certificates.tests.issued import issue_certificate, revoke_certificate
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from devices.registry.tests.waiting import until
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def looked(now: datetime) -> int:
    store = DeviceCertificatesService().store
    return inspection.inspect_some(store=store, now=now)


def full_pass(now: datetime) -> None:
    while looked(now):
        pass


def found() -> list[str]:
    return sorted(Drift.objects.values_list("kind", flat=True))


def test_what_is_as_it_was_issued_is_found_so(device: Device, now: datetime) -> None:
    issue_certificate(device, now)
    CertificateManagementService().issue_certificate(
        device=DeviceFactory.create(), key_type="ec", now=now
    )
    revoke_certificate(issue_certificate(DeviceFactory.create(), now), now)
    revocation_lists.rebuild_due(DeviceCertificatesService(), now=now)

    full_pass(now + HOUR)

    assert found() == []
    last = inspection.last_full_pass()
    assert last is not None
    assert (last.ended_at, last.inspected, last.drifted) == (now + HOUR, 3, 0)


Damage = Callable[[DeviceCertificate], object]


def _without_its_file(row: DeviceCertificate) -> None:
    DeviceCertificatesService().store.certificate_of(row.device_id).unlink()


def _with_another_pem(row: DeviceCertificate) -> None:
    other = CertificateManagementService().issue_certificate(
        device=DeviceFactory.create(), key_type="ec", now=row.reserved_at
    )
    DeviceCertificate.objects.filter(pk=row.pk).update(pem=other.pem)


def _with_another_end(row: DeviceCertificate) -> None:
    assert row.not_after is not None
    later = row.not_after + HOUR
    DeviceCertificate.objects.filter(pk=row.pk).update(not_after=later)


def _with_a_changed_signature(row: DeviceCertificate) -> None:
    lines = row.pem.splitlines()
    body = bytearray(base64.b64decode("".join(lines[1:-1])))
    body[-5] ^= 1
    pem = base64.encodebytes(bytes(body)).decode()
    text = f"{lines[0]}\n{pem}{lines[-1]}\n"
    DeviceCertificate.objects.filter(pk=row.pk).update(pem=text)


def _with_an_open_key(row: DeviceCertificate) -> None:
    DeviceCertificatesService().store.key_of(row.device_id).chmod(0o644)


def _unreadable(row: DeviceCertificate) -> None:
    DeviceCertificate.objects.filter(pk=row.pk).update(pem="nothing")


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (_without_its_file, "certificate_file_missing"),
        (_with_another_pem, "record_differs"),
        (_with_another_end, "record_differs"),
        (_with_a_changed_signature, "profile_differs"),
        (_with_an_open_key, "key_file_readable_by_others"),
        (_unreadable, "record_unreadable"),
    ],
)
def test_each_kind_of_drift_is_found(
    device: Device, now: datetime, damage: Damage, kind: str
) -> None:
    row = CertificateManagementService().issue_certificate(
        device=device, key_type="ec", now=now
    )
    damage(row)

    full_pass(now + HOUR)

    assert kind in found()
    assert set(Drift.objects.values_list("certificate", flat=True)) == {row.pk}
    assert Inspection.objects.get().drifted == 1


def test_a_revoked_one_that_is_on_no_list_is_found(
    device: Device, now: datetime
) -> None:
    revoke_certificate(issue_certificate(device, now), now)
    full_pass(now + timedelta(minutes=5))
    assert found() == [], "the list has its time"

    full_pass(now + 13 * HOUR)

    assert found() == ["not_on_list", "not_on_list"]


def test_what_was_mended_is_forgotten_and_what_lasts_keeps_its_beginning(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    path = DeviceCertificatesService().store.certificate_of(device.pk)
    path.unlink()
    for day in (0, 1):
        full_pass(now + timedelta(days=day))
    drift = Drift.objects.get()
    assert (drift.found_at, drift.seen_at) == (now, now + timedelta(days=1))

    path.write_text(row.pem)
    full_pass(now + timedelta(days=2))

    assert found() == []


def test_a_pass_is_made_in_slices_and_goes_on_where_it_was(
    now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "LEAST_SLICE", 2)
    for device in DeviceFactory.create_batch(5):
        issue_certificate(device, now)

    slices = [looked(now + minute * timedelta(minutes=1)) for minute in range(5)]

    assert slices == [2, 2, 1, 0, 0]
    last = inspection.last_full_pass()
    assert last is not None
    assert last.inspected == 5


def test_the_next_pass_begins_when_it_is_time(device: Device, now: datetime) -> None:
    issue_certificate(device, now)
    full_pass(now)

    assert looked(now + HOUR) == 0
    assert looked(now + 12 * HOUR) == 1


@pytest.mark.django_db(transaction=True)
def test_the_worker_looks(celery_worker: None, device: Device) -> None:
    issue_certificate(device, datetime.now(UTC))

    inspect_certificates.delay()

    until(lambda: Inspection.objects.filter(inspected=1).exists())


def test_the_first_page_says_when_and_what(tenant: Tenant, client: Client) -> None:
    now = datetime.now(UTC)
    ours, theirs = DeviceFactory.create(tenant=tenant), DeviceFactory.create()
    for device in (ours, theirs):
        issue_certificate(device, now)
        DeviceCertificatesService().store.certificate_of(device.pk).unlink()
    member = MembershipFactory.create(tenant=tenant, role=Role.VIEWER)
    client.force_login(member.user)
    assert b"The first pass is under way" in client.get("/admin/").content

    full_pass(now)

    page = client.get("/admin/").content.decode()
    assert "Last full pass ended" in page
    assert page.count("is missing") == 1, "a tenant sees its own"
    assert str(ours.pk) in page
    assert str(theirs.pk) not in page


def test_an_expired_list_is_no_reason_to_forget_it(
    device: Device, now: datetime, settings: Any
) -> None:
    """A list that cannot be rebuilt is still compared with what it says."""
    revoke_certificate(issue_certificate(device, now), now)
    revocation_lists.rebuild_due(DeviceCertificatesService(), now=now)
    assert RevocationList.objects.filter(entries=1).count() == 2

    full_pass(now + timedelta(days=30))

    assert found() == []
