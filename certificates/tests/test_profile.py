"""What is signed, line by line: most of these lines no verifier would miss."""

import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certificates.device_certificates import DeviceCertificatesService
from certificates.management_service import CertificateManagementService
from certificates.tests.keys import ec_key, request_for
from devices.models import Device

pytestmark = pytest.mark.django_db


@pytest.fixture
def signed(device: Device, now: datetime) -> x509.Certificate:
    row = CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(ec_key(), ca=True), now=now
    )
    return row.signed_certificate()


def extension(certificate: x509.Certificate, kind: type) -> x509.Extension:
    return certificate.extensions.get_extension_for_class(kind)


def test_the_subject_is_ours_and_not_the_requests(
    signed: x509.Certificate, device: Device
) -> None:
    assert [(part.oid, part.value) for part in signed.subject] == [
        (NameOID.COMMON_NAME, f"Device-{device.pk}"),
        (NameOID.ORGANIZATION_NAME, "BTManagement"),
        (NameOID.COUNTRY_NAME, "IL"),
    ]


def test_the_serial_number_is_positive_and_has_at_most_twenty_octets(
    signed: x509.Certificate,
) -> None:
    assert 2**64 < signed.serial_number < 2**159


def test_the_validity_is_365_days_with_both_ends(
    signed: x509.Certificate, now: datetime
) -> None:
    assert signed.not_valid_before_utc == now - timedelta(minutes=5)
    whole = signed.not_valid_after_utc - signed.not_valid_before_utc
    assert whole + timedelta(seconds=1) == timedelta(days=365)


def test_the_device_is_explicitly_no_authority(signed: x509.Certificate) -> None:
    constraints = extension(signed, x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca


def test_the_key_may_sign_and_nothing_else(signed: x509.Certificate) -> None:
    usage = extension(signed, x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    for right in (
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
    ):
        assert not getattr(usage.value, right), right


def test_the_purpose_is_tls_client_only(signed: x509.Certificate) -> None:
    assert list(extension(signed, x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]


def test_the_device_is_named_by_its_uuid(
    signed: x509.Certificate, device: Device
) -> None:
    names = extension(signed, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [device.pk.urn]


def test_the_key_identifiers_are_the_keys_and_the_issuers(
    signed: x509.Certificate,
) -> None:
    issuer = DeviceCertificatesService().issuer()
    own = x509.SubjectKeyIdentifier.from_public_key(signed.public_key())
    assert extension(signed, x509.SubjectKeyIdentifier).value == own
    authority = extension(signed, x509.AuthorityKeyIdentifier).value
    assert authority.key_identifier == issuer.key_identifier


def test_the_issuers_name_is_its_subject_byte_for_byte(
    signed: x509.Certificate,
) -> None:
    issuer = DeviceCertificatesService().issuer()
    assert signed.issuer.public_bytes() == issuer.certificate.subject.public_bytes()


def test_no_certificate_outlives_its_issuer(device: Device) -> None:
    ca = DeviceCertificatesService().issuer().certificate
    late = ca.not_valid_after_utc - timedelta(days=10)

    row = CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=late
    )

    assert row.not_after == ca.not_valid_after_utc


def test_the_authority_is_a_ca_with_none_below_it(
    tmp_path: Path, now: datetime
) -> None:
    ca = DeviceCertificatesService(tmp_path / "ca").initialize_ca(now=now).certificate

    constraints = extension(ca, x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    usage = extension(ca, x509.KeyUsage)
    assert usage.critical
    assert (usage.value.key_cert_sign, usage.value.crl_sign) == (True, True)
    assert not usage.value.digital_signature
    key = ca.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 3072
    assert isinstance(ca.signature_hash_algorithm, hashes.SHA256)
    whole = ca.not_valid_after_utc - ca.not_valid_before_utc
    assert whole + timedelta(seconds=1) == timedelta(days=3650)


def test_openssl_accepts_it_for_a_tls_client_and_for_nothing_else(
    device: Device, tmp_path: Path, now: datetime
) -> None:
    service = CertificateManagementService()
    service.issue_certificate(device=device, now=now)
    store = service.ca.store

    def verify(purpose: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                *("openssl", "verify", "-x509_strict", "-purpose", purpose),
                *("-attime", str(int(now.timestamp()))),
                *("-CAfile", str(store.ca_certificate)),
                str(store.certificate_of(device.pk)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )

    assert verify("sslclient").stdout.endswith(": OK\n")
    assert verify("sslserver").returncode != 0
