"""Tests of every field of issued certificates (RFC 5280).

Most of these fields are not checked by TLS verifiers.
"""

import subprocess
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import (
    AuthorityInformationAccessOID,
    ExtendedKeyUsageOID,
    ExtensionOID,
    NameOID,
    SignatureAlgorithmOID,
)
from django.conf import settings

from certificates.errors import AuthorityUnavailable
from certificates.models import DeviceCertificate
from certificates.pki import issuing, serials
from certificates.services.certificate_management import CertificateManagementService
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.tests.external_tools import requires_tools
from certificates.tests.keys import DeviceKey, ec_key, request_for
from devices.registry.models import Device

pytestmark = pytest.mark.django_db


@pytest.fixture
def certificate(device: Device, now: datetime) -> x509.Certificate:
    row = CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(ec_key(), ca=True), now=now
    )
    return row.signed_certificate()


def get_extension(certificate: x509.Certificate, kind: type) -> x509.Extension[Any]:
    return certificate.extensions.get_extension_for_class(kind)


def test_the_version_is_3_and_the_signature_uses_sha_256(certificate: x509.Certificate) -> None:
    assert certificate.version == x509.Version.v3
    assert isinstance(certificate.signature_hash_algorithm, hashes.SHA256)
    assert certificate.signature_algorithm_oid in (
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA256,
    )


def test_the_server_sets_the_subject(certificate: x509.Certificate, device: Device) -> None:
    assert [(part.oid, part.value) for part in certificate.subject] == [
        (NameOID.COMMON_NAME, f"Device-{device.pk}"),
        (NameOID.ORGANIZATION_NAME, "BTManagement"),
        (NameOID.COUNTRY_NAME, "IL"),
    ]


def test_the_serial_number_is_positive_and_has_at_most_twenty_octets(
    certificate: x509.Certificate,
) -> None:
    assert 2**64 < certificate.serial_number < 2**159


def test_the_validity_is_365_days_inclusive(certificate: x509.Certificate, now: datetime) -> None:
    assert certificate.not_valid_before_utc == now - timedelta(minutes=5)
    validity = certificate.not_valid_after_utc - certificate.not_valid_before_utc
    assert validity + timedelta(seconds=1) == timedelta(days=365)


def test_basic_constraints_say_the_device_is_no_ca(certificate: x509.Certificate) -> None:
    constraints = get_extension(certificate, x509.BasicConstraints)
    assert constraints.critical
    assert not constraints.value.ca


def test_the_key_usage_is_digital_signature_only(certificate: x509.Certificate) -> None:
    usage = get_extension(certificate, x509.KeyUsage)
    assert usage.critical
    assert usage.value.digital_signature
    for usage_name in (
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
    ):
        assert not getattr(usage.value, usage_name), usage_name


