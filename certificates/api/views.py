"""Certificate endpoints for members, and the registration of devices."""

from uuid import UUID

from django.db.models import QuerySet
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
from certificates.services.renewal_windows import RETRY_AFTER, window_of
from certificates.services.validation import validate_certificate
from core import clock
from core.rest.bodies import validated_body
from core.rest.ignored import ignored_response
from core.rest.negotiation import SingleFormatNegotiation
from core.rest.parsers import DeviceJSONParser
from core.rest.strict import RejectUnknownParameters
from core.rest.tolerant import read_message
from devices.registry.api.authentication import IsDeviceOrMember, MayEnroll
from devices.registry.api.serializers import report_from
from devices.registry.api.views import get_device, registered_device
from devices.registry.models import Device, EnrollmentToken
from devices.registry.services import unreadable_fields
from devices.registry.services.registration import get_not_retired_device


class AutoRegisterView(APIView):
    """Register the calling device. If it sends a CSR, issue its certificate too.

    The status is 200 if the device was registered before, and 201 if it is new.
    """

    runs_own_transactions = True
    permission_classes = (MayEnroll,)
    parser_classes = (DeviceJSONParser,)
    content_negotiation_class = SingleFormatNegotiation

    # Created once, because a new serializer for each request would copy all fields.
    body = AutoRegistrationSerializer()

    @extend_schema(
        request=AutoRegistrationSerializer,
        responses={200: RegisteredSerializer, 201: RegisteredSerializer},
    )
    def post(self, request: Request) -> Response:
        message = read_message(self.body, request)
        enrollment_token = request.auth if isinstance(request.auth, EnrollmentToken) else None
        enrollment = enroll(
            report=report_from(message.fields),
            csr_pem=message.fields.get("csr"),
            enrollment_token=enrollment_token,
            service=CertificateManagementService(),
            now=clock.now(),
        )
        registered, certificate = enrollment.registration, enrollment.certificate
        ignored = [*message.ignored, *registered.ignored]
        unreadable_fields.note(registered.device, ignored, now=clock.now())
        return Response(
            {
                "device": registered_device(registered),
                "token": registered.token,
                "certificate": with_chain(certificate) if certificate else None,
                "ignored": ignored_response(ignored),
            },
            status.HTTP_201_CREATED if registered.created else status.HTTP_200_OK,
        )


class DeviceCertificatesView(ListAPIView[DeviceCertificate]):
    """List the certificates of a device, the newest first, or issue a new certificate."""

    runs_own_transactions = True
    serializer_class = CertificateSerializer
    ordering = ("-reserved_at", "-id")
    filter_backends = (RejectUnknownParameters,)

    def get_queryset(self) -> QuerySet[DeviceCertificate]:
        device = get_device(self.kwargs["device_id"])
        certificates = DeviceCertificate.objects.signed().of_device(device.pk)
        return certificates.select_related("replaces")

    @extend_schema(request=IssueSerializer, responses={201: CertificateWithChainSerializer})
    def post(self, request: Request, device_id: UUID) -> Response:
        body = validated_body(IssueSerializer, request)
        certificate = CertificateManagementService().issue_certificate(
            device=get_not_retired_device(device_id),
            csr_pem=body.get("csr"),
            key_type=body.get("key_type", "rsa"),
            now=clock.now(),
        )
        return Response(with_chain(certificate), status.HTTP_201_CREATED)


class CertificateView(APIView):
    """Return a certificate by its serial number."""

    @extend_schema(responses=CertificateWithChainSerializer)
    def get(self, request: Request, serial_number: str) -> Response:
        return Response(with_chain(owned_certificate(serial_number)))


class RenewView(APIView):
    """Renew a certificate. The `connect` response tells the device to fetch the new one."""

    runs_own_transactions = True

    @extend_schema(request=None, responses={201: CertificateWithChainSerializer})
    def post(self, request: Request, serial_number: str) -> Response:
        renewed = CertificateManagementService().renew_certificate(
            owned_certificate(serial_number), now=clock.now()
        )
        return Response(with_chain(renewed), status.HTTP_201_CREATED)


class RevokeView(APIView):
    """Revoke a certificate.

    If the certificate is already revoked, only one change has an effect: its reason can
    still be changed to `keyCompromise`.
    """

    @extend_schema(request=RevocationSerializer, responses=CertificateSerializer)
    def post(self, request: Request, serial_number: str) -> Response:
        body = validated_body(RevocationSerializer, request)
        revoked = CertificateManagementService().revoke_certificate(
            owned_certificate(serial_number), reason=body["reason"], now=clock.now()
        )
        return Response(CertificateSerializer(revoked).data)


class ValidateView(APIView):
    """Check whether a certificate is valid, and list every reason why it is not."""

    @extend_schema(request=ValidationRequestSerializer, responses=ValidationSerializer)
    def post(self, request: Request) -> Response:
        body = validated_body(ValidationRequestSerializer, request)
        validation = validate_certificate(body["certificate"], now=clock.now())
        return Response(ValidationSerializer(validation).data)


class RenewalInfoView(APIView):
    """Return when to renew a certificate and why (semantics of RFC 9773)."""

    permission_classes = (IsDeviceOrMember,)

    @extend_schema(responses=RenewalInfoSerializer)
    def get(self, request: Request, serial_number: str) -> Response:
        certificate = owned_certificate(serial_number)
        if isinstance(request.user, Device):
            certificate = of_device(certificate, request.user)
        window = window_of(certificate, now=clock.now())
        return Response(
            RenewalInfoSerializer(window).data, headers={"Retry-After": str(RETRY_AFTER)}
        )
