"""Revocation lists: complete, in shards, never with a number twice, always served."""

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
from certificates.tests.issued import issue_certificate, revoke_certificate
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from devices.registry.tests.waiting import until
from tenants.context import every_tenant_scope

pytestmark = pytest.mark.django_db
CRL = x509.CertificateRevocationList


def rebuilt(now: datetime) -> int:
    return revocation_lists.rebuild_due(DeviceCertificatesService(), now=now)


def complete() -> CRL:
    row = RevocationList.objects.get(slot=None)
    return x509.load_der_x509_crl(bytes(row.der))


def shard_of(row: DeviceCertificate) -> CRL:
    assert row.distribution_point is not None
    row.distribution_point.refresh_from_db()
    return x509.load_der_x509_crl(bytes(row.distribution_point.der))


def number(found: CRL) -> int:
    return found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def serials(found: CRL) -> set[int]:
    return {entry.serial_number for entry in found}


def test_a_revoked_certificate_is_on_the_complete_list_and_on_its_shard(
    device: Device, now: datetime
) -> None:
    row, other = (
        issue_certificate(device, now),
        issue_certificate(DeviceFactory.create(), now),
    )
    revoke_certificate(row, now + timedelta(hours=1))

    rebuilt(now + timedelta(hours=2))

    expected = {int(row.serial_number, 16)}
    assert serials(complete()) == serials(shard_of(row)) == expected
    if other.distribution_point != row.distribution_point:
        assert serials(shard_of(other)) == set()


