"""Member API endpoints for sessions, commands, the policy and signing keys."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock
from core.querysets import first_or_raise
from core.rest.bodies import validated_body
from core.rest.strict import RejectUnknownParameters
from devices.registry.api.views import get_device
from devices.registry.models import Device, NextSteps
from devices.remote_control.api.filters import CommandFilter
from devices.remote_control.api.permissions import MayControl, MaySetPolicy
from devices.remote_control.api.serializers import (
    CommandFields,
    CommandSerializer,
    CommandTypesSerializer,
    KeySetSerializer,
    PolicyFields,
    PolicySerializer,
    SessionSerializer,
    StatusSerializer,
)
from devices.remote_control.command_types import TYPES
from devices.remote_control.errors import NoSuchCommand
from devices.remote_control.models import CommandHistory
from devices.remote_control.services import (
    command_expiry,
    issuing,
    policies,
    screen_size,
    sessions,
    signing,
)
from tenants.api.permissions import current_member


class StartView(APIView):
    """Start a session, which gives the caller exclusive control of the device.

    If the caller controls the device already, the existing session is returned.
    """

    permission_classes = (MayControl,)

    @extend_schema(request=None, responses={200: SessionSerializer, 201: SessionSerializer})
    def post(self, request: Request, device_id: UUID) -> Response:
        session, is_new = sessions.start(
            device=get_device(device_id), controller=current_member(request), now=clock.now()
        )
        code = status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
        return Response(SessionSerializer(session).data, code)


class EndView(APIView):
    """End the session on a device. Administrators may end any member's session."""

    permission_classes = (MayControl,)

    @extend_schema(request=None, responses=SessionSerializer)
    def post(self, request: Request, device_id: UUID) -> Response:
        session = sessions.end(
            device=get_device(device_id),
            by=current_member(request),
            may_end_others=request.user.has_perm("remote_control.end_any_session"),
            now=clock.now(),
        )
        return Response(SessionSerializer(session).data)


class StatusView(APIView):
    """Return whether a device can be controlled, and which member controls it."""

    @extend_schema(responses=StatusSerializer)
    def get(self, request: Request, device_id: UUID) -> Response:
        device, now = get_device(device_id), clock.now()
        session = sessions.current(device, now=now)
        steps = NextSteps.objects.filter(device=device)
        size = screen_size.size_of(device)
        data = {
            "device": device.pk,
            "online": device.status == Device.Status.ONLINE,
            "quarantined": device.quarantined_at is not None,
            "session": session,
            "is_mine": session is not None and session.controller == request.user,
            "commands_waiting": steps.values_list("commands_waiting", flat=True).first() or 0,
            "screen": size and {"width": size[0], "height": size[1]},
        }
        return Response(StatusSerializer(data).data)


class CommandView(APIView):
    """Issue a command to a device."""

    permission_classes = (MayControl,)

    @extend_schema(request=CommandFields, responses={201: CommandSerializer})
    def post(self, request: Request, device_id: UUID) -> Response:
        data, now = validated_body(CommandFields, request), clock.now()
        command = issuing.issue(
            device=get_device(device_id),
            type=data["type"],
            parameters=data.get("parameters", {}),
            by=current_member(request),
            session_id=data.get("session"),
            wait=wait_from(data),
            now=now,
        )
        return Response(command_data(command), status.HTTP_201_CREATED)


class CommandListView(ListAPIView[CommandHistory]):
    """List commands with their status and times, newest first."""

    serializer_class = CommandSerializer
    ordering = ("-issued_at", "-id")
    filter_backends = (RejectUnknownParameters, CommandFilter.Backend)
    filterset_class = CommandFilter

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "now": clock.now()}


@extend_schema_view(get=extend_schema(operation_id="device_commands_list"))
class DeviceCommandsView(CommandListView):
    """List a device's commands, newest first."""

    def get_queryset(self) -> QuerySet[CommandHistory]:
        # Schema generation passes no device id.
        if getattr(self, "swagger_fake_view", False):
            return CommandHistory.objects.none()
        device = get_device(self.kwargs["device_id"])
        return CommandHistory.objects.filter(device=device)


class CommandsView(CommandListView):
    """List the commands of all devices of the tenant, newest first."""

    def get_queryset(self) -> QuerySet[CommandHistory]:
        return CommandHistory.objects.all()


class OneCommandView(APIView):
    """Return one command."""

    @extend_schema(responses=CommandSerializer)
    def get(self, request: Request, command_id: UUID) -> Response:
        return Response(command_data(command_or_404(command_id)))


class CancelView(APIView):
    """Cancel a command that the device has not fetched yet."""

    permission_classes = (MayControl,)

    @extend_schema(request=None, responses=CommandSerializer)
    def post(self, request: Request, command_id: UUID) -> Response:
        row = command_expiry.cancel(
            command=command_or_404(command_id), by=current_member(request).email, now=clock.now()
        )
        return Response(command_data(row))


class CommandTypesView(APIView):
    """List the command types with the JSON Schemas of their parameters."""

    @extend_schema(operation_id="remote_control_command_types", responses=CommandTypesSerializer)
    def get(self, request: Request) -> Response:
        allowed = policies.of_tenant().allowed_types
        types = [
            {
                "name": type_.name,
                "label": type_.label,
                "schema": type_.schema,
                "is_gesture": type_.is_gesture,
                "waits_seconds": type_.default_wait and type_.default_wait.total_seconds(),
                "answer_within_seconds": type_.answer_within.total_seconds(),
                "replaces_waiting": type_.replaces_waiting,
                "is_disruptive": type_.is_disruptive,
                "is_allowed": type_.name in allowed,
            }
            for type_ in TYPES.values()
        ]
        return Response(CommandTypesSerializer({"results": types}).data)


class PolicyView(APIView):
    """Return or change the tenant's remote control policy."""

    permission_classes = (MaySetPolicy,)

    @extend_schema(responses=PolicySerializer)
    def get(self, request: Request) -> Response:
        return Response(PolicySerializer(policies.of_tenant()).data)

    @extend_schema(request=PolicyFields, responses=PolicySerializer)
    def patch(self, request: Request) -> Response:
        data = validated_body(PolicyFields, request)
        policy = policies.change(now=clock.now(), **data)
        return Response(PolicySerializer(policy).data)


class SigningKeysView(APIView):
    """Return the public keys that verify the tenant's commands, or replace the signing key."""

    permission_classes = (MaySetPolicy,)

    @extend_schema(responses=KeySetSerializer)
    def get(self, request: Request) -> Response:
        return Response(KeySetSerializer(_key_set()).data)

    @extend_schema(
        request=None,
        responses={201: KeySetSerializer},
        description="Create a new key, which signs commands from now on.",
    )
    def post(self, request: Request) -> Response:
        signing.replace_key(now=clock.now())
        return Response(KeySetSerializer(_key_set()).data, status.HTTP_201_CREATED)


def _key_set() -> dict[str, Any]:
    return {"keys": signing.key_set(now=clock.now())}


def command_or_404(command_id: UUID) -> CommandHistory:
    rows = CommandHistory.objects.filter(pk=command_id)
    return first_or_raise(rows, NoSuchCommand)


def command_data(command: CommandHistory) -> dict[str, Any]:
    return dict(CommandSerializer(command, context={"now": clock.now()}).data)


def wait_from(data: dict[str, Any]) -> timedelta | None:
    """Return the `wait_seconds` field as a time span."""
    seconds = data.get("wait_seconds")
    return None if seconds is None else timedelta(seconds=seconds)
