"""The OCSP responder: every verdict, both hashes, delegated and renewed by itself."""

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
from certificates.tests.issued import issue_certificate, revoke_certificate
from certificates.tests.peers import needs, run_tool
from devices.registry.models import Device
from devices.registry.tests.waiting import until
from tenants.models import Tenant

pytestmark = pytest.mark.django_db
Status, Answered = ocsp.OCSPCertStatus, ocsp.OCSPResponseStatus
SHA1, SHA256 = hashes.SHA1(), hashes.SHA256()


def authority() -> x509.Certificate:
    return DeviceCertificatesService().issuer().certificate


def question(
    serial_number: int,
    *,
    algorithm: Any = SHA256,
    issuer: x509.Certificate | None = None,
    nonce: bytes | None = None,
) -> bytes:
    about = issuer or authority()
    key_hash, name_hash = hashes.Hash(algorithm), hashes.Hash(algorithm)
    key_hash.update(
        about.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    )
    name_hash.update(about.subject.public_bytes())
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        name_hash.finalize(), key_hash.finalize(), serial_number, algorithm
    )
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    return builder.build().public_bytes(Encoding.DER)


def asked(der: bytes, now: datetime) -> ocsp.OCSPResponse:
    answer = ocsp_responses.answer(der, ca=DeviceCertificatesService(), now=now)
    return ocsp.load_der_ocsp_response(answer.der)


def posted(client: Any, der: bytes) -> Any:
    return client.post("/certificates/ocsp", der, "application/ocsp-request")


@pytest.mark.parametrize("algorithm", [SHA1, SHA256], ids=["SHA-1", "SHA-256"])
def test_a_certificate_in_use_is_good_whichever_hash_asks(
    device: Device, now: datetime, algorithm: Any
) -> None:
    row = issue_certificate(device, now)

    answer = asked(question(int(row.serial_number, 16), algorithm=algorithm), now)

    assert answer.response_status == Answered.SUCCESSFUL
    assert answer.certificate_status == Status.GOOD
    assert answer.serial_number == int(row.serial_number, 16)
    assert answer.hash_algorithm.name == algorithm.name


