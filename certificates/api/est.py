"""Endpoints of Enrollment over Secure Transport (RFC 7030)."""

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.views import APIView

from certificates.api.authentication import (
    BasicDeviceAuthentication,
    ClientCertificateAuthentication,
)
from certificates.api.public_views import PublicView
from certificates.api.responses import RawParser, raw
from certificates.errors import EnrollmentPending
from certificates.models import DeviceCertificate
from certificates.pki import est
from certificates.services import authorities, est_enrollment
from certificates.services.certificate_management import CertificateManagementService
from core import clock
from core.rest.negotiation import SingleFormatNegotiation
from devices.registry.api.authentication import DeviceAuthentication, MayConnect, calling_device

CERTIFICATES = "application/pkcs7-mime"
ATTRIBUTES = "application/csrattrs"
REQUEST = {"application/pkcs10": OpenApiTypes.STR}


class CaCertificatesView(PublicView):
    """Return the CA certificates to trust (RFC 7030 §4.1)."""

    @extend_schema(responses={(200, CERTIFICATES): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        authorities.signing_row(CertificateManagementService().ca, now=clock.now())
        return _base64_response(est.certs_only(authorities.trusted_certificates()), CERTIFICATES)


class CsrAttributesView(PublicView):
    """Return the attributes that a CSR should have (RFC 7030 §4.5)."""

    @extend_schema(responses={(200, ATTRIBUTES): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        return _base64_response(est.csr_attributes(), ATTRIBUTES)


class EnrollView(APIView):
    """Issue a certificate for the device's CSR (RFC 7030 §4.2).

    The device authenticates by HTTP Basic (its id and its token), by its token as a
    bearer token, or by its client certificate. The response is 202 with `Retry-After`
    while the device is in quarantine or an issuance for it is in progress.
    """

    authentication_classes = (
        BasicDeviceAuthentication,
        DeviceAuthentication,
        ClientCertificateAuthentication,
    )
    permission_classes = (MayConnect,)
    parser_classes = (RawParser,)
    content_negotiation_class = SingleFormatNegotiation
    reenroll = False

    @extend_schema(request=REQUEST, responses={(200, CERTIFICATES): OpenApiTypes.STR, 202: None})
    def post(self, request: Request) -> HttpResponse:
        try:
            certificate = est_enrollment.enroll(
                device=calling_device(request),
                body=raw(request),
                reenroll=self.reenroll,
                service=CertificateManagementService(),
                now=clock.now(),
            )
        except EnrollmentPending as pending:
            return HttpResponse(status=202, headers={"Retry-After": pending.retry_after})
        return _certificate_response(certificate)


class ReenrollView(EnrollView):
    """Renew the device's certificate (RFC 7030 §4.2.2).

    The CSR must contain the names of the current certificate. The key in the CSR may be the
    current key or a new key.
    """

    reenroll = True


def _certificate_response(certificate: DeviceCertificate) -> HttpResponse:
    content = est.certs_only([certificate.signed_certificate()])
    return _base64_response(content, f"{CERTIFICATES}; smime-type=certs-only")


def _base64_response(content: bytes, content_type: str) -> HttpResponse:
    """Return a response with the given content in base64.

    RFC 7030 requires the header `Content-Transfer-Encoding`. Clients that follow RFC 8951
    ignore the header.
    """
    return HttpResponse(
        content, content_type=content_type, headers={"Content-Transfer-Encoding": "base64"}
    )
