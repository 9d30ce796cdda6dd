"""Tests that every parser of untrusted bytes rejects invalid input with a proper error."""

import base64
import string
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from certificates.models import DeviceCertificate
from certificates.pki import weak_keys
from certificates.tests.issuance import issue_certificate
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from devices.registry.services.credentials import renew_device_token
from tenants.context import tenant_scope

pytestmark = pytest.mark.django_db
PROXY = "192.0.2.7"
EXAMPLES = hypothesis_settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


def tlv(tag: int, body: bytes) -> bytes:
    """Encode one DER element with a length of any size."""
    size = len(body)
    if size < 128:
        return bytes([tag, size]) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + body


def nested(depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = tlv(0x30, inner)
    return inner


def certificate_with(**fields: Any) -> bytes:
    """Build a well-formed self-signed certificate with unusual contents."""
    key = ec_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(fields.get("subject", name))
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(fields.get("serial_number", 2**70))
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
    for extension in fields.get("extensions", ()):
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def negative_serial(der: bytes) -> bytes:
    """Set the sign bit of the serial number in a DER certificate."""
    index = der.index((2**70).to_bytes(9, "big"))
    return der[:index] + b"\xc0" + der[index + 1 :]


def request_with(key: Any, **fields: Any) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(fields.get("subject", name))
    for extension in fields.get("extensions", ()):
        builder = builder.add_extension(extension, critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


WILDCARD = x509.SubjectAlternativeName([x509.DNSName("*.example.com")])
GOOD_REQUEST = x509.load_pem_x509_csr(request_for(ec_key()).encode()).public_bytes(Encoding.DER)
GOOD_CERTIFICATE = certificate_with()
GOOD_OCSP_REQUEST = (
    ocsp.OCSPRequestBuilder()
    .add_certificate_by_hash(b"n" * 32, b"k" * 32, 5, hashes.SHA256())
    .build()
    .public_bytes(Encoding.DER)
)
CORPUS: dict[str, bytes] = {
    "empty": b"",
    "text": b"hello",
    "zeros": b"\x00" * 300,
    "truncated CSR": GOOD_REQUEST[: len(GOOD_REQUEST) // 2],
    "truncated certificate": GOOD_CERTIFICATE[:-1],
    "truncated OCSP request": GOOD_OCSP_REQUEST[:-1],
    "trailing bytes": GOOD_REQUEST + b"\x05\x00",
    "length beyond the input": b"\x30\x84\xff\xff\xff\xff",
    "indefinite length": b"\x30\x80\x00\x00",
    "deeply nested": nested(3000),
    "huge": tlv(0x30, tlv(0x04, b"x" * 200_000)),
    "wrong outer tag": tlv(0x31, GOOD_REQUEST[4:]),
    "integers instead of names": tlv(0x30, tlv(0x02, b"\x01") * 5),
    "certificate": GOOD_CERTIFICATE,
    "OCSP request": GOOD_OCSP_REQUEST,
    "negative serial number": negative_serial(GOOD_CERTIFICATE),
    "empty subject": certificate_with(subject=x509.Name([])),
    "wildcard name": certificate_with(extensions=[WILDCARD]),
}


@pytest.fixture
def device_client(device: Device, settings: Any) -> APIClient:
    settings.RATES = dict.fromkeys(settings.RATES)
    settings.CLIENT_CERTIFICATE_PROXIES = [ip_network(PROXY)]
    issue_certificate(device, datetime.now(UTC))
    with tenant_scope(device.tenant_id):
        token = renew_device_token(device, now=datetime.now(UTC))
    client = APIClient(raise_request_exception=True)
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def pem(kind: str, der: bytes) -> str:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN {kind}-----\n{body}-----END {kind}-----\n"


def send_to_every_parser(device_client: APIClient, member: Any, der: bytes) -> dict[str, Any]:
    """Send the same bytes to every parser. Return the responses by parser name."""
    csr, certificate = pem("CERTIFICATE REQUEST", der), pem("CERTIFICATE", der)
    anonymous: Any = APIClient()
    raw: Any = der
    proxy_headers = {"HTTP_X_SSL_CLIENT_CERT": quote(certificate), "REMOTE_ADDR": PROXY}
    encoded: Any = base64.b64encode(der)
    responses = {
        "csr": device_client.post("/devices/me/certificate", {"csr": csr}),
        "registration": member.post(
            "/devices/auto-register", {"serial_number": "HOSTILE", "csr": csr}
        ),
        "validate": member.post("/certificates/validate", {"certificate": certificate}),
        "ocsp": anonymous.generic("POST", "/certificates/ocsp", raw, "application/ocsp-request"),
        "connection": anonymous.get("/devices/me", **proxy_headers),
        **{
            operation: device_client.generic(
                "POST", f"/.well-known/est/{operation}", encoded, "application/pkcs10"
            )
            for operation in ("simpleenroll", "simplereenroll")
        },
    }
    if len(der) < 1_000:
        text = quote(base64.b64encode(der).decode(), safe="")
        responses["ocsp by GET"] = anonymous.get(f"/certificates/ocsp/{text or '-'}")
    return responses


def assert_rejected(responses: dict[str, Any]) -> None:
    for parser, response in responses.items():
        if parser.startswith("ocsp"):
            assert response.status_code == 200, (parser, response.content)
            assert ocsp.load_der_ocsp_response(response.content).response_status in (
                ocsp.OCSPResponseStatus.MALFORMED_REQUEST,
                ocsp.OCSPResponseStatus.UNAUTHORIZED,
            )
        elif parser == "validate" and response.status_code == 200:
            assert response.json()["valid"] is False
        else:
            assert 400 <= response.status_code < 500, (parser, response.content)
            assert response.json()["errors"][0]["code"]


@pytest.mark.parametrize("name", CORPUS)
def test_hostile_bytes_are_rejected_by_every_parser(
    device_client: APIClient, member: Callable[..., APIClient], name: str
) -> None:
    assert_rejected(send_to_every_parser(device_client, member(), CORPUS[name]))

    assert DeviceCertificate.objects.count() == 1
    assert not Device.every_tenant.filter(identifiers__value="HOSTILE").exists()


@EXAMPLES
@given(data=st.data())
def test_mutated_valid_input_never_causes_a_server_error(
    device_client: APIClient, member: Callable[..., APIClient], data: st.DataObject
) -> None:
    valid = data.draw(st.sampled_from([GOOD_REQUEST, GOOD_CERTIFICATE, GOOD_OCSP_REQUEST]))
    mutated = bytearray(valid)
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(mutated) - 1))
        match data.draw(st.sampled_from(["change", "insert", "cut", "double"])):
            case "change":
                mutated[index] = data.draw(st.integers(0, 255))
            case "insert":
                mutated[index:index] = data.draw(st.binary(max_size=8))
            case "cut":
                del mutated[index : index + data.draw(st.integers(1, 20))]
            case "double":
                mutated += mutated[index:]
        if not mutated:
            break
    responses = send_to_every_parser(device_client, member(), bytes(mutated[:60_000]))

    for parser, response in responses.items():
        assert response.status_code < 500, (parser, bytes(mutated).hex(), response.content)


@EXAMPLES
@given(noise=st.binary(max_size=400))
def test_random_bytes_are_rejected_by_every_parser(
    device_client: APIClient, member: Callable[..., APIClient], noise: bytes
) -> None:
    assert_rejected(send_to_every_parser(device_client, member(), noise))


@EXAMPLES
@given(text=st.text(string.printable, min_size=1, max_size=300))
def test_random_text_in_an_ocsp_url_never_causes_a_server_error(
    device_client: APIClient, text: str
) -> None:
    path = quote(text, safe="")
    if path in (".", ".."):
        return
    response = APIClient().get(f"/certificates/ocsp/{path}")

    assert response.status_code in (200, 400, 404), response.content


# --- Well-formed requests for what a device must not get -------------------------------


@pytest.mark.parametrize(
    "extension",
    [
        WILDCARD,
        x509.BasicConstraints(ca=True, path_length=None),
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
        x509.SubjectAlternativeName([x509.DNSName("admin.example.com")]),
    ],
    ids=["wildcard", "CA", "server", "another name"],
)
def test_extensions_requested_in_a_csr_are_ignored(
    device_client: APIClient, extension: x509.ExtensionType, device: Device
) -> None:
    csr = pem("CERTIFICATE REQUEST", request_with(ec_key(), extensions=[extension]))

    response = device_client.post("/devices/me/certificate", {"csr": csr})

    assert response.status_code == 201, response.content
    certificate = x509.load_pem_x509_certificate(response.json()["certificate"].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(device.pk.urn)]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def weak_key(kind: str) -> Any:
    match kind:
        case "too short":
            return rsa.generate_private_key(65537, 1024)
        case "another curve":
            return ec.generate_private_key(ec.SECP256K1())
        case "a longer curve":
            return ec.generate_private_key(ec.SECP521R1())
    return ed25519.Ed25519PrivateKey.generate()


@pytest.mark.parametrize(
    "kind", ["too short", "another curve", "a longer curve", "another algorithm"]
)
def test_an_unsuitable_key_is_rejected_with_the_reason(device_client: APIClient, kind: str) -> None:
    csr = pem("CERTIFICATE REQUEST", request_with(weak_key(kind)))

    response = device_client.post("/devices/me/certificate", {"csr": csr})

    assert response.status_code == 400
    assert "key" in response.json()["errors"][0]["detail"]


def test_a_csr_with_an_invalid_signature_is_rejected(device_client: APIClient) -> None:
    der = bytearray(request_with(ec_key()))
    der[-1] ^= 1

    response = device_client.post(
        "/devices/me/certificate", {"csr": pem("CERTIFICATE REQUEST", bytes(der))}
    )

    assert response.status_code == 400


def test_known_flaws_of_rsa_keys_are_detected() -> None:
    small = weak_keys._small_primes(168)
    product = 1
    for prime in small:
        product *= prime
    p = product // 2 * 2 + 1
    near = (1 << 1024) + 643  # odd; primality does not matter to the search
    valid = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n

    assert weak_keys.flaw(valid) is None
    assert "small factor" in str(weak_keys.flaw(751 * p * 4 + 751))
    assert "ROCA" in str(weak_keys.flaw(_like_roca(product)))
    assert "too close" in str(weak_keys.flaw(_product_of_close_primes(near)))


def _like_roca(product: int) -> int:
    """Return a number without a small factor that is a power of 65537 modulo small primes."""
    for power in range(10_000, 20_000):
        number = pow(65537, power, product) + product * (1 << 1800)
        if all(number % prime for prime in weak_keys._small_primes(752)):
            return number
    raise AssertionError("No such number in the searched range.")


def _product_of_close_primes(start: int) -> int:
    primes: list[int] = []
    number = start
    while len(primes) < 2:
        number += 2
        if all(number % prime for prime in weak_keys._small_primes(752)) and (
            pow(2, number - 1, number) == 1
        ):
            primes.append(number)
    return primes[0] * primes[1]