def test_the_extended_key_usage_is_tls_client_only(certificate: x509.Certificate) -> None:
    assert list(get_extension(certificate, x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.CLIENT_AUTH
    ]


def test_the_alternative_name_is_the_device_uuid(
    certificate: x509.Certificate, device: Device
) -> None:
    names = get_extension(certificate, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [device.pk.urn]


def test_the_key_identifiers_match_the_key_and_the_issuer(certificate: x509.Certificate) -> None:
    issuer = DeviceCertificatesService().issuer()
    expected = x509.SubjectKeyIdentifier.from_public_key(certificate.public_key())
    assert get_extension(certificate, x509.SubjectKeyIdentifier).value == expected
    authority = get_extension(certificate, x509.AuthorityKeyIdentifier).value
    assert authority.key_identifier == issuer.key_identifier


def test_there_is_one_distribution_point_with_one_http_address(
    certificate: x509.Certificate, device: Device
) -> None:
    row = DeviceCertificate.objects.get()
    points = get_extension(certificate, x509.CRLDistributionPoints)
    assert not points.critical
    (point,) = points.value
    (name,) = point.full_name
    number = row.distribution_point_id
    assert name.value == f"{settings.PKI_URL}/certificates/crl/{number}.crl"
    assert name.value.startswith("http://")


def test_authority_information_access_names_the_issuer_and_the_responder(
    certificate: x509.Certificate,
) -> None:
    access = get_extension(certificate, x509.AuthorityInformationAccess)
    assert not access.critical
    output = {part.access_method: part.access_location.value for part in access.value}
    identifier = DeviceCertificatesService().issuer().key_identifier.hex()
    assert output == {
        AuthorityInformationAccessOID.OCSP: f"{settings.PKI_URL}/certificates/ocsp",
        AuthorityInformationAccessOID.CA_ISSUERS: (
            f"{settings.PKI_URL}/certificates/authorities/{identifier}.cer"
        ),
    }


def test_the_issuer_address_serves_the_issuer_certificate_in_der(
    certificate: x509.Certificate, client: Any
) -> None:
    access = get_extension(certificate, x509.AuthorityInformationAccess).value
    (address,) = [
        part.access_location.value
        for part in access
        if part.access_method == AuthorityInformationAccessOID.CA_ISSUERS
    ]

    response = client.get(urlsplit(address).path)

    assert response["Content-Type"] == "application/pkix-cert"
    ca = x509.load_der_x509_certificate(response.content)
    certificate.verify_directly_issued_by(ca)


def test_there_are_no_extensions_outside_the_profile(certificate: x509.Certificate) -> None:
    assert {item.oid: item.critical for item in certificate.extensions} == {
        ExtensionOID.BASIC_CONSTRAINTS: True,
        ExtensionOID.KEY_USAGE: True,
        ExtensionOID.EXTENDED_KEY_USAGE: False,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME: False,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER: False,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER: False,
        ExtensionOID.CRL_DISTRIBUTION_POINTS: False,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS: False,
    }


def test_a_certificate_that_violates_the_profile_is_not_activated(
    device: Device, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_serial_number_one(**fields: Any) -> x509.Certificate:
        return original(**{**fields, "serial_number": 1})

    original = issuing.device_certificate
    monkeypatch.setattr(issuing, "device_certificate", with_serial_number_one)

    with pytest.raises(AuthorityUnavailable, match="not a positive number of"):
        CertificateManagementService().issue_certificate(
            device=device, csr_pem=request_for(ec_key()), now=now
        )

    assert DeviceCertificate.objects.get().status == "failed"


def test_serial_numbers_are_random_and_unique() -> None:
    numbers = [serials.random_serial_number() for _ in range(10_000)]

    assert len(set(numbers)) == len(numbers)
    assert all(0 < number < 2**159 for number in numbers)
    assert sum(number > 2**158 for number in numbers) > 4_000, "the highest bit is random"


def test_the_issuer_name_equals_the_ca_subject_byte_for_byte(certificate: x509.Certificate) -> None:
    issuer = DeviceCertificatesService().issuer()
    assert certificate.issuer.public_bytes() == issuer.certificate.subject.public_bytes()


def test_a_certificate_never_outlives_its_issuer(device: Device) -> None:
    ca = DeviceCertificatesService().issuer().certificate
    near_ca_expiry = ca.not_valid_after_utc - timedelta(days=10)

    row = CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(ec_key()), now=near_ca_expiry
    )

    assert row.not_after == ca.not_valid_after_utc


def test_a_ca_without_root_allows_no_ca_below_it(tmp_path: Path, now: datetime) -> None:
    ca = DeviceCertificatesService(tmp_path / "ca").initialize_ca(now=now).certificate

    constraints = get_extension(ca, x509.BasicConstraints)
    assert constraints.critical
    assert (constraints.value.ca, constraints.value.path_length) == (True, 0)
    usage = get_extension(ca, x509.KeyUsage)
    assert usage.critical
    assert (usage.value.key_cert_sign, usage.value.crl_sign) == (True, True)
    assert not usage.value.digital_signature
    key = ca.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 3072
    assert isinstance(ca.signature_hash_algorithm, hashes.SHA256)
    validity = ca.not_valid_after_utc - ca.not_valid_before_utc
    assert validity + timedelta(seconds=1) == timedelta(days=3650)


def test_a_ca_below_a_root_names_the_roots_list_and_certificate(
    tmp_path: Path, now: datetime
) -> None:
    service = DeviceCertificatesService(tmp_path / "ca")
    issuer = service.initialize_ca(now=now, key_type="ec", with_root=True)

    ca, root = issuer.chain
    for certificate, path_length in ((ca, 0), (root, 1)):
        constraints = get_extension(certificate, x509.BasicConstraints)
        assert constraints.critical
        assert (constraints.value.ca, constraints.value.path_length) == (True, path_length)
        usage = get_extension(certificate, x509.KeyUsage)
        assert (usage.critical, usage.value.key_cert_sign, usage.value.crl_sign) == (
            True,
            True,
            True,
        )
        assert isinstance(certificate.signature_hash_algorithm, hashes.SHA256)
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        assert key.curve.name == "secp384r1"
        assert 2**64 < certificate.serial_number < 2**159
    ca.verify_directly_issued_by(root)
    authority = get_extension(ca, x509.AuthorityKeyIdentifier).value
    root_identifier = get_extension(root, x509.SubjectKeyIdentifier).value.digest
    assert authority.key_identifier == root_identifier
    (point,) = get_extension(ca, x509.CRLDistributionPoints).value
    address = f"{settings.PKI_URL}/certificates/authorities/{root_identifier.hex()}"
    assert point.full_name[0].value == f"{address}.crl"
    (access,) = get_extension(ca, x509.AuthorityInformationAccess).value
    assert access.access_location.value == f"{address}.cer"
    assert ca.subject != root.subject
    assert ca.not_valid_after_utc <= root.not_valid_after_utc


@pytest.mark.parametrize("key", ["rsa", "ec"])
def test_a_device_key_can_be_rsa_or_p_384(device: Device, now: datetime, key: str) -> None:
    device_key: DeviceKey = ec.generate_private_key(ec.SECP384R1())
    if key == "rsa":
        device_key = rsa.generate_private_key(65537, 2048)

    row = CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(device_key), now=now
    )

    assert row.public_key() == device_key.public_key()


@requires_tools("openssl")
def test_openssl_accepts_a_certificate_for_tls_clients_only(
    device: Device, tmp_path: Path, now: datetime
) -> None:
    service = CertificateManagementService()
    service.issue_certificate(device=device, now=now)
    store = service.ca.store

    def verify(purpose: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                "openssl",
                "verify",
                "-x509_strict",
                "-purpose",
                purpose,
                "-attime",
                str(int(now.timestamp())),
                "-CAfile",
                str(store.ca_certificate),
                str(store.certificate_of(device.pk)),
            ],
            capture_output=True,
            text=True,
            check=False,
        )

    assert verify("sslclient").stdout.endswith(": OK\n")
    assert verify("sslserver").returncode != 0
