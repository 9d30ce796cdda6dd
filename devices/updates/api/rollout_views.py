"""The members' doors to rollouts."""

from collections.abc import Callable
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
from devices.remote_control.api.views import parsed
from devices.updates.api.filters import RolloutListFilter, StatusFilter
from devices.updates.api.package_views import get_package
from devices.updates.api.permissions import MaySetPolicy
from devices.updates.api.rollout_serializers import (
    DeviceUpdateSerializer,
    FailuresSerializer,
    PlanSerializer,
    ReasonFields,
    RolloutChanges,
    RolloutDetailSerializer,
    RolloutFields,
    RolloutSerializer,
)
from devices.updates.api.serializers import UpdatePolicyFields, UpdatePolicySerializer
from devices.updates.errors import RolloutNotFound
from devices.updates.models import Deployment, UpdateStatus
from devices.updates.services import failures, policies, rollout_control, rollouts
from tenants.api.permissions import calling_member


class RolloutPages(CursorPages):
    def get_ordering(self, request: Request, queryset: Any, view: Any) -> Any:
        return ("-created_at", "-id")


class RolloutsView(ListAPIView[Deployment]):
    """Rollouts, the newest first; and the draft of one more."""

    serializer_class = RolloutSerializer
    pagination_class = RolloutPages
    filter_backends = (KnownParameters, RolloutListFilter.Backend)
    filterset_class = RolloutListFilter

    def get_queryset(self) -> QuerySet[Deployment]:
        return _rollouts()

    @extend_schema(
        request=RolloutFields,
        responses={200: PlanSerializer, 201: RolloutDetailSerializer},
        description="With `dry_run` nothing is made: 200 says what it would come to.",
    )
    def post(self, request: Request) -> Response:
        said = parsed(RolloutFields, request)
        package = get_package(said.pop("package"))
        name, is_dry = said.pop("name", ""), said.pop("dry_run", False)
        if is_dry:
            plan = rollouts.preview(package=package, said=said, now=timezone.now())
            return Response(PlanSerializer(plan).data)
        row = rollouts.create(
            package=package,
            name=name,
            said=said,
            by=calling_member(request),
            now=timezone.now(),
        )
        return Response(_rollout_data(row.pk), status.HTTP_201_CREATED)


class RolloutView(APIView):
    """One rollout, with its waves."""

    @extend_schema(responses=RolloutDetailSerializer)
    def get(self, request: Request, rollout_id: UUID) -> Response:
        return Response(_rollout_data(rollout_id))

    @extend_schema(
        request=RolloutChanges,
        responses=RolloutDetailSerializer,
        description="What has begun keeps its filter and its start, and its waves can"
        " be made larger only: that adds devices and moves none.",
    )
    def patch(self, request: Request, rollout_id: UUID) -> Response:
        said = parsed(RolloutChanges, request)
        rollouts.change(deployment=get_rollout(rollout_id), now=timezone.now(), **said)
        return Response(_rollout_data(rollout_id))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, rollout_id: UUID) -> Response:
        rollouts.delete(deployment=get_rollout(rollout_id))
        return Response(status=status.HTTP_204_NO_CONTENT)


class StatusPages(CursorPages):
    def get_ordering(self, request: Request, queryset: Any, view: Any) -> Any:
        return ("-opened_at", "-id")


class StatusesView(ListAPIView[UpdateStatus]):
    serializer_class = DeviceUpdateSerializer
    pagination_class = StatusPages
    filter_backends = (KnownParameters, StatusFilter.Backend)
    filterset_class = StatusFilter


@extend_schema_view(get=extend_schema(operation_id="rollout_devices_list"))
class RolloutDevicesView(StatusesView):
    """How far each device of a rollout has come."""

    def get_queryset(self) -> QuerySet[UpdateStatus]:
        rows = UpdateStatus.objects.select_related("device", "deployment", "wave")
        if getattr(self, "swagger_fake_view", False):  # nobody asks of any rollout
            return rows.none()
        return rows.filter(deployment=get_rollout(self.kwargs["rollout_id"]))


