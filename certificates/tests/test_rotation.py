"""A new CA beside the old one: both trusted, then one, with no device left behind."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from django.core.management import CommandError, call_command

from certificates.errors import NotReadyForRotation
from certificates.models import (
    CertificateAuthority,
    DeviceCertificate,
    RevocationList,
)
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
from certificates.tests.issued import issue_certificate, revoke_certificate
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from tenants.context import tenant_scope

pytestmark = pytest.mark.django_db


@pytest.fixture
def service() -> CertificateManagementService:
    return CertificateManagementService()


def prepared(
    service: CertificateManagementService, now: datetime
) -> CertificateAuthority:
    return rotation.prepare(service.ca, key_type="ec", now=now)


def step() -> str:
    return rotation.next_step(rotation.standings())[0]


def moved(service: CertificateManagementService, now: datetime) -> None:
    """What beat, the workers and the devices do."""
    for pk in renewal_campaigns.advance(now=now):
        row = DeviceCertificate.objects.get(pk=pk)
        handover.confirm(service.renew_certificate(row, now=now), now=now)


def test_the_whole_way(
    service: CertificateManagementService, device: Device, client: Any
) -> None:
    now = datetime.now(UTC)
    old = issue_certificate(device, now - timedelta(days=1))
    former = CertificateAuthority.objects.get()
    assert step() == "prepare"

    # A new one is prepared: it is trusted, and does not sign.
    following = prepared(service, now)
    assert step() == "switch"
    assert issue_certificate(DeviceFactory.create(), now).authority_key_id == (
        former.key_identifier
    )
    trusted = x509.load_pem_x509_certificates(
        client.get("/certificates/trusted.pem").content
    )
    assert {former.certificate(), following.certificate()} == set(trusted)

    # It signs; what the former signed is good still, and its lists go on.
    rotation.switch(service.ca, now=now)
    assert step() == "move"
    fresh = issue_certificate(DeviceFactory.create(), now)
    assert fresh.authority_key_id == following.key_identifier
    assert client.get("/certificates/ca.pem").content.decode() == following.chain
    with tenant_scope(device.tenant_id):
        assert validate_certificate(old.pem, now=now).valid
    revoke_certificate(issue_certificate(DeviceFactory.create(), now), now)
    assert revocation_lists.rebuild_due(service.ca, now=now) >= 3

    # The devices move, at the operator's rate.
    renewal_campaigns.pull_forward(
        reason="a new CA",
        per_minute=100,
        authority_key_id=former.key_identifier,
        now=now + timedelta(seconds=1),
    )
    assert step() == "wait"
    moved(service, now + timedelta(seconds=2))
    assert not DeviceCertificate.objects.active().signed_by(former.key_identifier)

    # The former is retired when nothing of it is valid.
    renewal_campaigns.advance(now=now + timedelta(minutes=2))
    assert step() == "retire"
    with pytest.raises(NotReadyForRotation, match="valid still"):
        rotation.retire(key_identifier=former.key_identifier, now=now)
    for row in rotation.unneeded(former, unconfirmed=False):
        revoke_certificate(row, now, reason="superseded")
    with pytest.raises(NotReadyForRotation, match="on no list yet"):
        rotation.retire(key_identifier=former.key_identifier, now=now)
    ended = rotation.end_former(former, service, unconfirmed=False, now=now)
    assert list(ended) == [], "they were revoked before it was killed"

    assert step() == "prepare"
    trusted = x509.load_pem_x509_certificates(
        client.get("/certificates/trusted.pem").content
    )
    assert trusted == [following.certificate()]
    with tenant_scope(device.tenant_id):
        problems = validate_certificate(old.pem, now=now).problems
    assert "signature_invalid" in problems


def test_a_device_that_is_away_keeps_the_former_authority_alive(
    service: CertificateManagementService, device: Device, capsys: Any
) -> None:
    now = datetime.now(UTC)
    old = issue_certificate(device, now - timedelta(days=1))
    prepared(service, now)
    rotation.switch(service.ca, now=now)
    service.renew_certificate(old, now=now)  # and the device has not come for it

    assert step() == "wait"
    with pytest.raises(CommandError, match="nothing is done"):
        call_command("rotate_ca", "retire", revoke_superseded=True)
    old.refresh_from_db()
    assert old.status == "active"

    call_command("rotate_ca", "retire", revoke_unconfirmed=True)
    old.refresh_from_db()
    assert (old.status, old.listed_at is not None) == ("revoked", True)


def test_the_key_that_signs_is_no_next_authority(
    service: CertificateManagementService, now: datetime
) -> None:
    signs = service.authority(now=now)
    holder = KeyHolder(signs.key)

    with pytest.raises(NotReadyForRotation, match="another CA's"):
        rotation.prepare(service.ca, holder=holder, now=now)

    assert not service.ca.store.authorities.exists()


def test_below_a_root_the_retired_one_stands_on_the_roots_list(
    now: datetime, settings: Any, tmp_path: Path
) -> None:
    settings.CERTIFICATES_ROOT = str(tmp_path / "rooted")
    service = CertificateManagementService()
    service.ca.initialize_ca(now=now, key_type="ec", with_root=True)
    former = service.authority(now=now).certificate
    revocation_lists.rebuild_due(service.ca, now=now)
    rotation.prepare(service.ca, key_type="ec", with_root=True, now=now)
    rotation.switch(service.ca, now=now)
    later = now + timedelta(hours=1)
    for row in rotation.former():
        rotation.retire(key_identifier=row.key_identifier, now=later)

    revocation_lists.rebuild_due(service.ca, now=later)

    root = RevocationList.objects.get(authority__level="root")
    listed = x509.load_der_x509_crl(bytes(root.der))
    assert [entry.serial_number for entry in listed] == [former.serial_number]


def test_a_root_without_anything_below_it_is_trusted_no_longer(
    now: datetime, settings: Any, tmp_path: Path
) -> None:
    settings.CERTIFICATES_ROOT = str(tmp_path / "rooted")
    service = CertificateManagementService()
    service.ca.initialize_ca(now=now, key_type="ec", with_root=True)
    service.authority(now=now)
    following = prepared(service, now)  # without a root
    rotation.switch(service.ca, now=now)
    for row in rotation.former():
        rotation.retire(key_identifier=row.key_identifier, now=now)

    assert authorities.trusted_certificates() == [following.certificate()]


def test_two_authorities_of_one_installation_have_names_of_their_own(
    service: CertificateManagementService, now: datetime
) -> None:
    service.authority(now=now)
    following = prepared(service, now)

    names = set(CertificateAuthority.objects.values_list("subject", flat=True))
    assert len(names) == 2
    assert "Device CA 2" in following.subject


def test_the_steps_are_taken_in_their_order(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    issue_certificate(device, now)
    signs = CertificateAuthority.objects.get()

    with pytest.raises(NotReadyForRotation, match="No new CA"):
        rotation.switch(service.ca, now=now)
    with pytest.raises(NotReadyForRotation, match="signs"):
        rotation.retire(key_identifier=signs.key_identifier, now=now)
    prepared(service, now)
    with pytest.raises(NotReadyForRotation, match="prepared already"):
        prepared(service, now)


def test_a_switch_to_an_authority_whose_key_is_gone_is_refused_and_changes_nothing(
    service: CertificateManagementService, now: datetime
) -> None:
    service.authority(now=now)
    following = prepared(service, now)
    service.ca.store.authority(following.key_identifier).key.unlink()
    service.ca.store.authority(following.key_identifier).certificate.touch()

    with pytest.raises(Exception, match="key is not there"):
        rotation.switch(service.ca, now=now)

    assert CertificateAuthority.objects.signing().get() != following


def test_below_the_root_that_is_there_the_next_one_is_made(
    service: CertificateManagementService, now: datetime, settings: Any, tmp_path: Path
) -> None:
    settings.CERTIFICATES_ROOT = str(tmp_path / "rooted")
    service = CertificateManagementService()
    service.ca.initialize_ca(now=now, key_type="ec", with_root=True)
    service.authority(now=now)

    following = rotation.prepare(service.ca, key_type="ec", with_root=True, now=now)

    roots = CertificateAuthority.objects.filter(level="root")
    assert following.certificates()[1] == roots.get().certificate()
    with pytest.raises(NotReadyForRotation, match="above"):
        rotation.retire(key_identifier=roots.get().key_identifier, now=now)


def test_the_command_walks_the_operator_through_it(
    service: CertificateManagementService, device: Device, capsys: Any
) -> None:
    old = issue_certificate(device, datetime.now(UTC) - timedelta(days=1))

    def said(*words: str) -> str:
        call_command("rotate_ca", *words)
        return str(capsys.readouterr().out)

    assert "rotate_ca prepare" in said()
    assert "trusted.pem" in said("prepare", "--key-type", "ec")
    assert "--per-minute" in said("switch")
    with pytest.raises(CommandError) as wrong:
        said("move")
    assert wrong.value.returncode == 2
    assert "come again later" in said("move", "--per-minute", "60")
    moved(service, datetime.now(UTC))
    renewal_campaigns.advance(now=datetime.now(UTC) + timedelta(minutes=2))
    assert "--revoke-superseded" in said()
    with pytest.raises(CommandError, match="valid still"):
        said("retire")
    assert "rotate_ca prepare" in said("retire", "--revoke-superseded", "--destroy-key")
    old.refresh_from_db()
    assert (old.status, old.revocation_reason) == ("revoked", "superseded")
    assert not service.ca.store.ca_key.exists()
    issue_certificate(DeviceFactory.create(), datetime.now(UTC))
    with pytest.raises(CommandError, match="no former CA"):
        said("retire")


def test_the_lost_files_of_a_retired_authority_make_no_new_one(
    service: CertificateManagementService, device: Device, now: datetime
) -> None:
    issue_certificate(device, now)
    prepared(service, now)
    signs = rotation.switch(service.ca, now=now)
    service.ca.store.ca_key.unlink()
    service.ca.store.ca_certificate.unlink()

    row = issue_certificate(DeviceFactory.create(), now)

    assert row.authority_key_id == signs.key_identifier
    assert CertificateAuthority.objects.count() == 2
