"""Endpoints of the device registry."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock
from core.querysets import first_or_raise
from core.rest.bodies import validated_body
from core.rest.negotiation import SingleFormatNegotiation
from core.rest.parsers import DeviceJSONParser
from core.rest.strict import RejectUnknownParameters
from devices.registry.api.authentication import IsDevice, MayConnect, calling_device
from devices.registry.api.connect_answer import connect_answer
from devices.registry.api.device_answer import device_answer
from devices.registry.api.device_messages import read_device_message
from devices.registry.api.filters import DeviceListFilter, DeviceOrdering
from devices.registry.api.serializers import (
    ConnectedSerializer,
    ConnectSerializer,
    DeviceSerializer,
    DeviceUpdateSerializer,
    ManualRegistrationSerializer,
    QuarantineSerializer,
    ReplacementFields,
    ReregistrationDecisionSerializer,
    TokenSerializer,
    report_from,
)
from devices.registry.details import with_details
from devices.registry.errors import DeviceNotFound
from devices.registry.models import Device, Site
from devices.registry.services import (
    credentials,
    device_details,
    presence,
    quarantine,
    registration,
    replacement,
    reregistration,
    retirement,
)
from devices.registry.services.registration import Registration
from devices.registry.services.sites import find_site
from tenants.context import current_caller


class DevicesView(ListAPIView[Device]):
    """List the tenant's devices; register a device by hand."""

    serializer_class = DeviceSerializer
    filter_backends = (RejectUnknownParameters, DeviceListFilter.Backend, DeviceOrdering)
    filterset_class = DeviceListFilter

    def get_queryset(self) -> QuerySet[Device]:
        return with_details(Device.objects.all())

    @extend_schema(request=ManualRegistrationSerializer, responses={201: DeviceSerializer})
    def post(self, request: Request) -> Response:
        body = ManualRegistrationSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        device = registration.register(
            report=report_from(body.validated_data),
            tags=body.validated_data.get("tags", ()),
            site=_site(body.validated_data.get("site")),
            now=clock.now(),
        )
        return Response(device_response(device.pk), status.HTTP_201_CREATED)


class DeviceView(APIView):
    """Read, change and retire a device."""

    @extend_schema(responses=DeviceSerializer)
    def get(self, request: Request, device_id: UUID) -> Response:
        return Response(device_response(device_id))

    @extend_schema(request=DeviceUpdateSerializer, responses=DeviceSerializer)
    def patch(self, request: Request, device_id: UUID) -> Response:
        body = validated_body(DeviceUpdateSerializer, request)
        device = get_device(device_id)
        if "site" in body:
            body["site"] = _site(body["site"])
        device_details.update(device=device, now=clock.now(), **body)
        return Response(device_response(device_id))

    @extend_schema(responses={204: None}, description="Retire the device. This cannot be undone.")
    def delete(self, request: Request, device_id: UUID) -> Response:
        retirement.retire(device=get_device(device_id), now=clock.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class DeviceTokenView(APIView):
    """Issue a new token for a device. The previous token is revoked immediately."""

    @extend_schema(request=None, responses={201: TokenSerializer})
    def post(self, request: Request, device_id: UUID) -> Response:
        token = credentials.issue_device_token(get_device(device_id), now=clock.now())
        return Response({"token": token}, status.HTTP_201_CREATED)


class ReplacementView(APIView):
    """Let a new device take over the name, site, tags, configuration and settings of a device.

    The device is retired. The response is the new device.
    """

    @extend_schema(request=ReplacementFields, responses=DeviceSerializer)
    def post(self, request: Request, device_id: UUID) -> Response:
        failed = get_device(device_id)
        body = validated_body(ReplacementFields, request)
        successors = Device.objects.filter(pk=body["replacement"])
        missing = DeviceNotFound("The new device does not exist.", field="replacement")
        successor = first_or_raise(successors, missing)
        replacement.replace(failed=failed, by=successor, now=clock.now())
        return Response(device_response(successor.pk))


class QuarantineView(APIView):
    """Put a device into quarantine. Only its `connect` requests are still accepted."""

    @extend_schema(request=QuarantineSerializer, responses=DeviceSerializer)
    def post(self, request: Request, device_id: UUID) -> Response:
        body = validated_body(QuarantineSerializer, request)
        reason = body.get("reason", "")
        quarantine.quarantine(device=get_device(device_id), reason=reason, now=clock.now())
        return Response(device_response(device_id))


class ReleaseView(APIView):
    """Release a device from quarantine."""

    @extend_schema(request=None, responses=DeviceSerializer)
    def post(self, request: Request, device_id: UUID) -> Response:
        quarantine.release(device=get_device(device_id), now=clock.now())
        return Response(device_response(device_id))


class ReregistrationView(APIView):
    """Allow or deny a device's request to register again."""

    @extend_schema(request=ReregistrationDecisionSerializer, responses=DeviceSerializer)
    def post(self, request: Request, device_id: UUID) -> Response:
        body = validated_body(ReregistrationDecisionSerializer, request)
        reregistration.decide(device=get_device(device_id), allow=body["allow"], now=clock.now())
        return Response(device_response(device_id))


class ConnectView(APIView):
    """Update the last-seen time of the calling device. Return its next steps."""

    permission_classes = (MayConnect,)
    parser_classes = (DeviceJSONParser,)
    content_negotiation_class = SingleFormatNegotiation

    # Created once, because a new serializer for each request would copy all fields.
    body = ConnectSerializer()

    @extend_schema(request=ConnectSerializer, responses=ConnectedSerializer)
    def post(self, request: Request) -> Response:
        message = read_device_message(self.body, request)
        data = message.fields
        report = presence.ConnectReport(
            app_version=data.get("app_version"),
            os_version=data.get("os_version"),
            ip_address=data.get("ip_address") or current_caller().address,
            boot_id=data.get("boot_id"),
            report_number=data.get("report_number"),
            certificate_serial_number=data.get("certificate_serial_number"),
        )
        device, now = calling_device(request), clock.now()
        steps = presence.connect(device=device, report=report, now=now)
        return Response(connect_answer(device, steps, ignored=message.ignored, now=now))


class MeView(APIView):
    """Return the calling device."""

    permission_classes = (IsDevice,)

    @extend_schema(responses=DeviceSerializer)
    def get(self, request: Request) -> Response:
        return Response(response_to_device(calling_device(request).pk))


def _site(value: str | None) -> Site | None:
    return None if value is None else find_site(value)


def get_device(device_id: UUID) -> Device:
    """Return the current tenant's device with this id.

    Raises:
        DeviceNotFound: the tenant has no device with this id.
    """
    return first_or_raise(Device.objects.filter(pk=device_id), DeviceNotFound)


def registered_device(registration: Registration) -> dict[str, Any]:
    """Return the serialized device of a registration. That of a new one needs no query."""
    device = registration.device
    return device_answer(device) if registration.created else response_to_device(device.pk)


def device_response(device_id: UUID) -> dict[str, Any]:
    """Return the serialized device with this id.

    Raises:
        DeviceNotFound: the tenant has no device with this id.
    """
    device = first_or_raise(with_details(Device.objects.filter(pk=device_id)), DeviceNotFound)
    return device_answer(device)


def response_to_device(device_id: UUID) -> dict[str, Any]:
    """Return the serialized device without what members note about it."""
    return {**device_response(device_id), "notes": "", "attributes": {}}
