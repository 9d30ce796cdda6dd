"""Tests of the EST endpoints (RFC 7030). `test_tls_site` tests EST over TLS."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from django.conf import settings
from rest_framework.test import APIClient

from certificates.models import DeviceCertificate
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.tests.external_tools import requires_tools, run_tool
from certificates.tests.issuance import issue_certificate
from certificates.tests.keys import DeviceKey, ec_key, request_for
from devices.registry.models import Device
from devices.registry.services.credentials import renew_device_token
from devices.registry.tests.factories import DeviceFactory
from tenants.context import tenant_scope

pytestmark = pytest.mark.django_db
AsDevice = Callable[[Device], APIClient]
EST = "/.well-known/est"


def der_of(csr: str) -> bytes:
    return x509.load_pem_x509_csr(csr.encode()).public_bytes(Encoding.DER)


def post_est(client: Any, operation: str, body: bytes) -> Any:
    return client.generic("POST", f"{EST}/{operation}", body, "application/pkcs10")


def enroll(client: Any, csr: str, operation: str = "simpleenroll") -> Any:
    return post_est(client, operation, base64.encodebytes(der_of(csr)))


def parse_certificates(response: Any) -> list[x509.Certificate]:
    assert response.status_code == 200, response.content
    return pkcs7.load_der_pkcs7_certificates(base64.b64decode(response.content))


def csr_with_names(key: DeviceKey, row: DeviceCertificate, **names: Any) -> str:
    """Build a CSR with the names of a certificate, or with `subject` and `uri`."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        names.get("subject", row.signed_certificate().subject)
    )
    if "uri" in names:
        uri = x509.UniformResourceIdentifier(names["uri"])
        builder = builder.add_extension(x509.SubjectAlternativeName([uri]), False)
    signed = builder.sign(key, hashes.SHA256())
    return signed.public_bytes(Encoding.PEM).decode()


@pytest.fixture
def token(device: Device) -> str:
    with tenant_scope(device.tenant_id):
        return renew_device_token(device, now=datetime.now(UTC))


def basic_client(name: str, password: str) -> APIClient:
    client = APIClient()
    value = base64.b64encode(f"{name}:{password}".encode()).decode()
    client.credentials(HTTP_AUTHORIZATION=f"Basic {value}")
    return client


def test_cacerts_is_public(client: Any, device: Device) -> None:
    issue_certificate(device, datetime.now(UTC))

    response = client.get(f"{EST}/cacerts")

    assert response["Content-Type"] == "application/pkcs7-mime"
    ca = DeviceCertificatesService().issuer().certificate
    assert parse_certificates(response) == [ca]


@requires_tools("openssl")
def test_csrattrs_is_public(client: Any, tmp_path: Any) -> None:
    response = client.get(f"{EST}/csrattrs")

    assert response["Content-Type"] == "application/csrattrs"
    path = tmp_path / "attributes.der"
    path.write_bytes(base64.b64decode(response.content))
    output = run_tool("openssl", "asn1parse", "-inform", "DER", "-in", str(path))
    for name in ("id-ecPublicKey", "prime256v1", "secp384r1", "ecdsa-with-SHA256"):
        assert name in output


def test_a_device_enrolls_with_basic_or_bearer_authentication(
    device: Device, token: str, as_device: AsDevice
) -> None:
    key = ec_key()

    by_basic = enroll(basic_client(str(device.pk), token), request_for(key))
    by_bearer = enroll(as_device(device), request_for(ec_key()))

    (certificate,) = parse_certificates(by_basic)
    assert certificate.public_key() == key.public_key()
    assert by_basic["Content-Type"].startswith("application/pkcs7-mime")
    assert len(parse_certificates(by_bearer)) == 1


def test_the_server_sets_the_subject_and_ignores_the_csrs(
    device: Device, as_device: AsDevice
) -> None:
    csr = request_for(ec_key(), common_name="root", ca=True)

    (certificate,) = parse_certificates(enroll(as_device(device), csr))

    assert f"CN=Device-{device.pk}" in certificate.subject.rfc4514_string()
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert not constraints.value.ca


def test_enrollment_requires_the_credential_of_the_device(
    device: Device, token: str, member: Callable[..., APIClient]
) -> None:
    other = DeviceFactory.create(tenant=device.tenant)
    csr = request_for(ec_key())

    for client, status in (
        (APIClient(), 401),
        (basic_client(str(other.pk), token), 401),  # another device's id
        (basic_client(device.name, token), 401),
        (basic_client(str(device.pk), "dev_" + "x" * 43), 401),
        (basic_client(str(device.pk), "secret"), 401),
        (member(), 403),
    ):
        response = enroll(client, csr)
        assert response.status_code in (status, 401), response.content
        assert not DeviceCertificate.objects.exists()


