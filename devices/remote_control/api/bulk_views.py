"""Member API endpoints for bulk commands."""

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
from core.rest.strict import RejectUnknownParameters
from devices.remote_control.api.permissions import MayControl
from devices.remote_control.api.serializers import (
    BulkFields,
    BulkPreviewSerializer,
    BulkSerializer,
    OutcomesSerializer,
)
from devices.remote_control.api.views import wait_from
from devices.remote_control.errors import NoSuchBulkCommand
from devices.remote_control.models import BulkCommand
from devices.remote_control.services import bulk_commands
from tenants.api.permissions import IsInteractive, current_member


class BulkCommandsView(ListAPIView[BulkCommand]):
    """List bulk commands, newest first, or request a new bulk command."""

    permission_classes = (MayControl,)
    serializer_class = BulkSerializer
    ordering = ("-requested_at", "-id")
    filter_backends = (RejectUnknownParameters,)

    def get_queryset(self) -> QuerySet[BulkCommand]:
        return BulkCommand.objects.select_related("requested_by", "confirmed_by")

    @extend_schema(
        request=BulkFields,
        responses={200: BulkPreviewSerializer, 201: BulkSerializer},
        description="With `dry_run`, no commands are issued. The response has status 200 and"
        " counts the devices that the bulk command would reach.",
    )
    def post(self, request: Request) -> Response:
        data = validated_body(BulkFields, request)
        order = {
            "type": data["type"],
            "parameters": data.get("parameters", {}),
            "filter": data["filter"],
            "wait": wait_from(data),
        }
        if data.get("dry_run"):
            preview = bulk_commands.preview(now=clock.now(), **order)
            return Response(BulkPreviewSerializer(preview).data)
        row = bulk_commands.request(by=current_member(request), now=clock.now(), **order)
        return Response(BulkSerializer(row).data, status.HTTP_201_CREATED)


class BulkCommandView(APIView):
    """Return a bulk command, with the number of its commands in each status."""

    @extend_schema(responses=OutcomesSerializer)
    def get(self, request: Request, bulk_id: UUID) -> Response:
        row = bulk_command_or_404(bulk_id)
        outcomes = bulk_commands.outcomes(row)
        return Response({**BulkSerializer(row).data, "outcomes": outcomes})


class ConfirmView(APIView):
    """Confirm and start a bulk command that another member requested.

    The endpoint refuses API tokens. Members confirm in the portal.
    """

    permission_classes = (MayControl, IsInteractive)

    @extend_schema(request=None, responses=BulkSerializer)
    def post(self, request: Request, bulk_id: UUID) -> Response:
        row = bulk_commands.confirm(
            bulk=bulk_command_or_404(bulk_id), by=current_member(request), now=clock.now()
        )
        return Response(BulkSerializer(row).data)


class CancelBulkView(APIView):
    """Cancel a bulk command. Commands that were already issued are not cancelled."""

    permission_classes = (MayControl,)

    @extend_schema(request=None, responses=BulkSerializer)
    def post(self, request: Request, bulk_id: UUID) -> Response:
        row = bulk_commands.cancel(bulk=bulk_command_or_404(bulk_id), now=clock.now())
        return Response(BulkSerializer(row).data)


def bulk_command_or_404(bulk_id: UUID) -> BulkCommand:
    rows = BulkCommand.objects.select_related("requested_by", "confirmed_by")
    return first_or_raise(rows.filter(pk=bulk_id), NoSuchBulkCommand)
