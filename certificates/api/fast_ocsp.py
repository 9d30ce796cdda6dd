"""OCSP requests for a certificate whose status was signed a moment ago."""

from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from certificates.api.public_views import VERIFIER, from_base64
from certificates.api.responses import cache_headers
from certificates.pki import ocsp, serials
from certificates.pki.ocsp import StatusRequest
from certificates.services import ocsp_responses
from certificates.services.ocsp_responses import KnownIssuer
from core import clock
from core.fast_requests import FastAnswer, FastKind, FastQuestion, FastRequest, Row
from tenants.context import network_of

CONDITIONS = ("if-none-match", "if-modified-since")


class _Facts(NamedTuple):
    asked: StatusRequest
    issuer: KnownIssuer
    now: datetime
    network: str


class FastOcsp(FastKind):
    """The usual request by POST. The status is read, and signed only if it has changed."""

    method = "POST"
    path = "/certificates/ocsp"
    status = 200
    is_anonymous = True
    own_headers = frozenset({"etag", "last-modified", "expires", "cache-control"})
    statement = """
        SELECT asked.place, certificate.status, certificate.revoked_at,
            certificate.revocation_reason
        FROM unnest($1::text[], $2::text[])
            WITH ORDINALITY AS asked (authority_key_id, serial_number, place)
        LEFT JOIN certificates_devicecertificate certificate
            ON certificate.authority_key_id = asked.authority_key_id
            AND certificate.serial_number = asked.serial_number
    """

    def question(self, request: FastRequest) -> FastQuestion | None:
        if any(request.header(name) is not None for name in CONDITIONS):
            return None
        try:
            asked = ocsp.parse(self.encoded(request))
        except ocsp.MalformedRequest:
            return None
        now = clock.now()
        issuer = None if asked.nonce is not None else ocsp_responses.known_issuer(asked, now)
        if issuer is None:
            return None
        values = issuer.authority_key_id, serials.to_text(asked.serial_number)
        return FastQuestion(values, _Facts(asked, issuer, now, network_of(request.address)))

    def encoded(self, request: FastRequest) -> bytes:
        """Return the OCSP request in DER."""
        return request.body

    def answer(self, facts: _Facts, row: Row) -> FastAnswer | None:
        _, known_status, revoked_at, reason = row.values()
        status = ocsp_responses.status_from(known_status and (known_status, revoked_at, reason))
        signed = ocsp_responses.signed_before(facts.asked, status, facts.issuer, facts.now)
        if signed is None or signed.this_update is None or signed.until is None:
            return None
        headers = cache_headers(
            etag=sha256(signed.der).hexdigest(),
            made_at=signed.this_update,
            until=signed.until,
            now=facts.now,
        )
        lower = {name.lower(): value for name, value in headers.items()}
        return FastAnswer([(VERIFIER, facts.network, 1)], signed.der, lower)


class FastOcspGet(FastOcsp):
    """The same by GET, with the request in the path (RFC 6960 §A.1)."""

    method = "GET"
    path = "/certificates/ocsp/"

    def encoded(self, request: FastRequest) -> bytes:
        return from_base64(request.path)
