"""Enrollment over Secure Transport (RFC 7030): what standard clients ask for by itself."""

from django.http import HttpResponse
from django.utils import timezone
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
from core.rest.negotiation import OneFormOnly
from devices.registry.api.authentication import (
    DeviceAuthentication,
    MayConnect,
    calling_device,
)

CERTIFICATES = "application/pkcs7-mime"
ATTRIBUTES = "application/csrattrs"
REQUEST = {"application/pkcs10": OpenApiTypes.STR}


class CaCertificatesView(PublicView):
    """The CA certificates to trust (RFC 7030 §4.1)."""

    @extend_schema(responses={(200, CERTIFICATES): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        authorities.signing_row(CertificateManagementService().ca, now=timezone.now())
        return _encoded(
            est.certs_only(authorities.trusted_certificates()), CERTIFICATES
        )


class CsrAttributesView(PublicView):
    """What a request should have (RFC 7030 §4.5)."""

    @extend_schema(responses={(200, ATTRIBUTES): OpenApiTypes.STR})
    def get(self, request: Request) -> HttpResponse:
        return _encoded(est.csr_attributes(), ATTRIBUTES)


class EnrollView(APIView):
    """A certificate for the device's request (RFC 7030 §4.2).

    The device is known by HTTP Basic (its id and its token), by its token as a bearer's,
    or by its client certificate. 202 with `Retry-After` while it has to wait: for a
    member's decision in quarantine, or for an issuance under way.
    """

    authentication_classes = (
        BasicDeviceAuthentication,
        DeviceAuthentication,
        ClientCertificateAuthentication,
    )
    permission_classes = (MayConnect,)
    parser_classes = (RawParser,)
    content_negotiation_class = OneFormOnly
    again = False

    @extend_schema(
        request=REQUEST,
        responses={(200, CERTIFICATES): OpenApiTypes.STR, 202: None},
    )
    def post(self, request: Request) -> HttpResponse:
        try:
            certificate = est_enrollment.enroll(
                device=calling_device(request),
                body=raw(request),
                again=self.again,
                service=CertificateManagementService(),
                now=timezone.now(),
            )
        except EnrollmentPending as pending:
            return HttpResponse(status=202, headers={"Retry-After": pending.seconds})
        return _issued(certificate)


class ReenrollView(EnrollView):
    """The next certificate for the same names, and the same key or another."""

    again = True


def _issued(certificate: DeviceCertificate) -> HttpResponse:
    content = est.certs_only([certificate.signed_certificate()])
    return _encoded(content, f"{CERTIFICATES}; smime-type=certs-only")


def _encoded(content: bytes, content_type: str) -> HttpResponse:
    """Base64, as RFC 7030 says in a header that RFC 8951 has clients ignore."""
    return HttpResponse(
        content,
        content_type=content_type,
        headers={"Content-Transfer-Encoding": "base64"},
    )
