"""What the OCSP responder says, and the delegated certificates it says it with."""

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.db import connection, transaction

from certificates import queries
from certificates.errors import AuthorityUnavailable
from certificates.models import CertificateAuthority, DeviceCertificate, Responder
from certificates.pki import issuing, keys, ocsp, serials
from certificates.pki.errors import PkiError
from certificates.pki.issuer import Issuer
from certificates.pki.keys import DevicePrivateKey
from certificates.pki.ocsp import Failure, Question
from certificates.services.device_certificates import DeviceCertificatesService
from core import encryption

PURPOSE = "ocsp responder"
log = logging.getLogger(__name__)
Status = DeviceCertificate.Status
GOOD = {Status.ACTIVE.value, Status.SUPERSEDED.value, Status.EXPIRED.value}

_open: dict[int, ocsp.Responder] = {}  # by id; decrypted once per process


@dataclass(frozen=True, slots=True)
class Answer:
    """A response in DER; `until` it may be kept by whoever stands between, if at all."""

    der: bytes
    this_update: datetime | None = None
    until: datetime | None = None


def answer(der: bytes, *, ca: DeviceCertificatesService, now: datetime) -> Answer:
    """Answer an OCSP request; there is an answer to everything (RFC 6960 §2.3)."""
    try:
        question = ocsp.parse(der)
    except ocsp.MalformedRequest:
        return Answer(Failure.MALFORMED_REQUEST.der())
    authority = _authority(question)
    if authority is None:
        return Answer(Failure.UNAUTHORIZED.der())
    try:
        responder = _responder(authority, ca, now)
    except AuthorityUnavailable:
        return Answer(Failure.TRY_LATER.der())
    begin = now.replace(microsecond=0)
    until = min(
        begin + timedelta(hours=settings.OCSP_VALIDITY_HOURS),
        responder.certificate.not_valid_after_utc,
    )
    signed = ocsp.answer(
        question,
        _verdict(authority.key_identifier, question.serial_number),
        responder=responder,
        this_update=begin,
        next_update=until,
    )
    return Answer(signed, begin, None if question.nonce else until)


def renew_responders(ca: DeviceCertificatesService, *, now: datetime) -> int:
    """Give each authority that has its key here a responder for the next days."""
    span = timedelta(days=settings.OCSP_RESPONDER_DAYS) / 2
    renewed = 0
    for row in CertificateAuthority.objects.trusted().issuing():
        if _responder_of(row, now, span) is not None:
            continue
        try:
            _delegate(row, ca, span, now)
            renewed += 1
        except AuthorityUnavailable as error:
            log.error("no OCSP responder for %s: %s", row, error)
    Responder.objects.filter(not_after__lt=now - span).delete()
    return renewed


def _authority(question: Question) -> CertificateAuthority | None:
    for row in CertificateAuthority.objects.trusted().issuing():
        if question.is_about(row.certificate()):
            found: CertificateAuthority = row
            return found
    return None


def _verdict(key_identifier: str, serial_number: int) -> ocsp.Verdict:
    found = queries.status_of(key_identifier, serials.to_text(serial_number))
    if found is None:
        return ocsp.UNKNOWN
    status, revoked_at, reason = found
    if status == Status.REVOKED and revoked_at is not None:
        return ocsp.revoked(revoked_at, reason)
    return ocsp.GOOD if status in GOOD else ocsp.UNKNOWN


def _responder(
    authority: CertificateAuthority, ca: DeviceCertificatesService, now: datetime
) -> ocsp.Responder:
    """The authority's responder, made anew when the last day of the old one begins.

    Raises:
        AuthorityUnavailable: there is none, and the CA cannot sign one now.
    """
    newest = _responder_of(authority, now, timedelta(days=1))
    if newest is not None and newest.pk in _open:
        return _open[newest.pk]
    row = newest or _delegate(authority, ca, timedelta(days=1), now)
    try:
        opened = _opened(row)
    except encryption.NotReadable:  # SECRET_KEY has changed: nothing is lost with it
        row.delete()
        opened = _opened(row := _delegate(authority, ca, timedelta(days=1), now))
    _open[row.pk] = opened
    return opened


def _opened(row: Responder) -> ocsp.Responder:
    key = encryption.decrypt(row.encrypted_key, purpose=PURPOSE)
    return ocsp.Responder(
        x509.load_pem_x509_certificate(row.pem.encode()),
        keys.from_pem(key.encode(), made_here=True),
    )


def _responder_of(
    authority: CertificateAuthority, now: datetime, span: timedelta
) -> Responder | None:
    """One that is good for so long, or as long as its CA is."""
    found: Responder | None = (
        authority.responders.lasting(now, timedelta(0)).order_by("-not_after").first()
    )
    if found is None:
        return None
    lasts = found.not_after > now + span or found.not_after >= authority.not_after
    return found if lasts else None


@transaction.atomic
def _delegate(
    authority: CertificateAuthority,
    ca: DeviceCertificatesService,
    lasting: timedelta,
    now: datetime,
) -> Responder:
    """Make a responder, unless another process just did; its record comes with it.

    Raises:
        AuthorityUnavailable: the CA cannot sign now.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
            [f"responder {authority.key_identifier}"],
        )
    made = _responder_of(authority, now, lasting)
    if made is not None:
        return made
    key = keys.generate("ec", rsa_bits=0)
    certificate = _certified(key, ca.issuer(authority.key_identifier), now)
    row: Responder = Responder.objects.create(
        authority=authority,
        serial_number=serials.to_text(certificate.serial_number),
        public_key_digest=keys.public_digest(key.public_key()),
        pem=certificate.public_bytes(Encoding.PEM).decode(),
        encrypted_key=encryption.encrypt(keys.to_pem(key).decode(), purpose=PURPOSE),
        not_after=certificate.not_valid_after_utc,
        created_at=now,
    )
    return row


def _certified(
    key: DevicePrivateKey, issuer: Issuer, now: datetime
) -> x509.Certificate:
    organization = settings.CERT_SUBJECT_ORGANIZATION
    try:
        return issuing.responder_certificate(
            public_key=key.public_key(),
            subject=issuing.subject_name(
                f"{organization} OCSP", organization, settings.CERT_SUBJECT_COUNTRY
            ),
            serial_number=serials.random_serial_number(),
            issuer=issuer,
            now=now,
            lifetime=timedelta(days=settings.OCSP_RESPONDER_DAYS),
        )
    except PkiError as error:
        raise AuthorityUnavailable(f"No responder: {error}.") from error
