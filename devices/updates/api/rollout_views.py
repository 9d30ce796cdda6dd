"""API of rollouts, updates of devices and the update policy."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock
from core.querysets import first_or_raise
from core.rest.bodies import validated_body
from core.rest.strict import RejectUnknownParameters
from devices.registry.api.views import get_device
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
from tenants.api.permissions import IsInteractive, IsMember, current_member


class RolloutsView(ListAPIView[Deployment]):
    """List rollouts, the newest first. Or create a draft of a rollout."""

    serializer_class = RolloutSerializer
    ordering = ("-created_at", "-id")
    filter_backends = (RejectUnknownParameters, RolloutListFilter.Backend)
    filterset_class = RolloutListFilter

    def get_queryset(self) -> QuerySet[Deployment]:
        return _rollouts()

    @extend_schema(
        request=RolloutFields,
        responses={200: PlanSerializer, 201: RolloutDetailSerializer},
        description="Create a draft. With `dry_run`, nothing is created. The response is then"
        " 200 with the devices that the rollout would reach.",
    )
    def post(self, request: Request) -> Response:
        fields = validated_body(RolloutFields, request)
        package = get_package(fields.pop("package"))
        name, is_dry_run = fields.pop("name", ""), fields.pop("dry_run", False)
        if is_dry_run:
            plan = rollouts.preview(package=package, values=fields, now=clock.now())
            return Response(PlanSerializer(plan).data)
        rollout = rollouts.create(
            package=package, name=name, values=fields, by=current_member(request), now=clock.now()
        )
        return Response(_rollout_data(rollout.pk), status.HTTP_201_CREATED)


class RolloutView(APIView):
    """Get, change or delete a rollout."""

    @extend_schema(responses=RolloutDetailSerializer)
    def get(self, request: Request, rollout_id: UUID) -> Response:
        return Response(_rollout_data(rollout_id))

    @extend_schema(
        request=RolloutChanges,
        responses=RolloutDetailSerializer,
        description="Change the settings. The filter and the start time of a started rollout"
        " cannot be changed. Its started waves can only be made larger, which adds devices"
        " and moves no device to another wave. A rollout that waits for approval becomes a"
        " draft again.",
    )
    def patch(self, request: Request, rollout_id: UUID) -> Response:
        fields = validated_body(RolloutChanges, request)
        rollout = get_rollout(rollout_id)
        rollouts.change(deployment=rollout, now=clock.now(), **fields)
        return Response(_rollout_data(rollout_id))

    @extend_schema(responses={204: None})
    def delete(self, request: Request, rollout_id: UUID) -> Response:
        rollouts.delete(deployment=get_rollout(rollout_id))
        return Response(status=status.HTTP_204_NO_CONTENT)


class StatusesView(ListAPIView[UpdateStatus]):
    serializer_class = DeviceUpdateSerializer
    ordering = ("-opened_at", "-id")
    filter_backends = (RejectUnknownParameters, StatusFilter.Backend)
    filterset_class = StatusFilter


@extend_schema_view(get=extend_schema(operation_id="rollout_devices_list"))
class RolloutDevicesView(StatusesView):
    """List the devices of a rollout with the status of their updates."""

    def get_queryset(self) -> QuerySet[UpdateStatus]:
        rows = UpdateStatus.objects.select_related("device", "deployment", "wave")
        if getattr(self, "swagger_fake_view", False):  # schema generation passes no rollout id
            return rows.none()
        return rows.filter(deployment=get_rollout(self.kwargs["rollout_id"]))


@extend_schema_view(get=extend_schema(operation_id="device_updates_list"))
class DeviceUpdatesView(StatusesView):
    """List the updates of a device, the newest first."""

    def get_queryset(self) -> QuerySet[UpdateStatus]:
        rows = UpdateStatus.objects.select_related("device", "deployment", "wave")
        if getattr(self, "swagger_fake_view", False):  # schema generation passes no device id
            return rows.none()
        return rows.filter(device=get_device(self.kwargs["device_id"]))


class FailuresView(APIView):
    """List the failures of a rollout, grouped by error code."""

    @extend_schema(operation_id="rollout_failures", responses=FailuresSerializer)
    def get(self, request: Request, rollout_id: UUID) -> Response:
        results = failures.by_error_code(get_rollout(rollout_id))
        return Response(FailuresSerializer({"results": results}).data)


class PolicyView(APIView):
    """Get or change the tenant's update policy."""

    permission_classes = (MaySetPolicy,)

    @extend_schema(responses=UpdatePolicySerializer)
    def get(self, request: Request) -> Response:
        return Response(UpdatePolicySerializer(policies.current_policy()).data)

    @extend_schema(request=UpdatePolicyFields, responses=UpdatePolicySerializer)
    def patch(self, request: Request) -> Response:
        fields = validated_body(UpdatePolicyFields, request)
        policy = policies.change(now=clock.now(), **fields)
        return Response(UpdatePolicySerializer(policy).data)


