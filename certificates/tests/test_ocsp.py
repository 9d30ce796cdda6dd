"""Tests of the OCSP responder (RFC 6960) and its delegated certificate."""

import base64
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from rest_framework.test import APIClient

from certificates import queries
from certificates.models import CertificateAuthority, Responder
from certificates.services import authorities, ocsp_responses
from certificates.services.device_certificates import DeviceCertificatesService
from certificates.tasks import renew_responders
from certificates.tests.external_tools import requires_tools, run_tool
from certificates.tests.issuance import issue_certificate, revoke_certificate
from core.limits import Rate
from devices.registry.models import Device
from devices.registry.tests.waiting import wait_until
from tenants.models import Tenant

pytestmark = pytest.mark.django_db
Status, Answered = ocsp.OCSPCertStatus, ocsp.OCSPResponseStatus
SHA1, SHA256 = hashes.SHA1(), hashes.SHA256()


def ca_certificate() -> x509.Certificate:
    return DeviceCertificatesService().issuer().certificate


def ocsp_request(
    serial_number: int,
    *,
    algorithm: Any = SHA256,
    issuer: x509.Certificate | None = None,
    nonce: bytes | None = None,
) -> bytes:
    issuer_certificate = issuer or ca_certificate()
    key_hash, name_hash = hashes.Hash(algorithm), hashes.Hash(algorithm)
    key_hash.update(
        issuer_certificate.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    )
    name_hash.update(issuer_certificate.subject.public_bytes())
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        name_hash.finalize(), key_hash.finalize(), serial_number, algorithm
    )
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def fetch_response(request_der: bytes, now: datetime) -> ocsp.OCSPResponse:
    response = ocsp_responses.respond(
        request_der, ca=DeviceCertificatesService(), now=now, spend=lambda _: None
    )
    return ocsp.load_der_ocsp_response(response.der)


def post(client: Any, request_der: bytes) -> Any:
    return client.post("/certificates/ocsp", request_der, "application/ocsp-request")


@pytest.mark.parametrize("algorithm", [SHA1, SHA256], ids=["SHA-1", "SHA-256"])
def test_an_active_certificate_is_good_with_either_hash(
    device: Device, now: datetime, algorithm: Any
) -> None:
    row = issue_certificate(device, now)

    response = fetch_response(ocsp_request(int(row.serial_number, 16), algorithm=algorithm), now)

    assert response.response_status == Answered.SUCCESSFUL
    assert response.certificate_status == Status.GOOD
    assert response.serial_number == int(row.serial_number, 16)
    assert response.hash_algorithm.name == algorithm.name


