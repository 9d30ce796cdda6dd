"""Enrollment over Secure Transport, as its messages are; the TLS is in `test_tls_site`."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from rest_framework.test import APIClient

from certificates.models import DeviceCertificate
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.tests.issued import issue_certificate
from certificates.tests.keys import DeviceKey, ec_key, request_for
from certificates.tests.peers import needs, run_tool
from devices.registry.models import Device
from devices.registry.services.credentials import renew_device_token
from devices.registry.tests.factories import DeviceFactory
from tenants.context import tenant_scope

pytestmark = pytest.mark.django_db
AsDevice = Callable[[Device], APIClient]
EST = "/.well-known/est"


def der_of(csr: str) -> bytes:
    return x509.load_pem_x509_csr(csr.encode()).public_bytes(Encoding.DER)


def sent(client: Any, operation: str, body: bytes) -> Any:
    return client.generic("POST", f"{EST}/{operation}", body, "application/pkcs10")


def enrolled(client: Any, csr: str, operation: str = "simpleenroll") -> Any:
    return sent(client, operation, base64.encodebytes(der_of(csr)))


def certificates_in(answer: Any) -> list[x509.Certificate]:
    assert answer.status_code == 200, answer.content
    return pkcs7.load_der_pkcs7_certificates(base64.b64decode(answer.content))


def request_again(key: DeviceKey, row: DeviceCertificate, **names: Any) -> str:
    """A request with the names of a certificate, or with others."""
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


def basic(name: str, password: str) -> APIClient:
    client = APIClient()
    word = base64.b64encode(f"{name}:{password}".encode()).decode()
    client.credentials(HTTP_AUTHORIZATION=f"Basic {word}")
    return client


def test_anybody_gets_the_authoritys_certificates(client: Any, device: Device) -> None:
    issue_certificate(device, datetime.now(UTC))

    answer = client.get(f"{EST}/cacerts")

    assert answer["Content-Type"] == "application/pkcs7-mime"
    ca = DeviceCertificatesService().issuer().certificate
    assert certificates_in(answer) == [ca]


@needs("openssl")
def test_anybody_learns_what_a_request_should_have(client: Any, tmp_path: Any) -> None:
    answer = client.get(f"{EST}/csrattrs")

    assert answer["Content-Type"] == "application/csrattrs"
    path = tmp_path / "attributes.der"
    path.write_bytes(base64.b64decode(answer.content))
    output = run_tool("openssl", "asn1parse", "-inform", "DER", "-in", str(path))
    for word in ("id-ecPublicKey", "prime256v1", "secp384r1", "ecdsa-with-SHA256"):
        assert word in output


def test_a_device_enrolls_by_basic_and_by_bearer(
    device: Device, token: str, as_device: AsDevice
) -> None:
    key = ec_key()

    by_basic = enrolled(basic(str(device.pk), token), request_for(key))
    by_bearer = enrolled(as_device(device), request_for(ec_key()))

    (certificate,) = certificates_in(by_basic)
    assert certificate.public_key() == key.public_key()
    assert by_basic["Content-Type"].startswith("application/pkcs7-mime")
    assert len(certificates_in(by_bearer)) == 1


def test_the_subject_is_ours_and_not_the_requests(
    device: Device, as_device: AsDevice
) -> None:
    csr = request_for(ec_key(), common_name="root", ca=True)

    (certificate,) = certificates_in(enrolled(as_device(device), csr))

    assert f"CN=Device-{device.pk}" in certificate.subject.rfc4514_string()
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert not constraints.value.ca


def test_nobody_enrolls_without_a_credential_of_a_device(
    device: Device, token: str, member: Callable[..., APIClient]
) -> None:
    other = DeviceFactory.create(tenant=device.tenant)
    csr = request_for(ec_key())

    for client, status in (
        (APIClient(), 401),
        (basic(str(other.pk), token), 401),  # another device's name
        (basic(device.name, token), 401),
        (basic(str(device.pk), "dev_" + "x" * 43), 401),
        (basic(str(device.pk), "secret"), 401),
        (member(), 403),
    ):
        answer = enrolled(client, csr)
        assert answer.status_code in (status, 401), answer.content
        assert not DeviceCertificate.objects.exists()


def test_a_stranger_is_asked_for_a_name_and_a_password(device: Device) -> None:
    answer = enrolled(APIClient(), request_for(ec_key()))

    assert answer["WWW-Authenticate"].startswith("Basic ")


@pytest.mark.parametrize(
    "body",
    [b"", b"%%%", b"aGVsbG8=", b"\x00" * 99, b"A" * 20_000, b"-----BEGIN nothing"],
)
def test_what_is_no_request_is_refused(
    body: bytes, device: Device, as_device: AsDevice
) -> None:
    answer = sent(as_device(device), "simpleenroll", body)

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["code"] == "csr_invalid"


def test_a_weak_key_is_refused_with_the_reason(
    device: Device, as_device: AsDevice
) -> None:
    csr = request_for(rsa.generate_private_key(65537, 1024))

    answer = enrolled(as_device(device), csr)

    assert answer.status_code == 400
    assert "2048" in answer.json()["errors"][0]["detail"]


def test_a_request_in_pem_is_taken_as_well(device: Device, as_device: AsDevice) -> None:
    body = request_for(ec_key()).encode()

    assert len(certificates_in(sent(as_device(device), "simpleenroll", body))) == 1


def test_a_device_re_enrolls_with_the_same_key_and_with_another(
    device: Device, as_device: AsDevice
) -> None:
    key, other = ec_key(), ec_key()
    row, client = issue_certificate(device, datetime.now(UTC), key), as_device(device)

    for next_key in (key, other):
        csr = request_again(next_key, row, uri=device.pk.urn)
        (renewed,) = certificates_in(enrolled(client, csr, "simplereenroll"))
        assert renewed.subject == row.signed_certificate().subject
        assert renewed.public_key() == next_key.public_key()

    newest = DeviceCertificate.objects.active().get()
    assert newest.replaces is not None
    assert newest.replaces.replaces == row


def test_a_re_enrollment_keeps_the_names(device: Device, as_device: AsDevice) -> None:
    row, client = issue_certificate(device, datetime.now(UTC)), as_device(device)
    other = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "other")])

    for names in ({"subject": other}, {"uri": "urn:uuid:other"}):
        csr = request_again(ec_key(), row, **names)
        answer = enrolled(client, csr, "simplereenroll")
        assert answer.status_code == 400, answer.content
        assert "names" in answer.json()["errors"][0]["detail"]
    assert DeviceCertificate.objects.count() == 1


def test_there_is_nothing_to_re_enroll_before_an_enrollment(
    device: Device, as_device: AsDevice
) -> None:
    answer = enrolled(as_device(device), request_for(ec_key()), "simplereenroll")

    assert answer.status_code == 404


def test_a_device_in_quarantine_waits(device: Device, as_device: AsDevice) -> None:
    client = as_device(device)
    Device.every_tenant.filter(pk=device.pk).update(quarantined_at=datetime.now(UTC))

    answer = enrolled(client, request_for(ec_key()))

    assert (answer.status_code, answer["Retry-After"]) == (202, "600")
    assert not DeviceCertificate.objects.exists()


def test_while_an_issuance_is_under_way_a_device_waits_for_seconds(
    device: Device, as_device: AsDevice
) -> None:
    key, client = ec_key(), as_device(device)
    row = issue_certificate(device, datetime.now(UTC), key)
    DeviceCertificate.objects.filter(pk=row.pk).update(
        status="pending", reserved_at=datetime.now(UTC)
    )

    answer = enrolled(client, request_for(key))

    assert (answer.status_code, answer["Retry-After"]) == (202, "5")
