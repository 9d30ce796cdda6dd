"""The doors of the registry: parse, one verb, render."""

from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.rest.negotiation import OneFormOnly
from core.rest.strict import KnownParameters
from devices.registry.api.authentication import IsDevice, MayConnect, calling_device
from devices.registry.api.filters import DeviceListFilter, DeviceOrdering
from devices.registry.api.serializers import (
    ConnectedSerializer,
    ConnectSerializer,
    DeviceSerializer,
    DeviceUpdateSerializer,
    ManualRegistrationSerializer,
    QuarantineSerializer,
    ReregistrationDecisionSerializer,
    TokenSerializer,
)
from devices.registry.errors import NoSuchDevice
from devices.registry.models import Device
from devices.registry.services import (
    credentials,
    presence,
    quarantine,
    registration,
    reregistration,
)
from tenants.context import current_caller


class DevicesView(ListAPIView[Device]):
    """The tenant's devices, and the manual registration of one more."""

    serializer_class = DeviceSerializer
    filter_backends = (KnownParameters, DeviceListFilter.Backend, DeviceOrdering)
    filterset_class = DeviceListFilter

    def get_queryset(self) -> QuerySet[Device]:
        return with_details(Device.objects.all())

    @extend_schema(
        request=ManualRegistrationSerializer, responses={201: DeviceSerializer}
    )
    def post(self, request: Request) -> Response:
        body = ManualRegistrationSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        device = registration.register(
            box=body.box(), tags=body.validated_data.get("tags", ()), now=timezone.now()
        )
        return Response(shown(device.pk), status.HTTP_201_CREATED)


class DeviceView(APIView):
    """One device of the tenant."""

    @extend_schema(responses=DeviceSerializer)
    def get(self, request: Request, device_id: UUID) -> Response:
        return Response(shown(device_id))

    @extend_schema(request=DeviceUpdateSerializer, responses=DeviceSerializer)
    def patch(self, request: Request, device_id: UUID) -> Response:
        body = DeviceUpdateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        device = found(device_id)
        registration.update(device=device, now=timezone.now(), **body.validated_data)
        return Response(shown(device_id))

    @extend_schema(responses={204: None}, description="Retire the device; for good.")
    def delete(self, request: Request, device_id: UUID) -> Response:
        registration.retire(device=found(device_id), now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class DeviceTokenView(APIView):
    """A fresh token for a device; its earlier one is void."""

    @extend_schema(request=None, responses={201: TokenSerializer})
    def post(self, request: Request, device_id: UUID) -> Response:
        token = credentials.issue_device_token(found(device_id), now=timezone.now())
        return Response({"token": token}, status.HTTP_201_CREATED)


class QuarantineView(APIView):
    """Give a device nothing but the answer to its connects."""

    @extend_schema(request=QuarantineSerializer, responses=DeviceSerializer)
    def post(self, request: Request, device_id: UUID) -> Response:
        body = QuarantineSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        reason = body.validated_data.get("reason", "")
        quarantine.quarantine(
            device=found(device_id), reason=reason, now=timezone.now()
        )
        return Response(shown(device_id))


class ReleaseView(APIView):
    """Trust a device again that was in quarantine."""

    @extend_schema(request=None, responses=DeviceSerializer)
    def post(self, request: Request, device_id: UUID) -> Response:
        quarantine.release(device=found(device_id), now=timezone.now())
        return Response(shown(device_id))


class ReregistrationView(APIView):
    """Answer a known box that asks to register again."""

    @extend_schema(request=ReregistrationDecisionSerializer, responses=DeviceSerializer)
    def post(self, request: Request, device_id: UUID) -> Response:
        body = ReregistrationDecisionSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        reregistration.decide(
            device=found(device_id),
            allow=body.validated_data["allow"],
            now=timezone.now(),
        )
        return Response(shown(device_id))


class ConnectView(APIView):
    """A sign of life from the calling device; the answer says what to do next."""

    permission_classes = (MayConnect,)
    content_negotiation_class = OneFormOnly

    # Made once: a serializer per request would copy its fields each time.
    body = ConnectSerializer()

    @extend_schema(request=ConnectSerializer, responses=ConnectedSerializer)
    def post(self, request: Request) -> Response:
        said: dict[str, Any] = self.body.run_validation(request.data)
        report = presence.Report(
            app_version=said.get("app_version"),
            os_version=said.get("os_version"),
            ip_address=said.get("ip_address") or current_caller().address,
        )
        now = timezone.now()
        steps = presence.connect(device=calling_device(request), report=report, now=now)
        return Response(
            {
                "device_id": str(calling_device(request).pk),
                "status": Device.Status.ONLINE.value,
                "server_time": now.isoformat().replace("+00:00", "Z"),
                "next_connect_in": settings.CONNECT_INTERVAL_SECONDS,
                "quarantined": calling_device(request).quarantined_at is not None,
                "next_steps": steps,
            }
        )


class MeView(APIView):
    """The calling device's own record."""

    permission_classes = (IsDevice,)

    @extend_schema(responses=DeviceSerializer)
    def get(self, request: Request) -> Response:
        return Response(shown(calling_device(request).pk))


def with_details(devices: QuerySet[Device]) -> QuerySet[Device]:
    """With all that `DeviceSerializer` shows, in a fixed number of queries."""
    beside = ("hardware", "reregistration", "next_steps")
    return devices.select_related(*beside).prefetch_related(
        "identifiers", "device_tags__tag"
    )


def found(device_id: UUID) -> Device:
    device: Device | None = Device.objects.filter(pk=device_id).first()
    if device is None:
        raise NoSuchDevice
    return device


def shown(device_id: UUID) -> dict[str, Any]:
    device = with_details(Device.objects.filter(pk=device_id)).first()
    if device is None:
        raise NoSuchDevice
    return dict(DeviceSerializer(device).data)
