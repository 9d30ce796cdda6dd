"""What anybody may fetch: certificates of authorities, revocation lists, OCSP answers."""

import base64
import binascii
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.views import APIView

from certificates.api.responses import RawParser, cacheable, raw
from certificates.models import CertificateAuthority, RevocationList
from certificates.services import authorities, ocsp_responses, revocation_lists
from certificates.services.certificate_management import CertificateManagementService
from core.limits import Limit
from core.rest.negotiation import OneFormOnly

PEM, CERTIFICATE = "application/x-pem-file", "application/pkix-cert"
CRL, OCSP = "application/pkix-crl", "application/ocsp-response"
VERIFIER = Limit("verifier")


class PublicView(APIView):
    """Open to everybody, in one form only."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    content_negotiation_class = OneFormOnly


class ForVerifiers(PublicView):
    """What is asked for anew with each certificate that somebody verifies."""

    address_limit = VERIFIER


class AuthorityView(PublicView):
    """The certificate of the CA that signs, and those above it, in PEM."""

    @extend_schema(responses={(200, PEM): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        return _lasting(_signing().chain, PEM)


class TrustedView(PublicView):
    """Every CA certificate that whoever verifies devices should trust, in PEM.

    While one CA takes over from another, both are in it.
    """

    @extend_schema(responses={(200, PEM): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        _signing()
        trusted = authorities.trusted_certificates()
        return _lasting(
            b"".join(part.public_bytes(Encoding.PEM) for part in trusted), PEM
        )


class AuthorityCertificateView(ForVerifiers):
    """One CA's certificate in DER, where the certificates below it say that it is."""

    @extend_schema(responses={(200, CERTIFICATE): OpenApiTypes.BINARY})
    def get(self, request: Request, key_identifier: str) -> HttpResponse:
        own = authorities.chain_certificates(key_identifier)[0]
        return _lasting(own.public_bytes(Encoding.DER), CERTIFICATE)


class CompleteListView(ForVerifiers):
    """The complete list of the CA that signs, in DER."""

    @extend_schema(responses={(200, CRL): OpenApiTypes.BINARY})
    def get(self, request: Request) -> HttpResponseBase:
        return _served(request, _present_list())


class CompleteListPemView(ForVerifiers):
    """The same in PEM."""

    @extend_schema(responses={(200, PEM): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponseBase:
        return _served(request, _present_list(), Encoding.PEM)


class ListOfAuthorityView(ForVerifiers):
    """The complete list of one CA, such as a root or a former one, in DER."""

    @extend_schema(responses={(200, CRL): OpenApiTypes.BINARY})
    def get(self, request: Request, key_identifier: str) -> HttpResponseBase:
        return _served(request, revocation_lists.complete_list(key_identifier))


class TrustedListsView(ForVerifiers):
    """The complete list of each CA in `trusted.pem`, in PEM: what a TLS proxy wants."""

    @extend_schema(responses={(200, PEM): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponseBase:
        _signing()
        now, ca = timezone.now(), CertificateManagementService().ca
        rows = revocation_lists.all_built(ca, now=now)
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


class ShardView(ForVerifiers):
    """The list of one distribution point, in DER."""

    @extend_schema(responses={(200, CRL): OpenApiTypes.BINARY})
    def get(self, request: Request, shard: int) -> HttpResponseBase:
        return _served(request, revocation_lists.shard(shard))


class OcspView(ForVerifiers):
    """Whether a certificate is good, revoked or unknown (RFC 6960); the request in DER."""

    parser_classes = (RawParser,)

    @extend_schema(
        request={"application/ocsp-request": OpenApiTypes.BINARY},
        responses={(200, OCSP): OpenApiTypes.BINARY},
    )
    def post(self, request: Request) -> HttpResponseBase:
        return answered(request, raw(request))


class OcspGetView(ForVerifiers):
    """The same by GET (RFC 6960 §A.1), which caches understand; the request in base64."""

    @extend_schema(responses={(200, OCSP): OpenApiTypes.BINARY})
    def get(self, request: Request, ocsp_request: str) -> HttpResponseBase:
        return answered(request, _from_base64(ocsp_request))


def answered(request: Request, der: bytes) -> HttpResponseBase:
    now = timezone.now()
    answer = ocsp_responses.answer(der, ca=CertificateManagementService().ca, now=now)
    if answer.this_update is None or answer.until is None:
        return HttpResponse(
            answer.der, content_type=OCSP, headers={"Cache-Control": "no-store"}
        )
    return cacheable(
        request,
        answer.der,
        OCSP,
        etag=sha256(answer.der).hexdigest(),
        made_at=answer.this_update,
        until=answer.until,
        now=now,
    )


def _present_list() -> RevocationList:
    return revocation_lists.complete_list(_signing().key_identifier)


def _served(
    request: Request, row: RevocationList, encoding: Encoding = Encoding.DER
) -> HttpResponseBase:
    """A list as it was last built; the first to ask for it has it built."""
    now = timezone.now()
    revocation_lists.built(row, CertificateManagementService().ca, now=now)
    content, kind = bytes(row.der), CRL
    if encoding == Encoding.PEM:
        content, kind = x509.load_der_x509_crl(content).public_bytes(encoding), PEM
    assert row.this_update is not None
    assert row.next_update is not None
    return cacheable(
        request,
        content,
        kind,
        etag=f"{row.digest} {kind}",
        made_at=row.this_update,
        until=row.next_update,
        now=now,
    )


def _signing() -> CertificateAuthority:
    """The CA that signs, by its record: nothing is signed here."""
    ca = CertificateManagementService().ca
    return authorities.signing_row(ca, now=timezone.now())


def _from_base64(text: str) -> bytes:
    """Of either alphabet, padded or not; what is none becomes an empty request."""
    plain = text.strip().replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        return b""


def _lasting(content: str | bytes, content_type: str) -> HttpResponse:
    return HttpResponse(
        content,
        content_type=content_type,
        headers={"Cache-Control": "public, max-age=300"},
    )
