"""Tests of the continuous integrity inspection of certificates."""

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
from certificates.tests.issuance import issue_certificate, revoke_certificate
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from devices.registry.tests.waiting import wait_until
from tenants.models import Role, Tenant
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


def inspect_slice(now: datetime) -> int:
    store = DeviceCertificatesService().store
    return inspection.inspect(store=store, now=now)


def run_full_pass(now: datetime) -> None:
    while inspect_slice(now):
        pass


def finding_kinds() -> list[str]:
    return sorted(Drift.objects.values_list("kind", flat=True))


def test_unchanged_certificates_have_no_findings(device: Device, now: datetime) -> None:
    issue_certificate(device, now)
    CertificateManagementService().issue_certificate(
        device=DeviceFactory.create(), key_type="ec", now=now
    )
    revoke_certificate(issue_certificate(DeviceFactory.create(), now), now)
    revocation_lists.rebuild_due(DeviceCertificatesService(), now=now)

    run_full_pass(now + HOUR)

    assert finding_kinds() == []
    last_pass = inspection.last_full_pass()
    assert last_pass is not None
    assert (last_pass.ended_at, last_pass.inspected, last_pass.drifted) == (now + HOUR, 3, 0)


Damage = Callable[[DeviceCertificate], object]


def _delete_file(row: DeviceCertificate) -> None:
    DeviceCertificatesService().store.certificate_of(row.device_id).unlink()


def _replace_pem(row: DeviceCertificate) -> None:
    other = CertificateManagementService().issue_certificate(
        device=DeviceFactory.create(), key_type="ec", now=row.reserved_at
    )
    DeviceCertificate.objects.filter(pk=row.pk).update(pem=other.pem)


def _change_not_after(row: DeviceCertificate) -> None:
    assert row.not_after is not None
    not_after = row.not_after + HOUR
    DeviceCertificate.objects.filter(pk=row.pk).update(not_after=not_after)


def _corrupt_signature(row: DeviceCertificate) -> None:
    lines = row.pem.splitlines()
    body = bytearray(base64.b64decode("".join(lines[1:-1])))
    body[-5] ^= 1
    pem = base64.encodebytes(bytes(body)).decode()
    text = f"{lines[0]}\n{pem}{lines[-1]}\n"
    DeviceCertificate.objects.filter(pk=row.pk).update(pem=text)


def _make_key_readable(row: DeviceCertificate) -> None:
    DeviceCertificatesService().store.key_of(row.device_id).chmod(0o644)


def _make_unreadable(row: DeviceCertificate) -> None:
    DeviceCertificate.objects.filter(pk=row.pk).update(pem="nothing")


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        (_delete_file, "certificate_file_missing"),
        (_replace_pem, "record_differs"),
        (_change_not_after, "record_differs"),
        (_corrupt_signature, "profile_differs"),
        (_make_key_readable, "key_file_readable_by_others"),
        (_make_unreadable, "record_unreadable"),
    ],
)
def test_each_kind_of_finding_is_detected(
    device: Device, now: datetime, damage: Damage, kind: str
) -> None:
    row = CertificateManagementService().issue_certificate(device=device, key_type="ec", now=now)
    damage(row)

    run_full_pass(now + HOUR)

    assert kind in finding_kinds()
    assert set(Drift.objects.values_list("certificate", flat=True)) == {row.pk}
    assert Inspection.objects.get().drifted == 1


def test_a_revoked_certificate_missing_from_the_lists_is_found(
    device: Device, now: datetime
) -> None:
    revoke_certificate(issue_certificate(device, now), now)
    run_full_pass(now + timedelta(minutes=5))
    assert finding_kinds() == [], "the list is not due yet"

    run_full_pass(now + 13 * HOUR)

    assert finding_kinds() == ["not_on_list", "not_on_list"]


def test_a_repaired_finding_is_deleted_and_a_lasting_one_keeps_its_start(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    path = DeviceCertificatesService().store.certificate_of(device.pk)
    path.unlink()
    for day in (0, 1):
        run_full_pass(now + timedelta(days=day))
    drift = Drift.objects.get()
    assert (drift.found_at, drift.seen_at) == (now, now + timedelta(days=1))

    path.write_text(row.pem)
    run_full_pass(now + timedelta(days=2))

    assert finding_kinds() == []


def test_a_pass_runs_in_slices_and_resumes(now: datetime, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "MIN_SIZE", 2)
    for device in DeviceFactory.create_batch(5):
        issue_certificate(device, now)

    slices = [inspect_slice(now + minute * timedelta(minutes=1)) for minute in range(5)]

    assert slices == [2, 2, 1, 0, 0]
    last_pass = inspection.last_full_pass()
    assert last_pass is not None
    assert last_pass.inspected == 5


def test_a_run_inspects_several_slices_until_its_time_is_up(
    now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "SLICE", 2)
    store = DeviceCertificatesService().store
    for device in DeviceFactory.create_batch(5):
        issue_certificate(device, now)
    answers = iter((False, False, True))

    def run() -> int:
        return inspection.inspect(store=store, now=now, time_is_up=lambda: next(answers, False))

    assert [run(), run()] == [4, 1]


def test_the_next_pass_starts_after_the_interval(device: Device, now: datetime) -> None:
    issue_certificate(device, now)
    run_full_pass(now)

    assert inspect_slice(now + HOUR) == 0
    assert inspect_slice(now + 12 * HOUR) == 1


@pytest.mark.django_db(transaction=True)
def test_the_worker_inspects_certificates(celery_worker: None, device: Device) -> None:
    issue_certificate(device, datetime.now(UTC))

    inspect_certificates.delay()

    wait_until(lambda: Inspection.objects.filter(inspected=1).exists())


def test_the_start_page_shows_the_last_pass_and_the_tenants_findings(
    tenant: Tenant, client: Client
) -> None:
    now = datetime.now(UTC)
    own_device, foreign_device = (DeviceFactory.create(tenant=tenant), DeviceFactory.create())
    for device in (own_device, foreign_device):
        issue_certificate(device, now)
        DeviceCertificatesService().store.certificate_of(device.pk).unlink()
    member = MembershipFactory.create(tenant=tenant, role=Role.VIEWER)
    client.force_login(member.user)
    assert b"The first inspection is in progress" in client.get("/admin/", follow=True).content

    run_full_pass(now)

    page = client.get("/admin/", follow=True).content.decode()
    assert "The last full inspection ended" in page
    assert page.count(".pem is missing.") == 1, "findings of another tenant are hidden"
    assert str(own_device.pk) in page
    assert str(foreign_device.pk) not in page


def test_an_expired_list_is_still_compared(device: Device, now: datetime, settings: Any) -> None:
    """An expired list that cannot be rebuilt is still compared with the records."""
    revoke_certificate(issue_certificate(device, now), now)
    revocation_lists.rebuild_due(DeviceCertificatesService(), now=now)
    assert RevocationList.objects.filter(entries=1).count() == 2

    run_full_pass(now + timedelta(days=30))

    assert finding_kinds() == []
