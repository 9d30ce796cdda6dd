"""The doors of the authority: parse, one verb, render."""

from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from certificates.api.serializers import (
    AutoRegistrationSerializer,
    CertificateSerializer,
    CertificateWithChainSerializer,
    IssueSerializer,
    RegisteredSerializer,
    RenewalInfoSerializer,
    RevocationSerializer,
    ValidationRequestSerializer,
    ValidationSerializer,
    with_chain,
)
from certificates.models import DeviceCertificate
from certificates.services.certificate_management import (
    CertificateManagementService,
    of_device,
    owned_certificate,
)
from certificates.services.enrollment import enroll
from certificates.services.renewal_windows import ASK_AGAIN_AFTER, window_of
from certificates.services.validation import validate_certificate
from core.rest.pagination import CursorPages
from core.rest.strict import KnownParameters
from devices.registry.api.authentication import IsDeviceOrMember, MayEnroll
from devices.registry.api.views import found, shown
from devices.registry.models import Device, EnrollmentToken
from devices.registry.services.registration import living_device


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
            now=timezone.now(),
        )
        return Response(ValidationSerializer(verdict).data)


class RenewalInfoView(APIView):
    """When to renew a certificate and why (the semantics of RFC 9773)."""

    permission_classes = (IsDeviceOrMember,)

    @extend_schema(responses=RenewalInfoSerializer)
    def get(self, request: Request, serial_number: str) -> Response:
        certificate = owned_certificate(serial_number)
        if isinstance(request.user, Device):
            certificate = of_device(certificate, request.user)
        window = window_of(certificate, now=timezone.now())
        return Response(
            RenewalInfoSerializer(window).data,
            headers={"Retry-After": str(ASK_AGAIN_AFTER)},
        )
