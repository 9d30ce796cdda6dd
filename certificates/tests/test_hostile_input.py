"""Bytes of strangers at every parser: always a refusal in order, and the worker lives."""

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
from hypothesis import settings as examples
from hypothesis import strategies as st
from rest_framework.test import APIClient

from certificates.models import DeviceCertificate
from certificates.pki import weak_keys
from certificates.tests.issued import issue_certificate
from certificates.tests.keys import ec_key, request_for
from devices.registry.models import Device
from devices.registry.services.credentials import renew_device_token
from tenants.context import tenant_scope

pytestmark = pytest.mark.django_db
PROXY = "192.0.2.7"
ONCE = examples(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


def tlv(tag: int, body: bytes) -> bytes:
    """One element in DER, with its length whatever that is."""
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


def certificate_with(**about: Any) -> bytes:
    """A well-formed certificate of nobody's, with something odd in it."""
    key = ec_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(about.get("subject", name))
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(about.get("serial_number", 2**70))
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
    for extension in about.get("extensions", ()):
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def negative_serial(der: bytes) -> bytes:
    """The serial number's first byte gets a sign."""
    at = der.index((2**70).to_bytes(9, "big"))
    return der[:at] + b"\xc0" + der[at + 1 :]


def request_with(key: Any, **about: Any) -> bytes:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        about.get("subject", name)
    )
    for extension in about.get("extensions", ()):
        builder = builder.add_extension(extension, critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


WILDCARD = x509.SubjectAlternativeName([x509.DNSName("*.example.com")])
GOOD_REQUEST = x509.load_pem_x509_csr(request_for(ec_key()).encode()).public_bytes(
    Encoding.DER
)
GOOD_CERTIFICATE = certificate_with()
GOOD_QUESTION = (
    ocsp.OCSPRequestBuilder()
    .add_certificate_by_hash(b"n" * 32, b"k" * 32, 5, hashes.SHA256())
    .build()
    .public_bytes(Encoding.DER)
)
CORPUS: dict[str, bytes] = {
    "nothing": b"",
    "text": b"hello",
    "zeros": b"\x00" * 300,
    "cut off in the middle": GOOD_REQUEST[: len(GOOD_REQUEST) // 2],
    "a certificate cut off": GOOD_CERTIFICATE[:-1],
    "a question cut off": GOOD_QUESTION[:-1],
    "something behind": GOOD_REQUEST + b"\x05\x00",
    "a length that is too long": b"\x30\x84\xff\xff\xff\xff",
    "a length without end": b"\x30\x80\x00\x00",
    "nested deep": nested(3000),
    "huge": tlv(0x30, tlv(0x04, b"x" * 200_000)),
    "of the wrong type": tlv(0x31, GOOD_REQUEST[4:]),
    "numbers where names are": tlv(0x30, tlv(0x02, b"\x01") * 5),
    "a certificate": GOOD_CERTIFICATE,
    "a question": GOOD_QUESTION,
    "a negative serial number": negative_serial(GOOD_CERTIFICATE),
    "an empty subject": certificate_with(subject=x509.Name([])),
    "a wildcard name": certificate_with(extensions=[WILDCARD]),
}


@pytest.fixture
def box(device: Device, settings: Any) -> APIClient:
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


def everywhere(box: APIClient, member: Any, der: bytes) -> dict[str, Any]:
    """The same bytes at every parser; the status of each answer."""
    csr, certificate = pem("CERTIFICATE REQUEST", der), pem("CERTIFICATE", der)
    anybody: Any = APIClient()
    raw: Any = der
    shown = {"HTTP_X_SSL_CLIENT_CERT": quote(certificate), "REMOTE_ADDR": PROXY}
    encoded: Any = base64.b64encode(der)
    answers = {
        "csr": box.post("/devices/me/certificate", {"csr": csr}),
        "registration": member.post(
            "/devices/auto-register", {"serial_number": "HOSTILE", "csr": csr}
        ),
        "validate": member.post("/certificates/validate", {"certificate": certificate}),
        "ocsp": anybody.generic(
            "POST", "/certificates/ocsp", raw, "application/ocsp-request"
        ),
        "connection": anybody.get("/devices/me", **shown),
        **{
            operation: box.generic(
                "POST", f"/.well-known/est/{operation}", encoded, "application/pkcs10"
            )
            for operation in ("simpleenroll", "simplereenroll")
        },
    }
    if len(der) < 1_000:
        address = quote(base64.b64encode(der).decode(), safe="")
        answers["ocsp by GET"] = anybody.get(f"/certificates/ocsp/{address or '-'}")
    return answers


def assert_refused_in_order(answers: dict[str, Any]) -> None:
    for door, answer in answers.items():
        if door.startswith("ocsp"):
            assert answer.status_code == 200, (door, answer.content)
            assert ocsp.load_der_ocsp_response(answer.content).response_status in (
                ocsp.OCSPResponseStatus.MALFORMED_REQUEST,
                ocsp.OCSPResponseStatus.UNAUTHORIZED,
            )
        elif door == "validate" and answer.status_code == 200:
            assert answer.json()["valid"] is False
        else:
            assert 400 <= answer.status_code < 500, (door, answer.content)
            assert answer.json()["errors"][0]["code"]


@pytest.mark.parametrize("name", CORPUS)
def test_hostile_bytes_are_refused_in_order_at_every_door(
    box: APIClient, member: Callable[..., APIClient], name: str
) -> None:
    assert_refused_in_order(everywhere(box, member(), CORPUS[name]))

    assert DeviceCertificate.objects.count() == 1
    assert not Device.every_tenant.filter(identifiers__value="HOSTILE").exists()


@ONCE
@given(data=st.data())
def test_variants_of_good_ones_are_too(
    box: APIClient, member: Callable[..., APIClient], data: st.DataObject
) -> None:
    good = data.draw(st.sampled_from([GOOD_REQUEST, GOOD_CERTIFICATE, GOOD_QUESTION]))
    mutated = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(mutated) - 1))
        match data.draw(st.sampled_from(["change", "insert", "cut", "double"])):
            case "change":
                mutated[at] = data.draw(st.integers(0, 255))
            case "insert":
                mutated[at:at] = data.draw(st.binary(max_size=8))
            case "cut":
                del mutated[at : at + data.draw(st.integers(1, 20))]
            case "double":
                mutated += mutated[at:]
        if not mutated:
            break
    answers = everywhere(box, member(), bytes(mutated[:60_000]))

    for door, answer in answers.items():
        assert answer.status_code < 500, (door, bytes(mutated).hex(), answer.content)