Action = Callable[..., Deployment]


def _action_view(
    name: str,
    act: Action,
    description: str,
    *,
    body: type[serializers.Serializer[Any]] | None = None,
    needs_member: bool = False,
    is_interactive: bool = False,
) -> type[APIView]:
    """Return a view that runs an action on a rollout and responds with the changed rollout.

    Args:
        is_interactive: refuse API tokens.
    """

    class ActionView(APIView):
        permission_classes = (IsMember, IsInteractive) if is_interactive else (IsMember,)

        @extend_schema(
            operation_id=f"rollout_{name}",
            request=body,
            responses=RolloutDetailSerializer,
            description=description,
        )
        def post(self, request: Request, rollout_id: UUID) -> Response:
            fields = validated_body(body, request) if body else {}
            if needs_member:
                fields["by"] = current_member(request)
            rollout = get_rollout(rollout_id)
            rollout = act(deployment=rollout, now=clock.now(), **fields)
            return Response(_rollout_data(rollout.pk))

    ActionView.__doc__ = description
    return ActionView


ACTIONS: dict[str, type[APIView]] = {
    "start": _action_view(
        "start",
        rollout_control.start,
        "Start a draft. A large rollout waits for the approval of a second member.",
        needs_member=True,
    ),
    "approve": _action_view(
        "approve",
        rollout_control.approve,
        "Approve a rollout that another member created and started. API tokens are refused:"
        " members approve in the portal.",
        needs_member=True,
        is_interactive=True,
    ),
    "pause": _action_view(
        "pause",
        rollout_control.pause,
        "Pause a rollout. Devices that have started the update continue.",
        body=ReasonFields,
    ),
    "resume": _action_view(
        "resume",
        rollout_control.resume,
        "Resume a paused rollout. Earlier failures no longer count.",
    ),
    "abort": _action_view(
        "abort",
        rollout_control.abort,
        "Abort a rollout. Updates that are not being installed yet are cancelled.",
        body=ReasonFields,
    ),
    "retry": _action_view(
        "retry", rollout_control.retry, "Give the failed devices another attempt."
    ),
    "next-wave": _action_view(
        "next_wave",
        rollout_control.start_next_wave,
        "Start the next wave, regardless of the results of the current wave.",
    ),
    "rollback": _action_view(
        "rollback",
        rollout_control.roll_back,
        "Return each device that installed the update to its previous version. The"
        " response contains the rollback, which is a new rollout.",
        needs_member=True,
    ),
}


def get_rollout(rollout_id: UUID) -> Deployment:
    return first_or_raise(_rollouts().filter(pk=rollout_id), RolloutNotFound)


def _rollouts() -> QuerySet[Deployment]:
    return Deployment.objects.select_related(
        "product", "package", "created_by", "requested_by", "approved_by"
    )


def _rollout_data(rollout_id: UUID) -> dict[str, Any]:
    context = {"now": clock.now()}
    rollout = get_rollout(rollout_id)
    return dict(RolloutDetailSerializer(rollout, context=context).data)
