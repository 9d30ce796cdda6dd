"""The members' doors to bulk commands."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.rest.pagination import CursorPages
from core.rest.strict import KnownParameters
from devices.remote_control.api.permissions import MayControl
from devices.remote_control.api.serializers import (
    BulkFields,
    BulkPreviewSerializer,
    BulkSerializer,
    OutcomesSerializer,
)
from devices.remote_control.api.views import parsed, wait_of
from devices.remote_control.errors import NoSuchBulkCommand
from devices.remote_control.models import BulkCommand
from devices.remote_control.services import bulk_commands
from tenants.api.permissions import calling_member


class BulkPages(CursorPages):
    def get_ordering(self, request: Request, queryset: Any, view: Any) -> Any:
        return ("-requested_at", "-id")


class BulkCommandsView(ListAPIView[BulkCommand]):
    """Commands to many devices at once, the newest first, and one more."""

    permission_classes = (MayControl,)
    serializer_class = BulkSerializer
    pagination_class = BulkPages
    filter_backends = (KnownParameters,)

    def get_queryset(self) -> QuerySet[BulkCommand]:
        return BulkCommand.objects.select_related("requested_by", "confirmed_by")

    @extend_schema(
        request=BulkFields,
        responses={200: BulkPreviewSerializer, 201: BulkSerializer},
        description="With `dry_run` nothing is commanded: 200 says what it would come to.",
    )
    def post(self, request: Request) -> Response:
        said = parsed(BulkFields, request)
        order = {
            "type": said["type"],
            "parameters": said.get("parameters", {}),
            "filter": said["filter"],
            "wait": wait_of(said),
        }
        if said.get("dry_run"):
            return Response(
                BulkPreviewSerializer(
                    bulk_commands.preview(now=timezone.now(), **order)
                ).data
            )
        row = bulk_commands.request(
            by=calling_member(request), now=timezone.now(), **order
        )
        return Response(BulkSerializer(row).data, status.HTTP_201_CREATED)


class BulkCommandView(APIView):
    """One of them, and how far its commands have come."""

    @extend_schema(responses=OutcomesSerializer)
    def get(self, request: Request, bulk_id: UUID) -> Response:
        row = bulk_with(bulk_id)
        told = {**BulkSerializer(row).data, "outcomes": bulk_commands.outcomes(row)}
        return Response(told)


class ConfirmView(APIView):
    """Let one go out that somebody else has asked for."""

    permission_classes = (MayControl,)

    @extend_schema(request=None, responses=BulkSerializer)
    def post(self, request: Request, bulk_id: UUID) -> Response:
        row = bulk_commands.confirm(
            bulk=bulk_with(bulk_id), by=calling_member(request), now=timezone.now()
        )
        return Response(BulkSerializer(row).data)


class CancelBulkView(APIView):
    """Stop one: devices that it has not reached are not commanded."""

    permission_classes = (MayControl,)

    @extend_schema(request=None, responses=BulkSerializer)
    def post(self, request: Request, bulk_id: UUID) -> Response:
        row = bulk_commands.cancel(bulk=bulk_with(bulk_id), now=timezone.now())
        return Response(BulkSerializer(row).data)


def bulk_with(bulk_id: UUID) -> BulkCommand:
    rows = BulkCommand.objects.select_related("requested_by", "confirmed_by")
    row: BulkCommand | None = rows.filter(pk=bulk_id).first()
    if row is None:
        raise NoSuchBulkCommand
    return row
