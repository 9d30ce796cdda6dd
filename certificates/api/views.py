"""The doors of the authority: parse, one verb, render."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from certificates.api.serializers import (
    AutoRegistrationSerializer,
    CertificateSerializer,
    CertificateWithChainSerializer,
    IssueSerializer,
    RegisteredSerializer,
    RevocationSerializer,
    ValidationRequestSerializer,
    ValidationSerializer,
)
from certificates.device_certificates import DeviceCertificatesService
from certificates.enrollment import enroll
from certificates.management_service import (
    CertificateManagementService,
    certificate_in_use,
    owned_certificate,
)
from certificates.models import DeviceCertificate
from certificates.validation import validate_certificate
from devices.api.views import found, shown
from devices.authentication import IsDevice, MayEnroll, calling_device
from devices.models import EnrollmentToken
from devices.registration import living_device
from provisioning.errors import Invalid
from provisioning.rest.negotiation import OneFormOnly
from provisioning.rest.paging import CursorPages
from provisioning.rest.strict import KnownParameters


class NewestFirst(CursorPages):
    ordering = ("-reserved_at", "-id")


class AutoRegisterView(APIView):
    """A box registers itself; it stands here because a CSR asks for a certificate."""

    permission_classes = (MayEnroll,)

    @extend_schema(
        request=AutoRegistrationSerializer,
        responses={200: RegisteredSerializer, 201: RegisteredSerializer},
    )
    def post(self, request: Request) -> Response:
        body = AutoRegistrationSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        admission = request.auth if isinstance(request.auth, EnrollmentToken) else None
        enrollment = enroll(
            box=body.box(),
            csr_pem=body.validated_data.get("csr"),
            admission=admission,
            service=CertificateManagementService(),
            now=timezone.now(),
        )
        registered, certificate = enrollment.registration, enrollment.certificate
        return Response(
            {
                "device": shown(registered.device.pk),
                "token": registered.token,
                "certificate": with_chain(certificate) if certificate else None,
            },
            status.HTTP_201_CREATED if registered.created else status.HTTP_200_OK,
        )


class DeviceCertificatesView(ListAPIView[DeviceCertificate]):
    """The certificates of one device, the newest first, and the issue of another."""

    serializer_class = CertificateSerializer
    pagination_class = NewestFirst
    filter_backends = (KnownParameters,)

    def get_queryset(self) -> QuerySet[DeviceCertificate]:
        device = found(self.kwargs["device_id"])
        certificates = DeviceCertificate.objects.signed().of_device(device.pk)
        return certificates.select_related("replaces")

    @extend_schema(
        request=IssueSerializer, responses={201: CertificateWithChainSerializer}
    )
    def post(self, request: Request, device_id: UUID) -> Response:
        body = IssueSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        certificate = CertificateManagementService().issue_certificate(
            device=living_device(device_id),
            csr_pem=body.validated_data.get("csr"),
            key_type=body.validated_data.get("key_type", "rsa"),
            now=timezone.now(),
        )
        return Response(with_chain(certificate), status.HTTP_201_CREATED)


class CertificateView(APIView):
    """One certificate of the tenant's devices."""

    @extend_schema(responses=CertificateWithChainSerializer)
    def get(self, request: Request, serial_number: str) -> Response:
        return Response(with_chain(owned_certificate(serial_number)))


class RenewView(APIView):
    """A new certificate in the place of this one; the device finds it at its connect."""

    @extend_schema(request=None, responses={201: CertificateWithChainSerializer})
    def post(self, request: Request, serial_number: str) -> Response:
        renewed = CertificateManagementService().renew_certificate(
            owned_certificate(serial_number), now=timezone.now()
        )
        return Response(with_chain(renewed), status.HTTP_201_CREATED)


class RevokeView(APIView):
    """The end of the trust in a certificate; twice is once."""

    @extend_schema(request=RevocationSerializer, responses=CertificateSerializer)
    def post(self, request: Request, serial_number: str) -> Response:
        body = RevocationSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        revoked = CertificateManagementService().revoke_certificate(
            owned_certificate(serial_number),
            reason=body.validated_data["reason"],
            now=timezone.now(),
        )
        return Response(CertificateSerializer(revoked).data)


class ValidateView(APIView):
    """Whether a presented certificate may be trusted, with every reason why not."""

    @extend_schema(request=ValidationRequestSerializer, responses=ValidationSerializer)
    def post(self, request: Request) -> Response:
        body = ValidationRequestSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        verdict = validate_certificate(
            body.validated_data["certificate"],
            ca=DeviceCertificatesService(),
            now=timezone.now(),
        )
        return Response(ValidationSerializer(verdict).data)


class MyCertificateView(APIView):
    """The calling device's current certificate with the chain, or a new one for a CSR."""

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
        if "csr" not in body.validated_data:
            raise CsrRequired("A device brings a request for its own key.", field="csr")
        certificate = CertificateManagementService().issue_certificate(
            device=calling_device(request),
            csr_pem=body.validated_data["csr"],
            now=timezone.now(),
        )
        return Response(with_chain(certificate), status.HTTP_201_CREATED)


class CsrRequired(Invalid):
    code = "required"


class AuthorityView(APIView):
    """The CA's certificate and those above it, in PEM; public."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    content_negotiation_class = OneFormOnly

    @extend_schema(responses={(200, "application/x-pem-file"): OpenApiTypes.STR})
    def get(self, request: HttpRequest) -> HttpResponse:
        service = CertificateManagementService()
        service.authority(now=timezone.now())
        return HttpResponse(
            service.ca.chain_pem(),
            content_type="application/x-pem-file",
            headers={"Cache-Control": "public, max-age=3600"},
        )


def with_chain(certificate: DeviceCertificate) -> dict[str, Any]:
    return {
        **CertificateSerializer(certificate).data,
        "chain": DeviceCertificatesService().chain_pem(),
    }
