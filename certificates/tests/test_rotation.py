"""Tests of rotating the CA: prepare, switch, move the devices, retire."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from django.core.management import CommandError, call_command

from certificates.errors import NotReadyForRotation
from certificates.models import CertificateAuthority, DeviceCertificate, RevocationList
from certificates.services import (
    authorities,
    handover,
    renewal_campaigns,
    revocation_lists,
    rotation,
)
from certificates.services.authority_files import KeyHolder
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.validation import validate_certificate
from certificates.tests.issuance import issue_certificate, revoke_certificate
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from tenants.context import tenant_scope

pytestmark = pytest.mark.django_db


@pytest.fixture
def service() -> CertificateManagementService:
    return CertificateManagementService()


def prepare_next_ca(service: CertificateManagementService, now: datetime) -> CertificateAuthority:
    return rotation.prepare(service.ca, key_type="ec", now=now)


def next_step() -> str:
    return rotation.next_step(rotation.authority_usages())[0]


def move_devices(service: CertificateManagementService, now: datetime) -> None:
    """Renew the certificates that the campaigns claim, and confirm their successors."""
    for pk in renewal_campaigns.advance(now=now):
        row = DeviceCertificate.objects.get(pk=pk)
        handover.confirm(service.renew_certificate(row, now=now), now=now)


def test_a_rotation_from_prepare_to_retire(
    service: CertificateManagementService, device: Device, client: Any
) -> None:
    now = datetime.now(UTC)
    old = issue_certificate(device, now - timedelta(days=1))
    former_ca = CertificateAuthority.objects.get()
    assert next_step() == "prepare"

    # The new CA is trusted and does not sign yet.
    next_ca = prepare_next_ca(service, now)
    assert next_step() == "switch"
    assert issue_certificate(DeviceFactory.create(), now).authority_key_id == (
        former_ca.key_identifier
    )
    trusted = x509.load_pem_x509_certificates(client.get("/certificates/trusted.pem").content)
    assert {former_ca.certificate(), next_ca.certificate()} == set(trusted)

    # The new CA signs. Certificates and lists of the former CA stay valid.
    rotation.switch(service.ca, now=now)
    assert next_step() == "move"
    new_row = issue_certificate(DeviceFactory.create(), now)
    assert new_row.authority_key_id == next_ca.key_identifier
    assert client.get("/certificates/ca.pem").content.decode() == next_ca.chain
    with tenant_scope(device.tenant_id):
        assert validate_certificate(old.pem, now=now).valid
    revoke_certificate(issue_certificate(DeviceFactory.create(), now), now)
    assert revocation_lists.rebuild_due(service.ca, now=now) >= 3

    # The devices are renewed at the rate that the operator sets.
    renewal_campaigns.pull_forward(
        reason="a new CA",
        per_minute=100,
        authority_key_id=former_ca.key_identifier,
        now=now + timedelta(seconds=1),
    )
    assert next_step() == "wait"
    move_devices(service, now + timedelta(seconds=2))
    assert not DeviceCertificate.objects.active().signed_by(former_ca.key_identifier)

    # The former CA can be retired when none of its certificates is valid.
    renewal_campaigns.advance(now=now + timedelta(minutes=2))
    assert next_step() == "retire"
    with pytest.raises(NotReadyForRotation, match="still valid"):
        rotation.retire(key_identifier=former_ca.key_identifier, now=now)
    for row in rotation.replaced_certificates(former_ca, unconfirmed=False):
        revoke_certificate(row, now, reason="superseded")
    with pytest.raises(NotReadyForRotation, match="not on a revocation list yet"):
        rotation.retire(key_identifier=former_ca.key_identifier, now=now)
    revoked = rotation.revoke_and_retire(former_ca, service, unconfirmed=False, now=now)
    assert list(revoked) == [], "all certificates were revoked before"

    assert next_step() == "prepare"
    trusted = x509.load_pem_x509_certificates(client.get("/certificates/trusted.pem").content)
    assert trusted == [next_ca.certificate()]
    with tenant_scope(device.tenant_id):
        problems = validate_certificate(old.pem, now=now).problems
    assert "signature_invalid" in problems


def test_the_former_ca_is_kept_while_a_device_has_not_confirmed(
    service: CertificateManagementService, device: Device, capsys: Any
) -> None:
    now = datetime.now(UTC)
    old = issue_certificate(device, now - timedelta(days=1))
    prepare_next_ca(service, now)
    rotation.switch(service.ca, now=now)
    service.renew_certificate(old, now=now)  # the device does not fetch it

    assert next_step() == "wait"
    with pytest.raises(CommandError, match="Nothing was revoked"):
        call_command("rotate_ca", "retire", revoke_superseded=True)
    old.refresh_from_db()
    assert old.status == "active"

    call_command("rotate_ca", "retire", revoke_unconfirmed=True)
    old.refresh_from_db()
    assert (old.status, old.listed_at is not None) == ("revoked", True)


def test_the_next_ca_cannot_use_the_key_of_the_signing_ca(
    service: CertificateManagementService, now: datetime
) -> None:
    signing_ca = service.authority(now=now)
    holder = KeyHolder(signing_ca.key)

    with pytest.raises(NotReadyForRotation, match="Another CA on this server"):
        rotation.prepare(service.ca, holder=holder, now=now)

    assert not service.ca.store.authorities.exists()


def test_a_retired_ca_below_a_root_is_on_the_roots_list(
    now: datetime, settings: Any, tmp_path: Path
) -> None:
    settings.CERTIFICATES_ROOT = str(tmp_path / "rooted")
    service = CertificateManagementService()
    service.ca.initialize_ca(now=now, key_type="ec", with_root=True)
    former_ca = service.authority(now=now).certificate
    revocation_lists.rebuild_due(service.ca, now=now)
    rotation.prepare(service.ca, key_type="ec", with_root=True, now=now)
    rotation.switch(service.ca, now=now)
    later = now + timedelta(hours=1)
    for row in rotation.former_authorities():
        rotation.retire(key_identifier=row.key_identifier, now=later)

    revocation_lists.rebuild_due(service.ca, now=later)

    root = RevocationList.objects.get(authority__level="root")
    entries = x509.load_der_x509_crl(bytes(root.der))
    assert [entry.serial_number for entry in entries] == [former_ca.serial_number]


def test_a_root_without_cas_below_it_is_not_trusted(
    now: datetime, settings: Any, tmp_path: Path
) -> None:
    settings.CERTIFICATES_ROOT = str(tmp_path / "rooted")
    service = CertificateManagementService()
    service.ca.initialize_ca(now=now, key_type="ec", with_root=True)
    service.authority(now=now)
    next_ca = prepare_next_ca(service, now)  # the next CA has no root
    rotation.switch(service.ca, now=now)
    for row in rotation.former_authorities():
        rotation.retire(key_identifier=row.key_identifier, now=now)

    assert authorities.trusted_certificates() == [next_ca.certificate()]


def test_two_cas_of_one_installation_have_different_names(
    service: CertificateManagementService, now: datetime
) -> None:
    service.authority(now=now)
    next_ca = prepare_next_ca(service, now)

    names = set(CertificateAuthority.objects.values_list("subject", flat=True))
    assert len(names) == 2
    assert "Device CA 2" in next_ca.subject


def test_steps_out_of_order_are_rejected(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    issue_certificate(device, now)
    signing_ca = CertificateAuthority.objects.get()

    with pytest.raises(NotReadyForRotation, match="No new CA"):
        rotation.switch(service.ca, now=now)
    with pytest.raises(NotReadyForRotation, match="is the signing CA"):
        rotation.retire(key_identifier=signing_ca.key_identifier, now=now)
    prepare_next_ca(service, now)
    with pytest.raises(NotReadyForRotation, match="already prepared"):
        prepare_next_ca(service, now)


def test_a_switch_to_a_ca_without_its_key_is_rejected(
    service: CertificateManagementService, now: datetime
) -> None:
    service.authority(now=now)
    next_ca = prepare_next_ca(service, now)
    service.ca.store.authority(next_ca.key_identifier).key.unlink()
    service.ca.store.authority(next_ca.key_identifier).certificate.touch()

    with pytest.raises(Exception, match="key is missing"):
        rotation.switch(service.ca, now=now)

    assert CertificateAuthority.objects.signing().get() != next_ca


def test_the_next_ca_is_created_below_the_existing_root(
    service: CertificateManagementService, now: datetime, settings: Any, tmp_path: Path
) -> None:
    settings.CERTIFICATES_ROOT = str(tmp_path / "rooted")
    service = CertificateManagementService()
    service.ca.initialize_ca(now=now, key_type="ec", with_root=True)
    service.authority(now=now)

    next_ca = rotation.prepare(service.ca, key_type="ec", with_root=True, now=now)

    roots = CertificateAuthority.objects.filter(level="root")
    assert next_ca.certificates()[1] == roots.get().certificate()
    with pytest.raises(NotReadyForRotation, match="is below this CA"):
        rotation.retire(key_identifier=roots.get().key_identifier, now=now)


def test_rotate_ca_guides_the_operator_through_the_rotation(
    service: CertificateManagementService, device: Device, capsys: Any
) -> None:
    old = issue_certificate(device, datetime.now(UTC) - timedelta(days=1))

    def run(*arguments: str) -> str:
        call_command("rotate_ca", *arguments)
        return str(capsys.readouterr().out)

    assert "rotate_ca prepare" in run()
    assert "trusted.pem" in run("prepare", "--key-type", "ec")
    assert "--per-minute" in run("switch")
    with pytest.raises(CommandError) as error:
        run("move")
    assert error.value.returncode == 2
    assert "Check again later" in run("move", "--per-minute", "60")
    move_devices(service, datetime.now(UTC))
    renewal_campaigns.advance(now=datetime.now(UTC) + timedelta(minutes=2))
    assert "--revoke-superseded" in run()
    with pytest.raises(CommandError, match="still valid"):
        run("retire")
    assert "rotate_ca prepare" in run("retire", "--revoke-superseded", "--destroy-key")
    old.refresh_from_db()
    assert (old.status, old.revocation_reason) == ("revoked", "superseded")
    assert not service.ca.store.ca_key.exists()
    issue_certificate(DeviceFactory.create(), datetime.now(UTC))
    with pytest.raises(CommandError, match="no former CA"):
        run("retire")


def test_lost_files_of_the_former_ca_do_not_create_another_ca(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    issue_certificate(device, now)
    prepare_next_ca(service, now)
    signing_ca = rotation.switch(service.ca, now=now)
    service.ca.store.ca_key.unlink()
    service.ca.store.ca_certificate.unlink()

    row = issue_certificate(DeviceFactory.create(), now)

    assert row.authority_key_id == signing_ca.key_identifier
    assert CertificateAuthority.objects.count() == 2
