"""What is signed, line by line: most of these lines no verifier would miss."""

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
from certificates.tests.keys import DeviceKey, ec_key, request_for
from certificates.tests.peers import needs
from devices.registry.models import Device

pytestmark = pytest.mark.django_db


@pytest.fixture
def signed(device: Device, now: datetime) -> x509.Certificate:
    row = CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(ec_key(), ca=True), now=now
    )
    return row.signed_certificate()


def extension(certificate: x509.Certificate, kind: type) -> x509.Extension:
    return certificate.extensions.get_extension_for_class(kind)


def test_the_version_is_the_third_and_the_signature_sha_256(
    signed: x509.Certificate,
) -> None:
    assert signed.version == x509.Version.v3
    assert isinstance(signed.signature_hash_algorithm, hashes.SHA256)
    assert signed.signature_algorithm_oid in (
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA256,
    )


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


def test_there_is_one_distribution_point_with_one_plain_http_address(
    signed: x509.Certificate, device: Device
) -> None:
    row = DeviceCertificate.objects.get()
    points = extension(signed, x509.CRLDistributionPoints)
    assert not points.critical
    (point,) = points.value
    (name,) = point.full_name
    number = row.distribution_point_id
    assert name.value == f"{settings.PKI_URL}/certificates/crl/{number}.crl"
    assert name.value.startswith("http://")


def test_it_says_where_its_issuer_and_the_responder_are(
    signed: x509.Certificate,
) -> None:
    access = extension(signed, x509.AuthorityInformationAccess)
    assert not access.critical
    output = {part.access_method: part.access_location.value for part in access.value}
    identifier = DeviceCertificatesService().issuer().key_identifier.hex()
    assert output == {
        AuthorityInformationAccessOID.OCSP: f"{settings.PKI_URL}/certificates/ocsp",
        AuthorityInformationAccessOID.CA_ISSUERS: (
            f"{settings.PKI_URL}/certificates/authorities/{identifier}.cer"
        ),
    }


def test_at_the_issuers_address_is_the_issuers_certificate_in_der(
    signed: x509.Certificate, client: Any
) -> None:
    access = extension(signed, x509.AuthorityInformationAccess).value
    (address,) = [
        part.access_location.value
        for part in access
        if part.access_method == AuthorityInformationAccessOID.CA_ISSUERS
    ]

    answer = client.get(urlsplit(address).path)

    assert answer["Content-Type"] == "application/pkix-cert"
    ca = x509.load_der_x509_certificate(answer.content)
    signed.verify_directly_issued_by(ca)


def test_it_has_the_profiles_extensions_and_no_other(signed: x509.Certificate) -> None:
    assert {item.oid: item.critical for item in signed.extensions} == {
        ExtensionOID.BASIC_CONSTRAINTS: True,
        ExtensionOID.KEY_USAGE: True,
        ExtensionOID.EXTENDED_KEY_USAGE: False,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME: False,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER: False,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER: False,
        ExtensionOID.CRL_DISTRIBUTION_POINTS: False,
        ExtensionOID.AUTHORITY_INFORMATION_ACCESS: False,
    }


def test_what_was_issued_is_checked_against_the_profile_before_it_counts(
    device: Device, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(**about: Any) -> x509.Certificate:
        return make(**{**about, "serial_number": 1})

    make = issuing.device_certificate
    monkeypatch.setattr(issuing, "device_certificate", careless)

    with pytest.raises(AuthorityUnavailable, match="not a random one"):
        CertificateManagementService().issue_certificate(
            device=device, csr_pem=request_for(ec_key()), now=now
        )

    assert DeviceCertificate.objects.get().status == "failed"


def test_serial_numbers_are_random_and_never_the_same() -> None:
    numbers = [serials.random_serial_number() for _ in range(10_000)]

    assert len(set(numbers)) == len(numbers)
    assert all(0 < number < 2**159 for number in numbers)
    assert sum(number > 2**158 for number in numbers) > 4_000, "all bits are random"


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


def test_below_a_root_it_is_an_issuing_authority_with_the_roots_list(
    tmp_path: Path, now: datetime
) -> None:
    service = DeviceCertificatesService(tmp_path / "ca")
    issuer = service.initialize_ca(now=now, key_type="ec", with_root=True)

    ca, root = issuer.chain
    for certificate, path_length in ((ca, 0), (root, 1)):
        constraints = extension(certificate, x509.BasicConstraints)
        assert constraints.critical
        assert (constraints.value.ca, constraints.value.path_length) == (
            True,
            path_length,
        )
        usage = extension(certificate, x509.KeyUsage)
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
    authority = extension(ca, x509.AuthorityKeyIdentifier).value
    above = extension(root, x509.SubjectKeyIdentifier).value.digest
    assert authority.key_identifier == above
    (point,) = extension(ca, x509.CRLDistributionPoints).value
    address = f"{settings.PKI_URL}/certificates/authorities/{above.hex()}"
    assert point.full_name[0].value == f"{address}.crl"
    (access,) = extension(ca, x509.AuthorityInformationAccess).value
    assert access.access_location.value == f"{address}.cer"
    assert ca.subject != root.subject
    assert ca.not_valid_after_utc <= root.not_valid_after_utc


@pytest.mark.parametrize("key", ["rsa", "ec"])
def test_a_device_brings_rsa_or_either_curve(
    device: Device, now: datetime, key: str
) -> None:
    brought: DeviceKey = ec.generate_private_key(ec.SECP384R1())
    if key == "rsa":
        brought = rsa.generate_private_key(65537, 2048)

    row = CertificateManagementService().issue_certificate(
        device=device, csr_pem=request_for(brought), now=now
    )

    assert row.public_key() == brought.public_key()


@needs("openssl")
def test_openssl_accepts_it_for_a_tls_client_and_for_nothing_else(
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