def test_a_revoked_one_is_so_at_once_with_time_and_reason(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    revoke_certificate(row, now + timedelta(hours=1), reason="keyCompromise")

    answer = asked(question(int(row.serial_number, 16)), now + timedelta(hours=2))

    assert answer.certificate_status == Status.REVOKED
    assert answer.revocation_time_utc == now + timedelta(hours=1)
    assert answer.revocation_reason == x509.ReasonFlags.key_compromise


def test_a_serial_number_that_was_never_signed_is_unknown_and_never_good(
    device: Device, now: datetime
) -> None:
    issue_certificate(device, now)

    assert asked(question(12345), now).certificate_status == Status.UNKNOWN


def test_a_spent_serial_number_is_unknown(device: Device, now: datetime) -> None:
    row = issue_certificate(device, now)
    type(row).objects.filter(pk=row.pk).update(status="failed")

    answer = asked(question(int(row.serial_number, 16)), now)

    assert answer.certificate_status == Status.UNKNOWN


def test_for_another_issuer_we_are_not_authorized(
    device: Device, now: datetime, tmp_path: Any
) -> None:
    issue_certificate(device, now)
    other = DeviceCertificatesService(tmp_path / "other").initialize_ca(
        now=now, key_type="ec"
    )

    answer = asked(question(7, issuer=other.certificate), now)

    assert answer.response_status == Answered.UNAUTHORIZED


def test_for_an_issuer_with_our_name_and_another_key_we_are_not_authorized(
    device: Device, now: datetime, tmp_path: Any
) -> None:
    """Two CAs of one name stay apart: the name alone says nothing."""
    row = issue_certificate(device, now)
    twin = DeviceCertificatesService(tmp_path / "twin").initialize_ca(
        now=now, key_type="ec"
    )
    assert twin.certificate.subject == authority().subject

    answer = asked(question(int(row.serial_number, 16), issuer=twin.certificate), now)

    assert answer.response_status == Answered.UNAUTHORIZED


def test_the_answer_is_signed_by_a_responder_that_the_authority_delegated(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)

    answer = asked(question(int(row.serial_number, 16)), now)

    (responder,) = answer.certificates
    responder.verify_directly_issued_by(authority())
    key = responder.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    key.verify(answer.signature, answer.tbs_response_bytes, ec.ECDSA(SHA256))
    identifier = x509.SubjectKeyIdentifier.from_public_key(key).digest
    assert (answer.responder_key_hash, answer.responder_name) == (identifier, None)


def test_the_answer_has_a_time_and_an_end(device: Device, now: datetime) -> None:
    row = issue_certificate(device, now)

    answer = asked(question(int(row.serial_number, 16)), now)

    assert answer.this_update_utc == now
    assert answer.next_update_utc == now + timedelta(hours=12)


@pytest.mark.parametrize("size", [1, 16, 32, 128])
def test_a_nonce_comes_back(device: Device, now: datetime, size: int) -> None:
    row = issue_certificate(device, now)

    answer = asked(question(int(row.serial_number, 16), nonce=b"n" * size), now)

    nonce = answer.extensions.get_extension_for_class(x509.OCSPNonce).value
    assert nonce.nonce == b"n" * size


@pytest.mark.parametrize("size", [0, 129])
def test_a_nonce_of_no_use_does_not(device: Device, now: datetime, size: int) -> None:
    row = issue_certificate(device, now)

    answer = asked(question(int(row.serial_number, 16), nonce=b"n" * size), now)

    assert answer.certificate_status == Status.GOOD
    with pytest.raises(x509.ExtensionNotFound):
        answer.extensions.get_extension_for_class(x509.OCSPNonce)


@pytest.mark.parametrize(
    "der",
    [b"", b"\x30", b"no request", b"\x30\x82\xff\xff" * 20, b"\x00" * 5000],
    ids=["empty", "cut off", "text", "lengths", "too long"],
)
def test_what_is_no_request_is_malformed_with_status_200(
    der: bytes, client: Any, device: Device
) -> None:
    issue_certificate(device, datetime.now(UTC))

    answer = posted(client, der)

    assert (answer.status_code, answer["Content-Type"]) == (
        200,
        "application/ocsp-response",
    )
    parsed = ocsp.load_der_ocsp_response(answer.content)
    assert parsed.response_status == Answered.MALFORMED_REQUEST


def test_while_the_authority_cannot_delegate_the_asker_is_to_try_later(
    device: Device, now: datetime
) -> None:
    row = issue_certificate(device, now)
    der = question(int(row.serial_number, 16))
    DeviceCertificatesService().store.ca_certificate.unlink()

    assert asked(der, now).response_status == Answered.TRY_LATER


# --- The delegated certificate ---------------------------------------------------------


@pytest.fixture
def responder(device: Device, now: datetime) -> x509.Certificate:
    row = issue_certificate(device, now)
    return asked(question(int(row.serial_number, 16)), now).certificates[0]


def test_its_profile_line_by_line(responder: x509.Certificate, now: datetime) -> None:
    def extension(kind: Any) -> tuple[Any, bool]:
        found = responder.extensions.get_extension_for_class(kind)
        return found.value, found.critical

    constraints, critical = extension(x509.BasicConstraints)
    assert (constraints.ca, critical) == (False, True)
    usage, critical = extension(x509.KeyUsage)
    assert (usage.digital_signature, usage.key_cert_sign, critical) == (
        True,
        False,
        True,
    )
    purposes, critical = extension(x509.ExtendedKeyUsage)
    assert (list(purposes), critical) == ([ExtendedKeyUsageOID.OCSP_SIGNING], False)
    assert extension(x509.OCSPNoCheck)[1] is False
    own = x509.SubjectKeyIdentifier.from_public_key(responder.public_key())
    assert extension(x509.SubjectKeyIdentifier) == (own, False)
    above = DeviceCertificatesService().issuer().key_identifier
    assert extension(x509.AuthorityKeyIdentifier)[0].key_identifier == above
    assert len(list(responder.extensions)) == 6
    kinds = {type(item.value) for item in responder.extensions}
    assert x509.CRLDistributionPoints not in kinds
    assert x509.AuthorityInformationAccess not in kinds
    assert 2**64 < responder.serial_number < 2**159
    lifetime = responder.not_valid_after_utc - responder.not_valid_before_utc
    assert lifetime + timedelta(seconds=1) == timedelta(days=14)


def test_it_is_renewed_by_itself_in_the_middle_of_its_life(
    responder: x509.Certificate, now: datetime
) -> None:
    ca = DeviceCertificatesService()
    assert ocsp_responses.renew_responders(ca, now=now + timedelta(days=6)) == 0
    assert ocsp_responses.renew_responders(ca, now=now + timedelta(days=7)) == 1
    assert Responder.objects.count() == 2

    later = asked(question(1), now + timedelta(days=8)).certificates[0]
    assert later.serial_number != responder.serial_number


def test_it_is_renewed_with_a_question_when_nobody_else_did(
    responder: x509.Certificate, now: datetime
) -> None:
    answer = asked(question(1), now + timedelta(days=300))

    assert answer.certificates[0].not_valid_after_utc > now + timedelta(days=300)
    assert answer.response_status == Answered.SUCCESSFUL


def test_an_answer_never_outlives_who_signed_it(
    responder: x509.Certificate, now: datetime, settings: Any
) -> None:
    settings.OCSP_VALIDITY_HOURS = 24 * 30

    answer = asked(question(1), now)

    assert answer.next_update_utc == responder.not_valid_after_utc


def test_its_key_is_encrypted_at_rest(responder: x509.Certificate) -> None:
    row = Responder.objects.get()
    assert "PRIVATE" not in row.encrypted_key
    assert "PRIVATE" not in row.pem


def test_one_whose_key_no_known_secret_opens_gives_way_to_a_new_one(
    responder: x509.Certificate, now: datetime, settings: Any
) -> None:
    """After a change of SECRET_KEY; nothing is lost with it but some days of validity."""
    settings.SECRET_KEY = "another"
    ocsp_responses._open.clear()  # as another process, which has not opened it

    answer = asked(question(1), now)

    assert answer.response_status == Answered.SUCCESSFUL
    assert answer.certificates[0].serial_number != responder.serial_number
    assert Responder.objects.count() == 1


def test_a_device_may_not_have_its_key(
    responder: x509.Certificate, tenant: Tenant
) -> None:
    digest = Responder.objects.get().public_key_digest
    assert queries.why_key_is_barred(digest, for_devices=[]) is not None


@pytest.mark.django_db(transaction=True)
def test_the_worker_renews_it(celery_worker: None, device: Device) -> None:
    issue_certificate(device, datetime.now(UTC))

    renew_responders.delay()

    until(lambda: Responder.objects.exists())


def test_a_retired_authority_is_not_answered_for(device: Device, now: datetime) -> None:
    row = issue_certificate(device, now)
    CertificateAuthority.objects.update(status="retired")

    answer = asked(question(int(row.serial_number, 16)), now)

    assert answer.response_status == Answered.UNAUTHORIZED


# --- Over HTTP --------------------------------------------------------------------------


@pytest.fixture
def by_get(client: Any) -> Callable[[str], Any]:
    return lambda text: client.get(f"/certificates/ocsp/{text}")


def test_it_answers_by_post_and_by_get(
    client: Any, by_get: Callable[[str], Any], device: Device
) -> None:
    row = issue_certificate(device, datetime.now(UTC))
    der = question(int(row.serial_number, 16))

    for answer in (
        posted(client, der),
        by_get(base64.b64encode(der).decode()),
        by_get(base64.b64encode(der).decode().replace("+", "%2B").replace("/", "%2F")),
        by_get(base64.urlsafe_b64encode(der).decode().rstrip("=")),
    ):
        assert answer.status_code == 200
        parsed = ocsp.load_der_ocsp_response(answer.content)
        assert parsed.certificate_status == Status.GOOD


def test_an_answer_says_how_long_it_may_be_kept(client: Any, device: Device) -> None:
    row = issue_certificate(device, datetime.now(UTC))

    answer = posted(client, question(int(row.serial_number, 16)))

    for name in ("ETag", "Last-Modified", "Expires"):
        assert answer[name]
    assert answer["Cache-Control"] == (
        "public, no-transform, must-revalidate, max-age=300"
    )


def test_an_answer_to_a_nonce_is_kept_by_nobody(client: Any, device: Device) -> None:
    row = issue_certificate(device, datetime.now(UTC))

    answer = posted(client, question(int(row.serial_number, 16), nonce=b"once" * 4))

    assert answer["Cache-Control"] == "no-store"


def test_it_needs_no_credential_and_takes_a_wrong_one_for_none(device: Device) -> None:
    row = issue_certificate(device, datetime.now(UTC))
    stranger = APIClient()
    stranger.credentials(HTTP_AUTHORIZATION="Bearer nonsense")

    der: Any = question(int(row.serial_number, 16))
    answer = stranger.generic(
        "POST", "/certificates/ocsp", der, "application/ocsp-request"
    )

    assert answer.status_code == 200


@needs("openssl")
def test_a_request_about_two_certificates_is_malformed(
    client: Any, device: Device, tmp_path: Any
) -> None:
    ca = tmp_path / "ca.pem"
    ca.write_bytes(authority().public_bytes(Encoding.PEM))
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

    answer = posted(client, (tmp_path / "two.der").read_bytes())

    parsed = ocsp.load_der_ocsp_response(answer.content)
    assert parsed.response_status == Answered.MALFORMED_REQUEST
