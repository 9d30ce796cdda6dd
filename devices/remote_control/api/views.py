"""The members' doors to remote control: parse, one verb, render."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.rest.pagination import CursorPages
from core.rest.strict import KnownParameters
from devices.registry.api.views import found
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
from tenants.api.permissions import calling_member


class StartView(APIView):
    """Have a device to oneself; who has it already finds their session again."""

    permission_classes = (MayControl,)

    @extend_schema(
        request=None, responses={200: SessionSerializer, 201: SessionSerializer}
    )
    def post(self, request: Request, device_id: UUID) -> Response:
        session, is_new = sessions.start(
            device=found(device_id),
            controller=calling_member(request),
            now=timezone.now(),
        )
        code = status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
        return Response(SessionSerializer(session).data, code)


class EndView(APIView):
    """Let a device go; an administrator ends anybody's session."""

    permission_classes = (MayControl,)

    @extend_schema(request=None, responses=SessionSerializer)
    def post(self, request: Request, device_id: UUID) -> Response:
        session = sessions.end(
            device=found(device_id),
            by=calling_member(request),
            may_end_others=request.user.has_perm("remote_control.end_any_session"),
            now=timezone.now(),
        )
        return Response(SessionSerializer(session).data)


class StatusView(APIView):
    """Whether a device can be controlled, and who does."""

    @extend_schema(responses=StatusSerializer)
    def get(self, request: Request, device_id: UUID) -> Response:
        device, now = found(device_id), timezone.now()
        session = sessions.current(device, now=now)
        steps = NextSteps.objects.filter(device=device)
        size = screen_size.size_of(device)
        told = {
            "device": device.pk,
            "online": device.status == Device.Status.ONLINE,
            "quarantined": device.quarantined_at is not None,
            "session": session,
            "is_mine": session is not None and session.controller == request.user,
            "commands_waiting": steps.values_list("commands_waiting", flat=True).first()
            or 0,
            "screen": size and {"width": size[0], "height": size[1]},
        }
        return Response(StatusSerializer(told).data)


class CommandView(APIView):
    """Tell a device what to do now."""

    permission_classes = (MayControl,)

    @extend_schema(request=CommandFields, responses={201: CommandSerializer})
    def post(self, request: Request, device_id: UUID) -> Response:
        said, now = parsed(CommandFields, request), timezone.now()
        command = issuing.issue(
            device=found(device_id),
            type=said["type"],
            parameters=said.get("parameters", {}),
            by=calling_member(request),
            session_id=said.get("session"),
            wait=wait_of(said),
            now=now,
        )
        return Response(shown(command), status.HTTP_201_CREATED)


class CommandPages(CursorPages):
    def get_ordering(self, request: Request, queryset: Any, view: Any) -> Any:
        return ("-issued_at", "-id")


class Commands(ListAPIView[CommandHistory]):
    """Commands with their lives, the newest first."""

    serializer_class = CommandSerializer
    pagination_class = CommandPages
    filter_backends = (KnownParameters, CommandFilter.Backend)
    filterset_class = CommandFilter

    def get_serializer_context(self) -> dict[str, Any]:
        return {**super().get_serializer_context(), "now": timezone.now()}


@extend_schema_view(get=extend_schema(operation_id="device_commands_list"))
class DeviceCommandsView(Commands):
    """What a device was told, and what came of it."""

    def get_queryset(self) -> QuerySet[CommandHistory]:
        if getattr(self, "swagger_fake_view", False):  # nobody asks of any device
            return CommandHistory.objects.none()
        device = found(self.kwargs["device_id"])
        return CommandHistory.objects.filter(device=device)


class CommandsView(Commands):
    """What the tenant's devices were told, and what came of it."""

    def get_queryset(self) -> QuerySet[CommandHistory]:
        return CommandHistory.objects.all()


class OneCommandView(APIView):
    """One command."""

    @extend_schema(responses=CommandSerializer)
    def get(self, request: Request, command_id: UUID) -> Response:
        return Response(shown(command_with(command_id)))


class CancelView(APIView):
    """Call a command back that the device has not fetched yet."""

    permission_classes = (MayControl,)

    @extend_schema(request=None, responses=CommandSerializer)
    def post(self, request: Request, command_id: UUID) -> Response:
        row = command_expiry.cancel(
            command=command_with(command_id),
            by=calling_member(request).email,
            now=timezone.now(),
        )
        return Response(shown(row))


class CommandTypesView(APIView):
    """The types of commands, with the schemas of their parameters."""

    @extend_schema(
        operation_id="remote_control_command_types", responses=CommandTypesSerializer
    )
    def get(self, request: Request) -> Response:
        allowed = policies.of_tenant().allowed_types
        types = [
            {
                "name": type_.name,
                "label": type_.label,
                "schema": type_.schema,
                "is_gesture": type_.is_gesture,
                "waits_seconds": type_.waits_for and type_.waits_for.total_seconds(),
                "answer_within_seconds": type_.answer_within.total_seconds(),
                "replaces_waiting": type_.replaces_waiting,
                "is_disruptive": type_.is_disruptive,
                "is_allowed": type_.name in allowed,
            }
            for type_ in TYPES.values()
        ]
        return Response(CommandTypesSerializer({"results": types}).data)


class PolicyView(APIView):
    """What the tenant's members may command."""

    permission_classes = (MaySetPolicy,)

    @extend_schema(responses=PolicySerializer)
    def get(self, request: Request) -> Response:
        return Response(PolicySerializer(policies.of_tenant()).data)

    @extend_schema(request=PolicyFields, responses=PolicySerializer)
    def patch(self, request: Request) -> Response:
        said = parsed(PolicyFields, request)
        return Response(
            PolicySerializer(policies.change(now=timezone.now(), **said)).data
        )


class SigningKeysView(APIView):
    """The keys that sign the tenant's commands."""

    permission_classes = (MaySetPolicy,)

    @extend_schema(responses=KeySetSerializer)
    def get(self, request: Request) -> Response:
        return Response(KeySetSerializer(_keys()).data)

    @extend_schema(
        request=None,
        responses={201: KeySetSerializer},
        description="Sign with a new key from now on.",
    )
    def post(self, request: Request) -> Response:
        signing.replace_key(now=timezone.now())
        return Response(KeySetSerializer(_keys()).data, status.HTTP_201_CREATED)


def _keys() -> dict[str, Any]:
    return {"keys": signing.key_set(now=timezone.now())}


def command_with(command_id: UUID) -> CommandHistory:
    command: CommandHistory | None = CommandHistory.objects.filter(
        pk=command_id
    ).first()
    if command is None:
        raise NoSuchCommand
    return command


def shown(command: CommandHistory) -> dict[str, Any]:
    return dict(CommandSerializer(command, context={"now": timezone.now()}).data)


def parsed(kind: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    body = kind(data=request.data)
    body.is_valid(raise_exception=True)
    return dict(body.validated_data)


def wait_of(said: dict[str, Any]) -> timedelta | None:
    seconds = said.get("wait_seconds")
    return None if seconds is None else timedelta(seconds=seconds)