def test_its_entry_says_when_it_was_revoked_and_why(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    revoke_certificate(row, now + timedelta(hours=1), reason="keyCompromise")

    rebuilt(now + timedelta(hours=5))

    (entry,) = complete()
    assert entry.revocation_date_utc == now + timedelta(hours=1)
    reason = entry.extensions.get_extension_for_class(x509.CRLReason)
    assert (reason.value.reason, reason.critical) == (
        x509.ReasonFlags.key_compromise,
        False,
    )


def test_an_unspecified_reason_is_left_out(device: Device, now: datetime) -> None:
    revoke_certificate(issue_certificate(device, now), now, reason="unspecified")

    rebuilt(now)

    (entry,) = complete()
    assert list(entry.extensions) == []


def test_a_list_has_the_profiles_extensions_and_no_other(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    revoke_certificate(row, now)
    rebuilt(now)

    whole = {item.oid: item.critical for item in complete().extensions}
    part = {item.oid: item.critical for item in shard_of(row).extensions}
    assert whole == {
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER: False,
        ExtensionOID.CRL_NUMBER: False,
    }
    assert part == {**whole, ExtensionOID.ISSUING_DISTRIBUTION_POINT: True}


def test_a_lists_dates_leave_room_for_a_missed_build(
    device: Device, now: datetime
) -> None:
    issue_certificate(device, now)
    rebuilt(now)

    found = complete()
    assert found.last_update_utc == now
    assert found.next_update_utc is not None
    assert found.next_update_utc - now == timedelta(days=7)
    assert settings.CRL_REBUILD_HOURS * 2 <= settings.CRL_VALIDITY_HOURS


def test_an_empty_list_has_no_entries_at_all(device: Device, now: datetime) -> None:
    issue_certificate(device, now)
    rebuilt(now)

    assert len(complete()) == 0


def test_the_issuer_is_the_authority_byte_for_byte_and_its_key_signed(
    device: Device, now: datetime
) -> None:
    issue_certificate(device, now)
    rebuilt(now)

    ca = DeviceCertificatesService().issuer().certificate
    assert complete().issuer.public_bytes() == ca.subject.public_bytes()
    assert complete().is_signature_valid(ca.public_key())  # type: ignore[arg-type]
    assert complete().signature_hash_algorithm.name == "sha256"  # type: ignore[union-attr]


def test_the_shard_says_the_distribution_point_byte_for_byte(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    rebuilt(now)

    certificate = row.signed_certificate()
    points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints)
    scope = shard_of(row).extensions.get_extension_for_class(
        x509.IssuingDistributionPoint
    )
    (point,) = points.value
    assert point.full_name == scope.value.full_name
    assert [name.value for name in point.full_name or ()] == [
        f"{settings.PKI_URL}/certificates/crl/{row.distribution_point_id}.crl"
    ]
    assert scope.value.only_contains_user_certs


def test_another_public_address_opens_other_shards_and_leaves_the_old_ones(
    device: Device, now: datetime, settings: Any
) -> None:
    settings.CRL_SHARDS = 1
    before = issue_certificate(device, now)
    settings.PKI_URL = "http://elsewhere.example.com"
    after = issue_certificate(DeviceFactory.create(), now)
    revoke_certificate(before, now)
    revoke_certificate(after, now)

    rebuilt(now)

    assert serials(shard_of(before)) == {int(before.serial_number, 16)}
    assert serials(shard_of(after)) == {int(after.serial_number, 16)}
    scope = shard_of(before).extensions.get_extension_for_class(
        x509.IssuingDistributionPoint
    )
    names = [str(name.value) for name in scope.value.full_name or ()]
    assert len(names) == 1
    assert not names[0].startswith("http://elsewhere")


def test_an_entry_stays_until_one_list_after_its_end(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    assert row.not_after is not None
    revoke_certificate(row, now)

    def listed(at: datetime) -> bool:
        assert rebuilt(at) > 0
        return bool(serials(complete()))

    assert listed(row.not_after - timedelta(hours=1))
    assert listed(row.not_after + timedelta(days=30))  # however late, it is on one
    assert not listed(row.not_after + timedelta(days=32))


def test_nothing_is_built_without_news_until_a_day_has_passed(
    device: Device, now: datetime
) -> None:
    issue_certificate(device, now)
    assert rebuilt(now) == 2

    assert rebuilt(now + timedelta(hours=23)) == 0
    assert rebuilt(now + timedelta(hours=24)) == 2
    assert number(complete()) == 2


def test_a_revocation_is_news_for_two_lists_and_once(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    rebuilt(now)
    revoke_certificate(row, now, reason="superseded")

    assert rebuilt(now + timedelta(seconds=20)) == 2
    assert rebuilt(now + timedelta(seconds=40)) == 0


def test_a_key_found_to_be_compromised_later_is_news_again(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    revoke_certificate(row, now, reason="superseded")
    rebuilt(now)
    revoke_certificate(row, now + timedelta(hours=1), reason="keyCompromise")

    assert rebuilt(now + timedelta(hours=1)) == 2

    (entry,) = complete()
    reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    assert reason == x509.ReasonFlags.key_compromise
    assert entry.revocation_date_utc == now


def test_a_list_that_cannot_be_built_leaves_the_last_good_one(
    device: Device, now: datetime, client: Any
) -> None:
    row = issue_certificate(device, now)
    rebuilt(now)
    revoke_certificate(row, now)
    DeviceCertificatesService().store.ca_certificate.unlink()

    assert rebuilt(now + timedelta(minutes=1)) == 0

    assert number(complete()) == 1
    row.refresh_from_db()
    assert row.listed_at is None  # and so it is tried again


def test_a_clock_that_goes_back_makes_no_list_that_is_older(
    device: Device, now: datetime
) -> None:
    issue_certificate(device, now)
    rebuilt(now)

    list_id = RevocationList.objects.get(slot=None).pk
    issuer = DeviceCertificatesService().issuer()
    revocation_lists.build(list_id, issuer, now=now - timedelta(days=3))

    assert complete().last_update_utc == now


@pytest.mark.django_db(transaction=True)
def test_twenty_builders_at_once_use_each_number_once(
    device: Device, now: datetime
) -> None:
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
def test_the_worker_builds_what_beat_asks_for(
    celery_worker: None, device: Device
) -> None:
    row = issue_certificate(device, datetime.now(UTC))
    revoke_certificate(row, datetime.now(UTC))

    build_revocation_lists.delay()

    until(lambda: RevocationList.objects.get(slot=None).number > 0)
    until(lambda: DeviceCertificate.objects.unlisted().count() == 0)
    assert serials(complete()) == {int(row.serial_number, 16)}


# --- A root's, from elsewhere -----------------------------------------------------------


def roots_list(issuer: Issuer, now: datetime, number: int, days: int = 30) -> bytes:
    return crl.revocation_list(
        issuer=issuer,
        number=number,
        entries=[],
        distribution_point=None,
        this_update=now,
        next_update=now + timedelta(days=days),
    ).public_bytes(Encoding.DER)


def without_its_end(issuer: Issuer, now: datetime) -> bytes:
    """A list that is well signed and does not say how long it is good, number 8."""

    def tlv(tag: int, body: bytes) -> bytes:
        size = len(body)
        octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
        long = bytes([0x80 | len(octets)]) if size > 127 else b""
        return bytes([tag]) + long + octets + body

    whole = roots_list(issuer, now, 8)
    parsed = x509.load_der_x509_crl(whole)
    tbs = parsed.tbs_certlist_bytes
    header = 4 if tbs[1] == 0x82 else 3 if tbs[1] == 0x81 else 2
    assert parsed.next_update_utc is not None
    end = tlv(0x17, f"{parsed.next_update_utc:%y%m%d%H%M%SZ}".encode())
    shorter = tlv(0x30, tbs[header:].replace(end, b""))
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")  # ecdsa-with-SHA256
    key = issuer.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = key.sign(shorter, ec.ECDSA(hashes.SHA256()))
    return tlv(0x30, shorter + algorithm + tlv(0x03, b"\0" + signature))


@pytest.fixture
def outside_root(tmp_path: Path, settings: Any, now: datetime) -> Issuer:
    """A CA here whose root, with its key, is somewhere else."""
    elsewhere = DeviceCertificatesService(tmp_path / "elsewhere")
    elsewhere.initialize_ca(now=now, key_type="ec", with_root=True)
    settings.CERTIFICATES_ROOT = str(tmp_path / "here")
    DeviceCertificatesService().import_ca(
        key=elsewhere.store.ca_key.read_bytes(),
        chain=elsewhere.store.ca_certificate.read_bytes(),
        now=now,
    )
    root = elsewhere.issuer().chain[1]
    return elsewhere.issuer(key_identifier(root).hex())


def test_a_proxy_gets_what_there_is_while_a_roots_list_is_missing(
    outside_root: Issuer, client: Any
) -> None:
    answer = client.get("/certificates/trusted.crl.pem")

    assert answer.status_code == 200
    assert answer.content.count(b"BEGIN X509 CRL") == 1


def test_a_list_that_the_root_signed_elsewhere_is_served(
    outside_root: Issuer, client: Any, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    client.get("/certificates/ca.pem")
    path = tmp_path / "root.crl"
    path.write_bytes(roots_list(outside_root, now, 7))

    call_command("build_revocation_lists", given=path)

    answer = client.get("/certificates/trusted.crl.pem")
    assert answer.content.count(b"BEGIN X509 CRL") == 2
    identifier = outside_root.key_identifier.hex()
    served = client.get(f"/certificates/authorities/{identifier}.crl")
    assert served.content == path.read_bytes()


def test_a_list_that_is_older_or_a_strangers_or_none_is_refused(
    outside_root: Issuer, client: Any, tmp_path: Path, now: datetime
) -> None:
    client.get("/certificates/ca.pem")
    stranger = DeviceCertificatesService(tmp_path / "stranger")
    stranger.initialize_ca(now=now, key_type="ec", with_root=True)
    revocation_lists.take_over(roots_list(outside_root, now, 7))
    for der, why in (
        (roots_list(outside_root, now, 7), "here already"),
        (roots_list(stranger.issuer(), now, 8), "No CA"),
        (without_its_end(outside_root, now), "until when"),
        (b"nothing", "no revocation list"),
    ):
        with pytest.raises(InvalidList, match=why):
            revocation_lists.take_over(der)
    root = RevocationList.objects.get(authority__level="root")
    assert root.number == 7


# --- As it is served ------------------------------------------------------------------


def test_lists_are_served_in_both_forms_with_what_a_cache_needs(
    client: Any, device: Device
) -> None:
    row = issue_certificate(device, datetime.now(UTC))
    point = row.distribution_point_id

    whole = client.get("/certificates/ca.crl")
    text = client.get("/certificates/ca.crl.pem")
    shard = client.get(f"/certificates/crl/{point}.crl")

    for answer in (whole, text, shard):
        assert answer.status_code == 200
        assert answer["ETag"]
        assert answer["Last-Modified"]
        assert "max-age=300" in answer["Cache-Control"]
    assert whole["Content-Type"] == shard["Content-Type"] == "application/pkix-crl"
    assert x509.load_der_x509_crl(whole.content) == x509.load_pem_x509_crl(text.content)
    assert x509.load_der_x509_crl(shard.content).issuer


def test_who_has_the_list_is_told_so(client: Any, device: Device) -> None:
    issue_certificate(device, datetime.now(UTC))
    first = client.get("/certificates/ca.crl")

    again = client.get("/certificates/ca.crl", HTTP_IF_NONE_MATCH=first["ETag"])

    assert (again.status_code, again.content) == (304, b"")
    assert again["ETag"] == first["ETag"]


def test_a_cache_keeps_no_list_beyond_its_end(
    client: Any, device: Device, now: datetime
) -> None:
    issue_certificate(device, now)
    moment = datetime.now(UTC)
    rebuilt(moment - timedelta(days=7) + timedelta(seconds=60))

    answer = client.get("/certificates/ca.crl")

    age = int(answer["Cache-Control"].rsplit("=", 1)[1])
    assert 0 <= age <= 60


@pytest.mark.parametrize(
    "path", ["crl/999999.crl", "crl/99999999999999999999.crl", "authorities/ab.crl"]
)
def test_a_list_that_is_none_is_not_found(path: str) -> None:
    assert APIClient().get(f"/certificates/{path}").status_code == 404


def test_a_list_outlives_the_shutdown_of_its_authoritys_key(
    client: Any, device: Device
) -> None:
    issue_certificate(device, datetime.now(UTC))
    assert client.get("/certificates/ca.crl").status_code == 200
    served = RevocationList.objects.get(slot=None)
    path = f"/certificates/authorities/{served.authority.key_identifier}.crl"
    store = DeviceCertificatesService().store
    store.ca_certificate.rename(store.root / "away.pem")

    assert client.get(path).status_code == 200
