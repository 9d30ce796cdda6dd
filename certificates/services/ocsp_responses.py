"""OCSP responses and the delegated responder certificates that sign them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.conf import settings
from django.db import transaction

from certificates import queries
from certificates.errors import AuthorityUnavailable
from certificates.models import CertificateAuthority, DeviceCertificate, Responder
from certificates.pki import issuing, keys, ocsp, serials
from certificates.pki.errors import PkiError
from certificates.pki.issuer import Issuer
from certificates.pki.keys import DevicePrivateKey
from certificates.pki.ocsp import CertificateStatus, ErrorResponse, StatusRequest
from certificates.services.device_certificates import DeviceCertificatesService
from core import encryption
from core.locks import transaction_lock

PURPOSE = "ocsp responder"
MAX_SIGNED = 20_000  # responses that one process keeps
KNOWN_FOR = timedelta(seconds=5)  # a process knows issuers and their responders for this time
log = logging.getLogger(__name__)
Status = DeviceCertificate.Status
GOOD = {Status.ACTIVE.value, Status.SUPERSEDED.value, Status.EXPIRED.value}

_signed: dict[Any, "OcspResponse"] = {}  # by request, status and responder
_known: dict[Any, "KnownIssuer"] = {}  # by the hashes in a request
_decrypted: dict[int, ocsp.Responder] = {}  # by id; decrypted once per process


@dataclass(frozen=True, slots=True)
class OcspResponse:
    """An OCSP response in DER.

    Attributes:
        until: when caches must drop the response; None if they must not store it.
    """

    der: bytes
    this_update: datetime | None = None
    until: datetime | None = None

    def is_recent(self, now: datetime) -> bool:
        """Return True if less than a twelfth of the response's validity has passed."""
        if self.this_update is None or self.until is None:
            return False
        return timedelta(0) <= now - self.this_update < (self.until - self.this_update) / 12


@dataclass(frozen=True, slots=True)
class KnownIssuer:
    """The CA that issued a certificate, and who signs the responses."""

    authority_key_id: str
    responder: ocsp.Responder
    read_at: datetime


def known_issuer(request: StatusRequest, now: datetime) -> KnownIssuer | None:
    """Return the issuer that a request names, if the process knows it. There is no query."""
    known = _known.get(_issuer_key(request))
    is_recent = known is not None and timedelta(0) <= now - known.read_at < KNOWN_FOR
    return known if is_recent else None


def forget_issuers() -> None:
    """Read the issuers and their responders again at the next requests, as a new process does."""
    _known.clear()
    _decrypted.clear()


def signed_before(
    request: StatusRequest, status: CertificateStatus, issuer: KnownIssuer, now: datetime
) -> OcspResponse | None:
    """Return a recent response to the same question, which has no nonce."""
    signed = _signed.get(_signed_key(request, status, issuer))
    return signed if signed is not None and signed.is_recent(now) else None


def respond(
    der: bytes, *, ca: DeviceCertificatesService, now: datetime, spend: Callable[[bool], None]
) -> OcspResponse:
    """Answer an OCSP request. On failure, return an error response (RFC 6960 §2.3).

    A signed response without a nonce is cached. It is reused until the status changes, but for
    at most a twelfth of its validity.

    Args:
        spend: called before each signature; raises if the client has requested too many. Its
            argument is True if the request has a nonce. Such a response cannot be reused.
    """
    try:
        request = ocsp.parse(der)
    except ocsp.MalformedRequest:
        return OcspResponse(ErrorResponse.MALFORMED_REQUEST.der())
    if request.nonce is not None:  # it will be signed, so refuse it before any query
        spend(True)
    try:
        issuer = known_issuer(request, now) or _issuer(request, ca, now)
    except AuthorityUnavailable:
        return OcspResponse(ErrorResponse.TRY_LATER.der())
    if issuer is None:
        return OcspResponse(ErrorResponse.UNAUTHORIZED.der())
    serial_number = serials.to_text(request.serial_number)
    status = status_from(queries.status_of(issuer.authority_key_id, serial_number))
    if request.nonce is not None:
        return _sign(request, status, issuer.responder, now)
    if (signed := signed_before(request, status, issuer, now)) is not None:
        return signed
    spend(False)
    response = _sign(request, status, issuer.responder, now)
    if len(_signed) >= MAX_SIGNED:
        _signed.clear()
    _signed[_signed_key(request, status, issuer)] = response
    return response


def _issuer_key(request: StatusRequest) -> tuple[Any, ...]:
    return request.issuer_name_hash, request.issuer_key_hash, request.algorithm.name


def _signed_key(
    request: StatusRequest, status: CertificateStatus, issuer: KnownIssuer
) -> tuple[Any, ...]:
    return *_issuer_key(request), request.serial_number, status, issuer.responder.certificate


def _issuer(
    request: StatusRequest, ca: DeviceCertificatesService, now: datetime
) -> KnownIssuer | None:
    """Read the issuer and its responder. Both change about once a week.

    Raises:
        AuthorityUnavailable: a new responder is needed, and the CA cannot sign now.
    """
    authority = _authority_of(request)
    if authority is None:
        return None
    issuer = KnownIssuer(authority.key_identifier, _responder(authority, ca, now), now)
    _known[_issuer_key(request)] = issuer
    return issuer