def test_an_unauthenticated_client_is_challenged_for_basic_authentication(device: Device) -> None:
    response = enroll(APIClient(), request_for(ec_key()))

    assert response["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    "body", [b"", b"%%%", b"aGVsbG8=", b"\x00" * 99, b"A" * 20_000, b"-----BEGIN nothing"]
)
def test_an_unreadable_csr_is_rejected(body: bytes, device: Device, as_device: AsDevice) -> None:
    response = post_est(as_device(device), "simpleenroll", body)

    assert response.status_code == 400
    assert response.json()["errors"][0]["code"] == "csr_invalid"


def test_a_weak_key_is_rejected_with_the_required_size(device: Device, as_device: AsDevice) -> None:
    csr = request_for(rsa.generate_private_key(65537, 1024))

    response = enroll(as_device(device), csr)

    assert response.status_code == 400
    assert "2048" in response.json()["errors"][0]["detail"]


def test_a_csr_in_pem_is_accepted(device: Device, as_device: AsDevice) -> None:
    body = request_for(ec_key()).encode()

    assert len(parse_certificates(post_est(as_device(device), "simpleenroll", body))) == 1


def test_a_device_re_enrolls_with_the_same_or_a_new_key(
    device: Device, as_device: AsDevice
) -> None:
    key, other = ec_key(), ec_key()
    due = datetime.now(UTC) - timedelta(days=settings.DEFAULT_CERT_VALIDITY_DAYS - 1)
    row, client = issue_certificate(device, due, key), as_device(device)

    for next_key in (key, other):
        csr = csr_with_names(next_key, row, uri=device.pk.urn)
        (renewed,) = parse_certificates(enroll(client, csr, "simplereenroll"))
        assert renewed.subject == row.signed_certificate().subject
        assert renewed.public_key() == next_key.public_key()

    newest = DeviceCertificate.objects.active().get()
    assert newest.replaces is not None
    assert newest.replaces.replaces == row


@pytest.mark.parametrize("operation", ["simpleenroll", "simplereenroll"])
def test_the_same_key_outside_the_renewal_window_gets_the_certificate_in_use(
    device: Device, as_device: AsDevice, operation: str
) -> None:
    key = ec_key()
    row, client = issue_certificate(device, datetime.now(UTC), key), as_device(device)
    csr = csr_with_names(key, row, uri=device.pk.urn)

    for _ in range(3):
        (certificate,) = parse_certificates(enroll(client, csr, operation))
        assert certificate == row.signed_certificate()

    assert DeviceCertificate.objects.count() == 1


def test_a_re_enrollment_with_other_names_is_rejected(device: Device, as_device: AsDevice) -> None:
    row, client = issue_certificate(device, datetime.now(UTC)), as_device(device)
    other = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "other")])

    for names in ({"subject": other}, {"uri": "urn:uuid:other"}):
        csr = csr_with_names(ec_key(), row, **names)
        response = enroll(client, csr, "simplereenroll")
        assert response.status_code == 400, response.content
        assert "names" in response.json()["errors"][0]["detail"]
    assert DeviceCertificate.objects.count() == 1


def test_a_re_enrollment_without_a_certificate_is_rejected(
    device: Device, as_device: AsDevice
) -> None:
    response = enroll(as_device(device), request_for(ec_key()), "simplereenroll")

    assert response.status_code == 404


def test_a_quarantined_device_is_told_to_retry_later(device: Device, as_device: AsDevice) -> None:
    client = as_device(device)
    Device.every_tenant.filter(pk=device.pk).update(quarantined_at=datetime.now(UTC))

    response = enroll(client, request_for(ec_key()))

    assert (response.status_code, response["Retry-After"]) == (202, "600")
    assert not DeviceCertificate.objects.exists()


def test_a_device_retries_in_seconds_while_an_issuance_is_pending(
    device: Device, as_device: AsDevice
) -> None:
    key, client = ec_key(), as_device(device)
    row = issue_certificate(device, datetime.now(UTC), key)
    DeviceCertificate.objects.filter(pk=row.pk).update(
        status="pending", reserved_at=datetime.now(UTC)
    )

    response = enroll(client, request_for(key))

    assert (response.status_code, response["Retry-After"]) == (202, "5")
