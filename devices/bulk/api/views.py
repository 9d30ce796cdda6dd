"""Endpoints of bulk operations."""

from typing import Any
from uuid import UUID

import django_filters
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
from core.rest.filters import StrictFilterSet
from core.rest.strict import RejectUnknownParameters
from devices.bulk.api.serializers import (
    BulkOperationFields,
    BulkOperationSerializer,
    BulkPreviewOfDevicesSerializer,
    BulkResultSerializer,
)
from devices.bulk.errors import NoSuchOperation
from devices.bulk.models import BulkOperation, BulkResult
from devices.bulk.services import operations
from tenants.api.permissions import current_member


class BulkOperationsView(ListAPIView[BulkOperation]):
    """List bulk operations, newest first, or start one."""

    serializer_class = BulkOperationSerializer
    ordering = ("-requested_at", "-id")
    filter_backends = (RejectUnknownParameters,)

    def get_queryset(self) -> QuerySet[BulkOperation]:
        return BulkOperation.objects.select_related("requested_by", "undone_by")

    @extend_schema(
        request=BulkOperationFields,
        responses={200: BulkPreviewOfDevicesSerializer, 201: BulkOperationSerializer},
        description="With `dry_run`, nothing is changed. The response has status 200, and counts"
        " the devices that match. Retired devices are never selected.",
    )
    def post(self, request: Request) -> Response:
        data = validated_body(BulkOperationFields, request)
        order: dict[str, Any] = {
            "action": data["action"],
            "parameters": data.get("parameters", {}),
            "filter": data["filter"],
        }
        if data.get("dry_run"):
            preview = operations.preview(now=clock.now(), **order)
            return Response(BulkPreviewOfDevicesSerializer(preview).data)
        row = operations.start(by=current_member(request), now=clock.now(), **order)
        return Response(BulkOperationSerializer(row).data, status.HTTP_201_CREATED)


class BulkOperationView(APIView):
    """Return a bulk operation with its progress."""

    @extend_schema(responses=BulkOperationSerializer)
    def get(self, request: Request, operation_id: UUID) -> Response:
        return Response(BulkOperationSerializer(operation_or_404(operation_id)).data)


class ResultFilter(StrictFilterSet):
    """The filters of results."""

    outcome = django_filters.ChoiceFilter(choices=BulkResult.Outcome.choices)


class BulkResultsView(ListAPIView[BulkResult]):
    """List what a bulk operation did, ordered by the ids of the devices."""

    serializer_class = BulkResultSerializer
    ordering = ("device_id", "id")
    filter_backends = (RejectUnknownParameters, ResultFilter.Backend)
    filterset_class = ResultFilter

    def get_queryset(self) -> QuerySet[BulkResult]:
        if getattr(self, "swagger_fake_view", False):
            return BulkResult.objects.none()
        return operations.results_of(operation_or_404(self.kwargs["operation_id"]))


class CancelBulkOperationView(APIView):
    """Stop a bulk operation. Devices that were changed already stay as they are."""

    @extend_schema(request=None, responses=BulkOperationSerializer)
    def post(self, request: Request, operation_id: UUID) -> Response:
        row = operations.cancel(operation=operation_or_404(operation_id), now=clock.now())
        return Response(BulkOperationSerializer(row).data)


class UndoBulkOperationView(APIView):
    """Start an operation that undoes another one. Later changes of devices are kept."""

    @extend_schema(request=None, responses={201: BulkOperationSerializer})
    def post(self, request: Request, operation_id: UUID) -> Response:
        row = operations.undo(
            operation=operation_or_404(operation_id), by=current_member(request), now=clock.now()
        )
        return Response(BulkOperationSerializer(row).data, status.HTTP_201_CREATED)


def operation_or_404(operation_id: UUID) -> BulkOperation:
    rows = BulkOperation.objects.select_related("requested_by", "undone_by").filter(pk=operation_id)
    return first_or_raise(rows, NoSuchOperation)
