"""Tests of building, importing and serving certificate revocation lists."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from rest_framework.test import APIClient

from certificates.errors import InvalidList
from certificates.models import DeviceCertificate, RevocationList
from certificates.pki import crl
from certificates.pki.issuer import Issuer, key_identifier
from certificates.services import revocation_lists
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.tasks import build_revocation_lists
from certificates.tests.issuance import issue_certificate, revoke_certificate
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from devices.registry.tests.waiting import wait_until
from tenants.context import every_tenant_scope

pytestmark = pytest.mark.django_db
CRL = x509.CertificateRevocationList


def rebuild(now: datetime) -> int:
    return revocation_lists.rebuild_due(DeviceCertificatesService(), now=now)


def complete() -> CRL:
    row = RevocationList.objects.get(slot=None)
    return x509.load_der_x509_crl(bytes(row.der))


def shard_of(row: DeviceCertificate) -> CRL:
    assert row.distribution_point is not None
    row.distribution_point.refresh_from_db()
    return x509.load_der_x509_crl(bytes(row.distribution_point.der))


def number(revocation_list: CRL) -> int:
    return revocation_list.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def serials(revocation_list: CRL) -> set[int]:
    return {entry.serial_number for entry in revocation_list}


def test_a_revoked_certificate_is_on_the_complete_list_and_its_shard(
    device: Device, now: datetime
) -> None:
    row, other = (issue_certificate(device, now), issue_certificate(DeviceFactory.create(), now))
    revoke_certificate(row, now + timedelta(hours=1))

    rebuild(now + timedelta(hours=2))

    expected = {int(row.serial_number, 16)}
    assert serials(complete()) == serials(shard_of(row)) == expected
    if other.distribution_point != row.distribution_point:
        assert serials(shard_of(other)) == set()


def test_an_entry_has_the_revocation_time_and_reason(device: Device, now: datetime) -> None:
    row = issue_certificate(device, now)
    revoke_certificate(row, now + timedelta(hours=1), reason="keyCompromise")

    rebuild(now + timedelta(hours=5))

    (entry,) = complete()
    assert entry.revocation_date_utc == now + timedelta(hours=1)
    reason = entry.extensions.get_extension_for_class(x509.CRLReason)
    assert (reason.value.reason, reason.critical) == (x509.ReasonFlags.key_compromise, False)


def test_an_unspecified_reason_is_left_out(device: Device, now: datetime) -> None:
    revoke_certificate(issue_certificate(device, now), now, reason="unspecified")

    rebuild(now)

    (entry,) = complete()
    assert list(entry.extensions) == []


def test_a_list_has_no_extensions_outside_the_profile(device: Device, now: datetime) -> None:
    row = issue_certificate(device, now)
    revoke_certificate(row, now)
    rebuild(now)

    complete_extensions = {item.oid: item.critical for item in complete().extensions}
    shard_extensions = {item.oid: item.critical for item in shard_of(row).extensions}
    assert complete_extensions == {
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER: False,
        ExtensionOID.CRL_NUMBER: False,
    }
    assert shard_extensions == {
        **complete_extensions,
        ExtensionOID.ISSUING_DISTRIBUTION_POINT: True,
    }


def test_the_validity_of_a_list_covers_a_missed_build(device: Device, now: datetime) -> None:
    issue_certificate(device, now)
    rebuild(now)

    revocation_list = complete()
    assert revocation_list.last_update_utc == now
    assert revocation_list.next_update_utc is not None
    assert revocation_list.next_update_utc - now == timedelta(days=7)
    assert settings.CRL_REBUILD_HOURS * 2 <= settings.CRL_VALIDITY_HOURS


def test_an_empty_list_has_no_entries_at_all(device: Device, now: datetime) -> None:
    issue_certificate(device, now)
    rebuild(now)

    assert len(complete()) == 0


def test_a_list_is_issued_and_signed_by_the_ca(device: Device, now: datetime) -> None:
    issue_certificate(device, now)
    rebuild(now)

    ca = DeviceCertificatesService().issuer().certificate
    assert complete().issuer.public_bytes() == ca.subject.public_bytes()
    assert complete().is_signature_valid(ca.public_key())  # type: ignore[arg-type]
    assert complete().signature_hash_algorithm.name == "sha256"  # type: ignore[union-attr]


def test_a_shard_names_the_distribution_point_of_the_certificate(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    rebuild(now)

    certificate = row.signed_certificate()
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints)
    scope = shard_of(row).extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    (point,) = points.value
    assert point.full_name == scope.value.full_name
    assert [name.value for name in point.full_name or ()] == [
        f"{settings.PKI_URL}/certificates/crl/{row.distribution_point_id}.crl"
    ]
    assert scope.value.only_contains_user_certs


def test_a_changed_pki_url_creates_new_shards_and_keeps_the_old_ones(
    device: Device, now: datetime, settings: Any
) -> None:
    settings.CRL_SHARDS = 1
    old_row = issue_certificate(device, now)
    settings.PKI_URL = "http://elsewhere.example.com"
    new_row = issue_certificate(DeviceFactory.create(), now)
    revoke_certificate(old_row, now)
    revoke_certificate(new_row, now)

    rebuild(now)

    assert serials(shard_of(old_row)) == {int(old_row.serial_number, 16)}
    assert serials(shard_of(new_row)) == {int(new_row.serial_number, 16)}
    scope = shard_of(old_row).extensions.get_extension_for_class(x509.IssuingDistributionPoint)
    names = [str(name.value) for name in scope.value.full_name or ()]
    assert len(names) == 1
    assert not names[0].startswith("http://elsewhere")


def test_an_entry_stays_for_one_list_after_its_expiry(device: Device, now: datetime) -> None:
    row = issue_certificate(device, now)
    assert row.not_after is not None
    revoke_certificate(row, now)

    def is_listed(at: datetime) -> bool:
        assert rebuild(at) > 0
        return bool(serials(complete()))

    assert is_listed(row.not_after - timedelta(hours=1))
    # The first list after the expiry still contains the entry, however late it is built.
    assert is_listed(row.not_after + timedelta(days=30))
    assert not is_listed(row.not_after + timedelta(days=32))


def test_an_unchanged_list_is_rebuilt_after_a_day(device: Device, now: datetime) -> None:
    issue_certificate(device, now)
    assert rebuild(now) == 2

    assert rebuild(now + timedelta(hours=23)) == 0
    assert rebuild(now + timedelta(hours=24)) == 2
    assert number(complete()) == 2


def test_a_revocation_rebuilds_two_lists_once(device: Device, now: datetime) -> None:
    row = issue_certificate(device, now)
    rebuild(now)
    revoke_certificate(row, now, reason="superseded")

    assert rebuild(now + timedelta(seconds=20)) == 2
    assert rebuild(now + timedelta(seconds=40)) == 0


def test_a_later_key_compromise_rebuilds_the_lists(device: Device, now: datetime) -> None:
    row = issue_certificate(device, now)
    revoke_certificate(row, now, reason="superseded")
    rebuild(now)
    revoke_certificate(row, now + timedelta(hours=1), reason="keyCompromise")

    assert rebuild(now + timedelta(hours=1)) == 2

    (entry,) = complete()
    reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    assert reason == x509.ReasonFlags.key_compromise
    assert entry.revocation_date_utc == now


def test_a_failed_build_keeps_the_last_list(device: Device, now: datetime, client: Any) -> None:
    row = issue_certificate(device, now)
    rebuild(now)
    revoke_certificate(row, now)
    DeviceCertificatesService().store.ca_certificate.unlink()

    assert rebuild(now + timedelta(minutes=1)) == 0

    assert number(complete()) == 1
    row.refresh_from_db()
    assert row.listed_at is None  # not listed yet, so the build is tried again


def test_a_clock_set_back_does_not_build_an_older_list(device: Device, now: datetime) -> None:
    issue_certificate(device, now)
    rebuild(now)

    list_id = RevocationList.objects.get(slot=None).pk
    issuer = DeviceCertificatesService().issuer()
    revocation_lists.build(list_id, issuer, now=now - timedelta(days=3))

    assert complete().last_update_utc == now


@pytest.mark.django_db(transaction=True)
def test_twenty_concurrent_builds_use_each_number_once(device: Device, now: datetime) -> None:
    issue_certificate(device, now)
    list_id = RevocationList.objects.get(slot=None).pk
    issuer = DeviceCertificatesService().issuer()

    def build(_: int) -> int:
        with every_tenant_scope():
            try:
                return revocation_lists.build(list_id, issuer, now=now).number
            finally:
                connection.close()

    with ThreadPoolExecutor(20) as pool:
        numbers = sorted(pool.map(build, range(20)))

    assert numbers == list(range(1, 21))
    assert number(complete()) == 20


@pytest.mark.django_db(transaction=True)
def test_the_worker_builds_revocation_lists(celery_worker: None, device: Device) -> None:
    row = issue_certificate(device, datetime.now(UTC))
    revoke_certificate(row, datetime.now(UTC))

    build_revocation_lists.delay()

    wait_until(lambda: RevocationList.objects.get(slot=None).number > 0)
    wait_until(lambda: DeviceCertificate.objects.unlisted().count() == 0)
    assert serials(complete()) == {int(row.serial_number, 16)}


# --- Imported lists of a root ------------------------------------------------------------


def root_list(issuer: Issuer, now: datetime, number: int, days: int = 30) -> bytes:
    return crl.revocation_list(
        issuer=issuer,
        number=number,
        entries=[],
        distribution_point=None,
        this_update=now,
        next_update=now + timedelta(days=days),
    ).public_bytes(Encoding.DER)


def without_next_update(issuer: Issuer, now: datetime) -> bytes:
    """Build a signed revocation list without `nextUpdate`. Its CRL number is 8."""

    def tlv(tag: int, body: bytes) -> bytes:
        size = len(body)
        octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
        long_form = bytes([0x80 | len(octets)]) if size > 127 else b""
        return bytes([tag]) + long_form + octets + body

    complete_list = root_list(issuer, now, 8)
    parsed = x509.load_der_x509_crl(complete_list)
    tbs = parsed.tbs_certlist_bytes
    header = 4 if tbs[1] == 0x82 else 3 if tbs[1] == 0x81 else 2
    assert parsed.next_update_utc is not None
    next_update = tlv(0x17, f"{parsed.next_update_utc:%y%m%d%H%M%SZ}".encode())
    shorter_tbs = tlv(0x30, tbs[header:].replace(next_update, b""))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256
    key = issuer.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = key.sign(shorter_tbs, ec.ECDSA(hashes.SHA256()))
    return tlv(0x30, shorter_tbs + algorithm + tlv(0x03, b"\0" + signature))


@pytest.fixture
def external_root(tmp_path: Path, settings: Any, now: datetime) -> Issuer:
    """Import a CA without the key of its root. Return the root as an `Issuer`."""
    source = DeviceCertificatesService(tmp_path / "elsewhere")
    source.initialize_ca(now=now, key_type="ec", with_root=True)
    settings.CERTIFICATES_ROOT = str(tmp_path / "here")
    DeviceCertificatesService().import_ca(
        key=source.store.ca_key.read_bytes(),
        chain=source.store.ca_certificate.read_bytes(),
        now=now,
    )
    root = source.issuer().chain[1]
    return source.issuer(key_identifier(root).hex())


def test_trusted_lists_are_served_while_a_root_list_is_missing(
    external_root: Issuer, client: Any
) -> None:
    response = client.get("/certificates/trusted.crl.pem")

    assert response.status_code == 200
    assert response.content.count(b"BEGIN X509 CRL") == 1


def test_an_imported_root_list_is_served(
    external_root: Issuer, client: Any, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    client.get("/certificates/ca.pem")
    path = tmp_path / "root.crl"
    path.write_bytes(root_list(external_root, now, 7))

    call_command("build_revocation_lists", given=path)

    response = client.get("/certificates/trusted.crl.pem")
    assert response.content.count(b"BEGIN X509 CRL") == 2
    identifier = external_root.key_identifier.hex()
    response = client.get(f"/certificates/authorities/{identifier}.crl")
    assert response.content == path.read_bytes()


def test_an_invalid_imported_list_is_rejected(
    external_root: Issuer, client: Any, tmp_path: Path, now: datetime
) -> None:
    client.get("/certificates/ca.pem")
    other_ca = DeviceCertificatesService(tmp_path / "other-ca")
    other_ca.initialize_ca(now=now, key_type="ec", with_root=True)
    revocation_lists.import_list(root_list(external_root, now, 7))
    for der, message in (
        (root_list(external_root, now, 7), "must be higher than"),
        (root_list(other_ca.issuer(), now, 8), "No CA"),
        (without_next_update(external_root, now), "no nextUpdate"),
        (b"nothing", "not a revocation list"),
    ):
        with pytest.raises(InvalidList, match=message):
            revocation_lists.import_list(der)
    root = RevocationList.objects.get(authority__level="root")
    assert root.number == 7


# --- HTTP -----------------------------------------------------------------------------------


def test_lists_are_served_as_der_and_pem_with_cache_headers(client: Any, device: Device) -> None:
    row = issue_certificate(device, datetime.now(UTC))
    point = row.distribution_point_id

    complete_list = client.get("/certificates/ca.crl")
    pem_list = client.get("/certificates/ca.crl.pem")
    shard = client.get(f"/certificates/crl/{point}.crl")

    for response in (complete_list, pem_list, shard):
        assert response.status_code == 200
        assert response["ETag"]
        assert response["Last-Modified"]
        assert "max-age=300" in response["Cache-Control"]
    assert complete_list["Content-Type"] == shard["Content-Type"] == "application/pkix-crl"
    assert x509.load_der_x509_crl(complete_list.content) == x509.load_pem_x509_crl(pem_list.content)
    assert x509.load_der_x509_crl(shard.content).issuer


def test_a_request_with_the_current_etag_gets_304(client: Any, device: Device) -> None:
    issue_certificate(device, datetime.now(UTC))
    first = client.get("/certificates/ca.crl")

    second = client.get("/certificates/ca.crl", HTTP_IF_NONE_MATCH=first["ETag"])

    assert (second.status_code, second.content) == (304, b"")
    assert second["ETag"] == first["ETag"]


def test_the_cache_time_never_exceeds_the_validity_of_a_list(
    client: Any, device: Device, now: datetime
) -> None:
    issue_certificate(device, now)
    moment = datetime.now(UTC)
    rebuild(moment - timedelta(days=7) + timedelta(seconds=60))

    response = client.get("/certificates/ca.crl")

    max_age = int(response["Cache-Control"].rsplit("=", 1)[1])
    assert 0 <= max_age <= 60


@pytest.mark.parametrize(
    "path", ["crl/999999.crl", "crl/99999999999999999999.crl", "authorities/ab.crl"]
)
def test_an_unknown_list_is_not_found(path: str) -> None:
    assert APIClient().get(f"/certificates/{path}").status_code == 404


def test_lists_are_served_without_the_ca_files(client: Any, device: Device) -> None:
    issue_certificate(device, datetime.now(UTC))
    assert client.get("/certificates/ca.crl").status_code == 200
    crl_row = RevocationList.objects.get(slot=None)
    path = f"/certificates/authorities/{crl_row.authority.key_identifier}.crl"
    store = DeviceCertificatesService().store
    store.ca_certificate.rename(store.root / "away.pem")

    assert client.get(path).status_code == 200
