"""A device's own doors to the authority."""

from django.http import HttpResponse
from django.utils import timezone
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
from core.errors import Invalid
from core.rest.negotiation import OneFormOnly
from devices.registry.api.authentication import IsDevice, calling_device

PEM, PKCS_12 = "application/x-pem-file", "application/x-pkcs12"


class Required(Invalid):
    code = "required"


class MyCertificateView(APIView):
    """The calling device's current certificate with the chain, or a new one.

    With a CSR the new one is for the device's own key. With `key_type` alone the server
    makes the key, which is then fetched, once, from `bundle`.
    """

    permission_classes = (IsDevice,)

    @extend_schema(responses=CertificateWithChainSerializer)
    def get(self, request: Request) -> Response:
        return Response(with_chain(certificate_in_use(calling_device(request))))

    @extend_schema(
        request=IssueSerializer, responses={201: CertificateWithChainSerializer}
    )
    def post(self, request: Request) -> Response:
        body = IssueSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        wanted = body.validated_data
        if not wanted:
            raise Required(
                "A device brings a request for its own key, or says which kind of key "
                "to make for it.",
                field="csr",
            )
        certificate = CertificateManagementService().issue_certificate(
            device=calling_device(request),
            csr_pem=wanted.get("csr"),
            key_type=wanted.get("key_type", "rsa"),
            now=timezone.now(),
        )
        return Response(with_chain(certificate), status.HTTP_201_CREATED)


class AcknowledgeView(APIView):
    """The device holds this certificate now: the one before it is superseded."""

    permission_classes = (IsDevice,)

    @extend_schema(request=AcknowledgementSerializer, responses=CertificateSerializer)
    def post(self, request: Request) -> Response:
        body = AcknowledgementSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        certificate = handover.acknowledge(
            device=calling_device(request),
            serial_number=body.validated_data["serial_number"],
            now=timezone.now(),
        )
        return Response(CertificateSerializer(certificate).data)


class BundleView(APIView):
    """The key that the server made for the device, with certificate and chain; once."""

    permission_classes = (IsDevice,)
    content_negotiation_class = OneFormOnly

    @extend_schema(
        request=BundleRequestSerializer,
        responses={
            (200, PEM): OpenApiTypes.STR,
            (200, PKCS_12): OpenApiTypes.BINARY,
        },
    )
    def post(self, request: Request) -> HttpResponse:
        body = BundleRequestSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        form = body.validated_data["form"]
        passphrase = body.validated_data.get("passphrase", "")
        if form == "pkcs12" and not passphrase:
            raise Required("PKCS #12 wants a passphrase.", field="passphrase")
        bundle = key_delivery.deliver(
            device=calling_device(request),
            form=form,
            passphrase=passphrase,
            store=CertificateManagementService().ca.store,
            now=timezone.now(),
        )
        return HttpResponse(
            bundle.content,
            content_type=PEM if form == "pem" else PKCS_12,
            headers={"Cache-Control": "no-store"},
        )