@ONCE
@given(noise=st.binary(max_size=400))
def test_noise_is_too(
    box: APIClient, member: Callable[..., APIClient], noise: bytes
) -> None:
    assert_refused_in_order(everywhere(box, member(), noise))


@ONCE
@given(text=st.text(string.printable, min_size=1, max_size=300))
def test_noise_in_an_ocsp_requests_address_is_too(box: APIClient, text: str) -> None:
    path = quote(text, safe="")
    if path in (".", ".."):
        return
    answer = APIClient().get(f"/certificates/ocsp/{path}")

    assert answer.status_code in (200, 400, 404), answer.content


# --- Requests that are well made, and want what they must not have ------------------------


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
def test_what_a_request_asks_for_beyond_its_key_is_not_given(
    box: APIClient, extension: x509.ExtensionType, device: Device
) -> None:
    csr = pem("CERTIFICATE REQUEST", request_with(ec_key(), extensions=[extension]))

    answer = box.post("/devices/me/certificate", {"csr": csr})

    assert answer.status_code == 201, answer.content
    made = x509.load_pem_x509_certificate(answer.json()["certificate"].encode())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(device.pk.urn)]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    purposes = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def weak(kind: str) -> Any:
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
def test_a_key_that_no_certificate_should_carry_is_refused_with_the_reason(
    box: APIClient, kind: str
) -> None:
    csr = pem("CERTIFICATE REQUEST", request_with(weak(kind)))

    answer = box.post("/devices/me/certificate", {"csr": csr})

    assert answer.status_code == 400
    assert "key" in answer.json()["errors"][0]["detail"]


def test_a_request_that_another_key_signed_proves_nothing(box: APIClient) -> None:
    der = bytearray(request_with(ec_key()))
    der[-1] ^= 1

    answer = box.post(
        "/devices/me/certificate", {"csr": pem("CERTIFICATE REQUEST", bytes(der))}
    )

    assert answer.status_code == 400


def test_known_flaws_of_rsa_keys_are_seen() -> None:
    small = weak_keys._small_primes(168)
    product = 1
    for prime in small:
        product *= prime
    p = product // 2 * 2 + 1
    near = (1 << 1024) + 643  # odd; primality does not matter to the search
    good = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n

    assert weak_keys.flaw(good) is None
    assert "small factor" in str(weak_keys.flaw(751 * p * 4 + 751))
    assert "ROCA" in str(weak_keys.flaw(_like_roca(product)))
    assert "too close" in str(weak_keys.flaw(_product_of_close_primes(near)))


def _like_roca(product: int) -> int:
    """A number that is a power of 65537 modulo every small prime, and has no small factor."""
    for power in range(10_000, 20_000):
        number = pow(65537, power, product) + product * (1 << 1800)
        if all(number % prime for prime in weak_keys._small_primes(752)):
            return number
    raise AssertionError("there is one")


def _product_of_close_primes(start: int) -> int:
    found: list[int] = []
    number = start
    while len(found) < 2:
        number += 2
        if all(number % prime for prime in weak_keys._small_primes(752)) and (
            pow(2, number - 1, number) == 1
        ):
            found.append(number)
    return found[0] * found[1]