def test_a_revoked_certificate_is_reported_at_once_with_time_and_reason(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    revoke_certificate(row, now + timedelta(hours=1), reason="keyCompromise")

    response = fetch_response(ocsp_request(int(row.serial_number, 16)), now + timedelta(hours=2))

    assert response.certificate_status == Status.REVOKED
    assert response.revocation_time_utc == now + timedelta(hours=1)
    assert response.revocation_reason == x509.ReasonFlags.key_compromise


def test_a_response_is_signed_again_only_after_a_change_or_with_a_nonce(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    signatures: list[int] = []

    def respond(at: datetime, nonce: bytes | None = None) -> bytes:
        return ocsp_responses.respond(
            ocsp_request(int(row.serial_number, 16), nonce=nonce),
            ca=DeviceCertificatesService(),
            now=at,
            spend=lambda _: signatures.append(1),
        ).der

    first = respond(now)
    assert respond(now + timedelta(minutes=30)) == first
    assert len(signatures) == 1
    respond(now + timedelta(hours=2))
    assert len(signatures) == 2
    respond(now, nonce=b"12345678")
    respond(now, nonce=b"12345678")
    assert len(signatures) == 4
    revoke_certificate(row, now + timedelta(hours=2, minutes=1), reason="keyCompromise")
    respond(now + timedelta(hours=2, minutes=2))
    assert len(signatures) == 5


def test_a_serial_number_that_was_never_issued_is_unknown(device: Device, now: datetime) -> None:
    issue_certificate(device, now)

    assert fetch_response(ocsp_request(12345), now).certificate_status == Status.UNKNOWN


def test_the_serial_number_of_a_failed_issuance_is_unknown(device: Device, now: datetime) -> None:
    row = issue_certificate(device, now)
    type(row).objects.filter(pk=row.pk).update(status="failed")

    response = fetch_response(ocsp_request(int(row.serial_number, 16)), now)

    assert response.certificate_status == Status.UNKNOWN


def test_a_request_for_another_issuer_is_unauthorized(
    device: Device, now: datetime, tmp_path: Any
) -> None:
    issue_certificate(device, now)
    other = DeviceCertificatesService(tmp_path / "other").initialize_ca(now=now, key_type="ec")

    response = fetch_response(ocsp_request(7, issuer=other.certificate), now)

    assert response.response_status == Answered.UNAUTHORIZED


def test_a_request_for_an_issuer_of_the_same_name_is_unauthorized(
    device: Device, now: datetime, tmp_path: Any
) -> None:
    """The issuer is matched by name and key, because two CAs can have the same name."""
    row = issue_certificate(device, now)
    twin = DeviceCertificatesService(tmp_path / "twin").initialize_ca(now=now, key_type="ec")
    assert twin.certificate.subject == ca_certificate().subject

    response = fetch_response(
        ocsp_request(int(row.serial_number, 16), issuer=twin.certificate), now
    )

    assert response.response_status == Answered.UNAUTHORIZED


def test_a_response_is_signed_by_a_delegated_responder(device: Device, now: datetime) -> None:
    row = issue_certificate(device, now)

    response = fetch_response(ocsp_request(int(row.serial_number, 16)), now)

    (responder,) = response.certificates
    responder.verify_directly_issued_by(ca_certificate())
    key = responder.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(response.signature, response.tbs_response_bytes, ec.ECDSA(SHA256))
    identifier = x509.SubjectKeyIdentifier.from_public_key(key).digest
    assert (response.responder_key_hash, response.responder_name) == (identifier, None)


def test_a_response_has_a_validity_period(device: Device, now: datetime) -> None:
    row = issue_certificate(device, now)

    response = fetch_response(ocsp_request(int(row.serial_number, 16)), now)

    assert response.this_update_utc == now
    assert response.next_update_utc == now + timedelta(hours=12)


@pytest.mark.parametrize("size", [1, 16, 32, 128])
def test_a_nonce_is_returned(device: Device, now: datetime, size: int) -> None:
    row = issue_certificate(device, now)

    response = fetch_response(ocsp_request(int(row.serial_number, 16), nonce=b"n" * size), now)

    nonce = response.extensions.get_extension_for_class(x509.OCSPNonce).value
    assert nonce.nonce == b"n" * size


@pytest.mark.parametrize("size", [0, 129])
def test_a_nonce_of_invalid_length_is_ignored(device: Device, now: datetime, size: int) -> None:
    row = issue_certificate(device, now)

    response = fetch_response(ocsp_request(int(row.serial_number, 16), nonce=b"n" * size), now)

    assert response.certificate_status == Status.GOOD
    with pytest.raises(x509.ExtensionNotFound):
        response.extensions.get_extension_for_class(x509.OCSPNonce)


@pytest.mark.parametrize(
    "request_der",
    [b"", b"\x30", b"no request", b"\x30\x82\xff\xff" * 20, b"\x00" * 5000],
    ids=["empty", "cut off", "text", "lengths", "too long"],
)
def test_an_unreadable_request_is_reported_as_malformed(
    request_der: bytes, client: Any, device: Device
) -> None:
    issue_certificate(device, datetime.now(UTC))

    response = post(client, request_der)

    assert (response.status_code, response["Content-Type"]) == (200, "application/ocsp-response")
    parsed = ocsp.load_der_ocsp_response(response.content)
    assert parsed.response_status == Answered.MALFORMED_REQUEST


def test_a_client_is_told_to_try_later_while_the_ca_is_unavailable(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    request_der = ocsp_request(int(row.serial_number, 16))
    DeviceCertificatesService().store.ca_certificate.unlink()

    assert fetch_response(request_der, now).response_status == Answered.TRY_LATER


# --- The responder certificate ----------------------------------------------------------


@pytest.fixture
def responder(device: Device, now: datetime) -> x509.Certificate:
    row = issue_certificate(device, now)
    return fetch_response(ocsp_request(int(row.serial_number, 16)), now).certificates[0]


def test_the_responder_certificate_follows_its_profile(
    responder: x509.Certificate, now: datetime
) -> None:
    def value_and_critical(extension_type: Any) -> tuple[Any, bool]:
        extension = responder.extensions.get_extension_for_class(extension_type)
        return extension.value, extension.critical

    constraints, critical = value_and_critical(x509.BasicConstraints)
    assert (constraints.ca, critical) == (False, True)
    usage, critical = value_and_critical(x509.KeyUsage)
    assert (usage.digital_signature, usage.key_cert_sign, critical) == (True, False, True)
    purposes, critical = value_and_critical(x509.ExtendedKeyUsage)
    assert (list(purposes), critical) == ([ExtendedKeyUsageOID.OCSP_SIGNING], False)
    assert value_and_critical(x509.OCSPNoCheck)[1] is False
    expected_identifier = x509.SubjectKeyIdentifier.from_public_key(responder.public_key())
    assert value_and_critical(x509.SubjectKeyIdentifier) == (expected_identifier, False)
    ca_identifier = DeviceCertificatesService().issuer().key_identifier
    assert value_and_critical(x509.AuthorityKeyIdentifier)[0].key_identifier == ca_identifier
    assert len(list(responder.extensions)) == 6
    extension_types = {type(item.value) for item in responder.extensions}
    assert x509.CRLDistributionPoints not in extension_types
    assert x509.AuthorityInformationAccess not in extension_types
    assert 2**64 < responder.serial_number < 2**159
    lifetime = responder.not_valid_after_utc - responder.not_valid_before_utc
    assert lifetime + timedelta(seconds=1) == timedelta(days=14)


def test_the_responder_is_renewed_after_half_its_validity(
    responder: x509.Certificate, now: datetime
) -> None:
    ca = DeviceCertificatesService()
    assert ocsp_responses.renew_responders(ca, now=now + timedelta(days=6)) == 0
    assert ocsp_responses.renew_responders(ca, now=now + timedelta(days=7)) == 1
    assert Responder.objects.count() == 2

    certificate = fetch_response(ocsp_request(1), now + timedelta(days=8)).certificates[0]
    assert certificate.serial_number != responder.serial_number


def test_an_expired_responder_is_renewed_by_a_request(
    responder: x509.Certificate, now: datetime
) -> None:
    response = fetch_response(ocsp_request(1), now + timedelta(days=300))

    assert response.certificates[0].not_valid_after_utc > now + timedelta(days=300)
    assert response.response_status == Answered.SUCCESSFUL


def test_a_response_never_outlives_its_responder(
    responder: x509.Certificate, now: datetime, settings: Any
) -> None:
    settings.OCSP_VALIDITY_HOURS = 24 * 30

    response = fetch_response(ocsp_request(1), now)

    assert response.next_update_utc == responder.not_valid_after_utc


def test_the_responder_key_is_encrypted_at_rest(responder: x509.Certificate) -> None:
    row = Responder.objects.get()
    assert "PRIVATE" not in row.encrypted_key
    assert "PRIVATE" not in row.pem


def test_a_responder_whose_key_cannot_be_decrypted_is_replaced(
    responder: x509.Certificate, now: datetime, settings: Any
) -> None:
    """After a change of SECRET_KEY, the responder's old key cannot be decrypted."""
    settings.SECRET_KEY = "another"
    ocsp_responses.forget_issuers()

    response = fetch_response(ocsp_request(1), now)

    assert response.response_status == Answered.SUCCESSFUL
    assert response.certificates[0].serial_number != responder.serial_number
    assert Responder.objects.count() == 1


def test_the_responder_key_is_rejected_for_devices(
    responder: x509.Certificate, tenant: Tenant
) -> None:
    digest = Responder.objects.get().public_key_digest
    assert queries.key_refusal_reason(digest, for_devices=[]) is not None


@pytest.mark.django_db(transaction=True)
def test_the_worker_renews_the_responder(celery_worker: None, device: Device) -> None:
    issue_certificate(device, datetime.now(UTC))

    renew_responders.delay()

    wait_until(Responder.objects.exists)


def test_a_request_for_a_retired_ca_is_unauthorized(device: Device, now: datetime) -> None:
    row = issue_certificate(device, now)
    CertificateAuthority.objects.update(status="retired")

    response = fetch_response(ocsp_request(int(row.serial_number, 16)), now)

    assert response.response_status == Answered.UNAUTHORIZED


# --- Over HTTP --------------------------------------------------------------------------


@pytest.fixture
def by_get(client: Any) -> Callable[[str], Any]:
    return lambda text: client.get(f"/certificates/ocsp/{text}")


def test_requests_are_accepted_by_post_and_get(
    client: Any, by_get: Callable[[str], Any], device: Device
) -> None:
    row = issue_certificate(device, datetime.now(UTC))
    request_der = ocsp_request(int(row.serial_number, 16))

    for response in (
        post(client, request_der),
        by_get(base64.b64encode(request_der).decode()),
        by_get(base64.b64encode(request_der).decode().replace("+", "%2B").replace("/", "%2F")),
        by_get(base64.urlsafe_b64encode(request_der).decode().rstrip("=")),
    ):
        assert response.status_code == 200
        parsed = ocsp.load_der_ocsp_response(response.content)
        assert parsed.certificate_status == Status.GOOD


def test_a_response_has_cache_headers(client: Any, device: Device) -> None:
    row = issue_certificate(device, datetime.now(UTC))

    response = post(client, ocsp_request(int(row.serial_number, 16)))

    for name in ("ETag", "Last-Modified", "Expires"):
        assert response[name]
    assert response["Cache-Control"] == ("public, no-transform, must-revalidate, max-age=300")


def test_a_response_with_a_nonce_is_not_cached(client: Any, device: Device) -> None:
    row = issue_certificate(device, datetime.now(UTC))

    response = post(client, ocsp_request(int(row.serial_number, 16), nonce=b"once" * 4))

    assert response["Cache-Control"] == "no-store"


def test_a_request_with_an_invalid_credential_is_answered(device: Device) -> None:
    row = issue_certificate(device, datetime.now(UTC))
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION="Bearer nonsense")

    request_der: Any = ocsp_request(int(row.serial_number, 16))
    response = client.generic("POST", "/certificates/ocsp", request_der, "application/ocsp-request")

    assert response.status_code == 200


@requires_tools("openssl")
def test_a_request_about_two_certificates_is_malformed(
    client: Any, device: Device, tmp_path: Any
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(ca_certificate().public_bytes(Encoding.PEM))
    run_tool(
        "openssl",
        "ocsp",
        "-issuer",
        str(ca),
        "-serial",
        "1",
        "-serial",
        "2",
        "-reqout",
        str(tmp_path / "two.der"),
    )
    issue_certificate(device, datetime.now(UTC))
    assert authorities.trusted_certificates()

    response = post(client, (tmp_path / "two.der").read_bytes())

    parsed = ocsp.load_der_ocsp_response(response.content)
    assert parsed.response_status == Answered.MALFORMED_REQUEST


def test_requests_with_a_nonce_have_a_limit_of_their_own(
    client: Any, device: Device, settings: Any
) -> None:
    settings.RATES = {**settings.RATES, "ocsp_nonce": Rate(1, 60)}
    serial_number = int(issue_certificate(device, datetime.now(UTC)).serial_number, 16)
    address = "203.0.113.77"

    def status(nonce: bytes | None) -> int:
        return int(
            client.post(
                "/certificates/ocsp",
                ocsp_request(serial_number, nonce=nonce),
                "application/ocsp-request",
                REMOTE_ADDR=address,
            ).status_code
        )

    assert [status(b"first nonce"), status(b"second nonce"), status(None)] == [200, 429, 200]
