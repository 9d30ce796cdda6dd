"""Certificate endpoints for the calling device."""

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from certificates.api.serializers import (
    AcknowledgementSerializer,
    BundleRequestSerializer,
    CertificateSerializer,
    CertificateWithChainSerializer,
    IssueSerializer,
    with_chain,
)
from certificates.services import handover, key_delivery
from certificates.services.certificate_management import (
    CertificateManagementService,
    certificate_in_use,
)
from core import clock
from core.errors import Invalid
from core.rest.bodies import validated_body
from core.rest.negotiation import SingleFormatNegotiation
from devices.registry.api.authentication import IsDevice, calling_device

PEM, PKCS_12 = "application/x-pem-file", "application/x-pkcs12"


class Required(Invalid):
    code = "required"


class MyCertificateView(APIView):
    """Return the calling device's certificate with its chain, or issue a new certificate.

    If the body contains a CSR, the new certificate is for the device's own key. If it
    contains `key_type`, the server generates the key, and the device can fetch the key once
    from the `bundle` endpoint.
    """

    permission_classes = (IsDevice,)

    @extend_schema(responses=CertificateWithChainSerializer)
    def get(self, request: Request) -> Response:
        return Response(with_chain(certificate_in_use(calling_device(request))))

    @extend_schema(request=IssueSerializer, responses={201: CertificateWithChainSerializer})
    def post(self, request: Request) -> Response:
        body = validated_body(IssueSerializer, request)
        fields = body
        if not fields:
            raise Required("Either csr or key_type is required.", field="csr")
        certificate = CertificateManagementService().issue_certificate(
            device=calling_device(request),
            csr_pem=fields.get("csr"),
            key_type=fields.get("key_type", "rsa"),
            now=clock.now(),
        )
        return Response(with_chain(certificate), status.HTTP_201_CREATED)


class AcknowledgeView(APIView):
    """Acknowledge a certificate. The device's earlier certificates are superseded."""

    permission_classes = (IsDevice,)

    @extend_schema(request=AcknowledgementSerializer, responses=CertificateSerializer)
    def post(self, request: Request) -> Response:
        body = validated_body(AcknowledgementSerializer, request)
        certificate = handover.acknowledge(
            device=calling_device(request), serial_number=body["serial_number"], now=clock.now()
        )
        return Response(CertificateSerializer(certificate).data)


class BundleView(APIView):
    """Return the calling device's server-generated key with its certificate and chain.

    The key can be fetched only once. The server then deletes it.
    """

    permission_classes = (IsDevice,)
    content_negotiation_class = SingleFormatNegotiation

    @extend_schema(
        request=BundleRequestSerializer,
        responses={(200, PEM): OpenApiTypes.STR, (200, PKCS_12): OpenApiTypes.BINARY},
    )
    def post(self, request: Request) -> HttpResponse:
        body = validated_body(BundleRequestSerializer, request)
        form = body["form"]
        passphrase = body.get("passphrase", "")
        if form == "pkcs12" and not passphrase:
            raise Required("PKCS #12 requires a passphrase.", field="passphrase")
        bundle = key_delivery.deliver(
            device=calling_device(request),
            form=form,
            passphrase=passphrase,
            store=CertificateManagementService().ca.store,
            now=clock.now(),
        )
        return HttpResponse(
            bundle.content,
            content_type=PEM if form == "pem" else PKCS_12,
            headers={"Cache-Control": "no-store"},
        )
