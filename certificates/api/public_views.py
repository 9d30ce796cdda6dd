"""Public endpoints: CA certificates, revocation lists and OCSP responses."""

import base64
import binascii
import math
from hashlib import sha256
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import Throttled
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from certificates.api.responses import RawParser, cacheable, raw
from certificates.models import CertificateAuthority, RevocationList
from certificates.services import authorities, ocsp_responses, revocation_lists
from certificates.services.certificate_management import CertificateManagementService
from core import clock
from core.limits import Limit
from core.rest.documentation import IF_NONE_MATCH, NOT_MODIFIED
from core.rest.negotiation import SingleFormatNegotiation
from tenants.context import caller_network

PEM, CERTIFICATE = "application/x-pem-file", "application/pkix-cert"
CRL, OCSP = "application/pkix-crl", "application/ocsp-response"
VERIFIER = Limit("verifier")
NONCE = Limit("ocsp_nonce")
SIGNATURE_COST = 5  # requests


def _conditional(content_type: str, body: OpenApiTypes) -> Any:
    """Document a response of `cacheable`."""
    return extend_schema(
        parameters=[IF_NONE_MATCH], responses={(200, content_type): body, 304: NOT_MODIFIED}
    )


class PublicView(APIView):
    """Base of endpoints without authentication that return one content type only."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    content_negotiation_class = SingleFormatNegotiation


class VerifierView(PublicView):
    """Base of endpoints that verifiers request, rate-limited by address."""

    address_limit = VERIFIER


class AuthorityView(PublicView):
    """Return the chain of the signing CA in PEM. The CA's own certificate comes first."""

    @extend_schema(responses={(200, PEM): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        return _cached_response(_signing_authority().chain, PEM)


class TrustedView(PublicView):
    """Return all CA certificates that verifiers of device certificates must trust, in PEM.

    During a CA rotation, the certificates include those of the old and the new CA.
    """

    @extend_schema(responses={(200, PEM): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        _signing_authority()
        trusted = authorities.trusted_certificates()
        return _cached_response(b"".join(item.public_bytes(Encoding.PEM) for item in trusted), PEM)


class AuthorityCertificateView(VerifierView):
    """Return a CA's certificate in DER.

    Certificates signed by the CA contain the address of this endpoint (authority
    information access).
    """

    @extend_schema(responses={(200, CERTIFICATE): OpenApiTypes.BINARY})
    def get(self, request: Request, key_identifier: str) -> HttpResponse:
        certificate = authorities.chain_certificates(key_identifier)[0]
        return _cached_response(certificate.public_bytes(Encoding.DER), CERTIFICATE)


class CompleteListView(VerifierView):
    """Return the complete revocation list of the signing CA in DER."""

    @_conditional(CRL, OpenApiTypes.BINARY)
    def get(self, request: Request) -> HttpResponseBase:
        return _list_response(request, _current_list())


class CompleteListPemView(VerifierView):
    """Return the complete revocation list of the signing CA in PEM."""

    @_conditional(PEM, OpenApiTypes.STR)
    def get(self, request: Request) -> HttpResponseBase:
        return _list_response(request, _current_list(), Encoding.PEM)


class ListOfAuthorityView(VerifierView):
    """Return the complete revocation list of any CA, such as a root, in DER."""

    @_conditional(CRL, OpenApiTypes.BINARY)
    def get(self, request: Request, key_identifier: str) -> HttpResponseBase:
        return _list_response(request, revocation_lists.complete_list(key_identifier))


class TrustedListsView(VerifierView):
    """Return the complete revocation lists of all CAs in `trusted.pem`, in PEM.

    TLS proxies use these lists.
    """

    @_conditional(PEM, OpenApiTypes.STR)
    def get(self, request: Request) -> HttpResponseBase:
        _signing_authority()
        now, ca = clock.now(), CertificateManagementService().ca
        rows = revocation_lists.built_complete_lists(ca, now=now)
        lists = (x509.load_der_x509_crl(bytes(row.der)) for row in rows)
        return cacheable(
            request,
            b"".join(item.public_bytes(Encoding.PEM) for item in lists),
            PEM,
            etag=" ".join(row.digest for row in rows),
            made_at=max(row.this_update for row in rows if row.this_update),
            until=min(row.next_update for row in rows if row.next_update),
            now=now,
        )


class ShardView(VerifierView):
    """Return the revocation list of one CRL distribution point in DER."""

    @_conditional(CRL, OpenApiTypes.BINARY)
    def get(self, request: Request, shard: int) -> HttpResponseBase:
        return _list_response(request, revocation_lists.shard(shard))


class OcspView(VerifierView):
    """Answer an OCSP request in DER (RFC 6960)."""

    parser_classes = (RawParser,)

    @extend_schema(
        request={"application/ocsp-request": OpenApiTypes.BINARY},
        responses={(200, OCSP): OpenApiTypes.BINARY},
    )
    def post(self, request: Request) -> HttpResponseBase:
        return _ocsp_response(request, raw(request))


class OcspGetView(VerifierView):
    """Answer an OCSP request that is base64-encoded in the URL (RFC 6960 §A.1).

    Unlike responses to POST requests, these responses can be cached.
    """

    @extend_schema(responses={(200, OCSP): OpenApiTypes.BINARY})
    def get(self, request: Request, ocsp_request: str) -> HttpResponseBase:
        return _ocsp_response(request, from_base64(ocsp_request))


def _ocsp_response(request: Request, der: bytes) -> HttpResponseBase:
    now = clock.now()
    ca = CertificateManagementService().ca
    ocsp = ocsp_responses.respond(der, ca=ca, now=now, spend=_spend_signature)
    if ocsp.this_update is None or ocsp.until is None:
        return HttpResponse(ocsp.der, content_type=OCSP, headers={"Cache-Control": "no-store"})
    return cacheable(
        request,
        ocsp.der,
        OCSP,
        etag=sha256(ocsp.der).hexdigest(),
        made_at=ocsp.this_update,
        until=ocsp.until,
        now=now,
    )


def _spend_signature(has_nonce: bool) -> None:
    """Count a signature, which costs more than a response that was signed before.

    Raises:
        Throttled: the address has requested too many.
    """
    wait = NONCE.spend(caller_network()) if has_nonce else None
    if wait := wait or VERIFIER.spend(caller_network(), SIGNATURE_COST):
        raise Throttled(math.ceil(wait))


def _current_list() -> RevocationList:
    return revocation_lists.complete_list(_signing_authority().key_identifier)


def _list_response(
    request: Request, row: RevocationList, encoding: Encoding = Encoding.DER
) -> HttpResponseBase:
    """Return the latest build of a list. The first request for a list builds it."""
    now = clock.now()
    revocation_lists.ensure_built(row, CertificateManagementService().ca, now=now)
    content, content_type = bytes(row.der), CRL
    if encoding == Encoding.PEM:
        content = x509.load_der_x509_crl(content).public_bytes(encoding)
        content_type = PEM
    assert row.this_update is not None
    assert row.next_update is not None
    return cacheable(
        request,
        content,
        content_type,
        etag=f"{row.digest} {content_type}",
        made_at=row.this_update,
        until=row.next_update,
        now=now,
    )


def _signing_authority() -> CertificateAuthority:
    """Return the record of the signing CA, without loading its key."""
    ca = CertificateManagementService().ca
    return authorities.signing_row(ca, now=clock.now())


def from_base64(text: str) -> bytes:
    """Decode base64 or base64url, with or without padding. Return b"" for invalid text."""
    unpadded = text.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(unpadded + "=" * (-len(unpadded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _cached_response(content: str | bytes, content_type: str) -> HttpResponse:
    return HttpResponse(
        content, content_type=content_type, headers={"Cache-Control": "public, max-age=300"}
    )