def _sign(
    request: StatusRequest, status: CertificateStatus, responder: ocsp.Responder, now: datetime
) -> OcspResponse:
    begin = now.replace(microsecond=0)
    until = min(
        begin + timedelta(hours=settings.OCSP_VALIDITY_HOURS),
        responder.certificate.not_valid_after_utc,
    )
    signed = ocsp.sign_response(
        request, status, responder=responder, this_update=begin, next_update=until
    )
    return OcspResponse(signed, begin, None if request.nonce else until)


def renew_responders(ca: DeviceCertificatesService, *, now: datetime) -> int:
    """Issue new responders for the CAs whose responders end soon.

    "Soon" means within half of `OCSP_RESPONDER_DAYS`.

    CAs whose key is unavailable are skipped and logged. Responders that expired more
    than half of `OCSP_RESPONDER_DAYS` ago are deleted.

    Returns:
        How many responders were issued.
    """
    span = timedelta(days=settings.OCSP_RESPONDER_DAYS) / 2
    renewed = 0
    for row in CertificateAuthority.objects.trusted().issuing():
        if _responder_valid_for(row, now, span) is not None:
            continue
        try:
            _issue_responder(row, ca, span, now)
            renewed += 1
        except AuthorityUnavailable as error:
            log.error("No OCSP responder can be issued for %s: %s", row, error)
    Responder.objects.filter(not_after__lt=now - span).delete()
    return renewed


def _authority_of(request: StatusRequest) -> CertificateAuthority | None:
    row: CertificateAuthority
    for row in CertificateAuthority.objects.trusted().issuing():
        if request.names_issuer(row.certificate()):
            return row
    return None


def status_from(row: tuple[str, datetime | None, str] | None) -> CertificateStatus:
    """Return the status for what `queries.status_of` returns."""
    if row is None:
        return ocsp.UNKNOWN
    status, revoked_at, reason = row
    if status == Status.REVOKED and revoked_at is not None:
        return ocsp.revoked(revoked_at, reason)
    return ocsp.GOOD if status in GOOD else ocsp.UNKNOWN


def _responder(
    authority: CertificateAuthority, ca: DeviceCertificatesService, now: datetime
) -> ocsp.Responder:
    """Return the CA's responder. If it ends within a day, issue a new one.

    Raises:
        AuthorityUnavailable: a new responder is needed, and the CA cannot sign now.
    """
    newest = _responder_valid_for(authority, now, timedelta(days=1))
    if newest is not None and newest.pk in _decrypted:
        return _decrypted[newest.pk]
    row = newest or _issue_responder(authority, ca, timedelta(days=1), now)
    try:
        responder = _decrypt(row)
    except encryption.DecryptionError:
        # SECRET_KEY has changed. Replace the responder, which is possible at any time.
        row.delete()
        row = _issue_responder(authority, ca, timedelta(days=1), now)
        responder = _decrypt(row)
    _decrypted[row.pk] = responder
    return responder


def _decrypt(row: Responder) -> ocsp.Responder:
    key = encryption.decrypt(row.encrypted_key, purpose=PURPOSE)
    return ocsp.Responder(
        x509.load_pem_x509_certificate(row.pem.encode()),
        keys.from_pem(key.encode(), made_here=True),
    )


def _responder_valid_for(
    authority: CertificateAuthority, now: datetime, span: timedelta
) -> Responder | None:
    """Return a responder that is valid for more than `span` or for as long as its CA."""
    newest = authority.responders.valid_for(now, timedelta(0)).order_by("-not_after").first()
    if newest is None:
        return None
    sufficient = newest.not_after > now + span or newest.not_after >= authority.not_after
    return newest if sufficient else None


@transaction.atomic
def _issue_responder(
    authority: CertificateAuthority, ca: DeviceCertificatesService, span: timedelta, now: datetime
) -> Responder:
    """Issue a responder, unless another process has just issued a suitable responder.

    Raises:
        AuthorityUnavailable: the CA cannot sign now.
    """
    transaction_lock(f"responder {authority.key_identifier}")
    existing = _responder_valid_for(authority, now, span)
    if existing is not None:
        return existing
    key = keys.generate("ec", rsa_bits=0)
    certificate = _sign_responder(key, ca.issuer(authority.key_identifier), now)
    return Responder.objects.create(
        authority=authority,
        serial_number=serials.to_text(certificate.serial_number),
        public_key_digest=keys.public_digest(key.public_key()),
        pem=certificate.public_bytes(Encoding.PEM).decode(),
        encrypted_key=encryption.encrypt(keys.to_pem(key).decode(), purpose=PURPOSE),
        not_after=certificate.not_valid_after_utc,
        created_at=now,
    )


def _sign_responder(key: DevicePrivateKey, issuer: Issuer, now: datetime) -> x509.Certificate:
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
        raise AuthorityUnavailable(
            f"The OCSP responder certificate cannot be signed: {error}."
        ) from error