@extend_schema_view(get=extend_schema(operation_id="device_updates_list"))
class DeviceUpdatesView(StatusesView):
    """The updates of a device, the newest first."""

    def get_queryset(self) -> QuerySet[UpdateStatus]:
        rows = UpdateStatus.objects.select_related("device", "deployment", "wave")
        if getattr(self, "swagger_fake_view", False):  # nobody asks of any device
            return rows.none()
        return rows.filter(device=found(self.kwargs["device_id"]))


class FailuresView(APIView):
    """What went wrong in a rollout, by error."""

    @extend_schema(operation_id="rollout_failures", responses=FailuresSerializer)
    def get(self, request: Request, rollout_id: UUID) -> Response:
        kinds = failures.by_error_code(get_rollout(rollout_id))
        return Response(FailuresSerializer({"results": kinds}).data)


class PolicyView(APIView):
    """How the tenant's updates are rolled out."""

    permission_classes = (MaySetPolicy,)

    @extend_schema(responses=UpdatePolicySerializer)
    def get(self, request: Request) -> Response:
        return Response(UpdatePolicySerializer(policies.current_policy()).data)

    @extend_schema(request=UpdatePolicyFields, responses=UpdatePolicySerializer)
    def patch(self, request: Request) -> Response:
        said = parsed(UpdatePolicyFields, request)
        policy = policies.change(now=timezone.now(), **said)
        return Response(UpdatePolicySerializer(policy).data)


Action = Callable[..., Deployment]


def _action_view(
    name: str,
    act: Action,
    sentence: str,
    *,
    body: type[serializers.Serializer[Any]] | None = None,
    needs_member: bool = False,
) -> type[APIView]:
    """A door for one verb; the answer is the rollout as it then is."""

    class ActionView(APIView):
        @extend_schema(
            operation_id=f"rollout_{name}",
            request=body,
            responses=RolloutDetailSerializer,
            description=sentence,
        )
        def post(self, request: Request, rollout_id: UUID) -> Response:
            said = parsed(body, request) if body else {}
            if needs_member:
                said["by"] = calling_member(request)
            row = act(deployment=get_rollout(rollout_id), now=timezone.now(), **said)
            return Response(_rollout_data(row.pk))

    ActionView.__doc__ = sentence
    return ActionView


ACTIONS: dict[str, type[APIView]] = {
    "start": _action_view(
        "start",
        rollout_control.start,
        "Let a draft begin; a large one waits for a second person.",
        needs_member=True,
    ),
    "approve": _action_view(
        "approve",
        rollout_control.approve,
        "Let one begin that somebody else has asked for.",
        needs_member=True,
    ),
    "pause": _action_view(
        "pause", rollout_control.pause, "Let nobody begin for now.", body=ReasonFields
    ),
    "resume": _action_view("resume", rollout_control.resume, "Go on."),
    "abort": _action_view(
        "abort",
        rollout_control.abort,
        "End it: who has not begun to install does not.",
        body=ReasonFields,
    ),
    "retry": _action_view(
        "retry", rollout_control.retry, "Have the devices try again that have failed."
    ),
    "next-wave": _action_view(
        "next_wave",
        rollout_control.start_next_wave,
        "Let the next wave begin, whatever is known of the one before.",
    ),
    "rollback": _action_view(
        "rollback",
        rollout_control.roll_back,
        "Tell each device that took it to go back; the answer is that rollout.",
        needs_member=True,
    ),
}


def get_rollout(rollout_id: UUID) -> Deployment:
    row: Deployment | None = _rollouts().filter(pk=rollout_id).first()
    if row is None:
        raise RolloutNotFound
    return row


def _rollouts() -> QuerySet[Deployment]:
    rows: QuerySet[Deployment] = Deployment.objects.select_related(
        *("product", "package", "created_by", "requested_by", "approved_by")
    )
    return rows


def _rollout_data(rollout_id: UUID) -> dict[str, Any]:
    context = {"now": timezone.now()}
    row = get_rollout(rollout_id)
    return dict(RolloutDetailSerializer(row, context=context).data)
