"""API views of alerts."""

from typing import Any, ClassVar
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
from devices.monitoring.api.serializers import (
    AlertDetailSerializer,
    AlertSerializer,
    AssignSerializer,
    CommentSerializer,
    CommentTextSerializer,
)
from devices.monitoring.errors import NoSuchAlert
from devices.monitoring.models import Alert
from devices.monitoring.services import alerts
from events.severity import Severity


class AlertFilter(StrictFilterSet):
    """Filter alerts by `status`, `severity`, `device` and `rule`."""

    status = django_filters.ChoiceFilter(choices=Alert.Status.choices, method="with_status")
    severity = django_filters.ChoiceFilter(choices=Severity.choices)
    device = django_filters.UUIDFilter(field_name="device_id")
    rule = django_filters.UUIDFilter(field_name="rule_id")

    class Meta:
        model = Alert
        fields: ClassVar[Any] = ()

    def with_status(self, queryset: QuerySet[Alert], name: str, value: str) -> QuerySet[Alert]:
        if value == "closed":
            return queryset.filter(closed_at__isnull=False)
        is_open = value == "open"
        return queryset.filter(closed_at__isnull=True, acknowledged_at__isnull=is_open)


class AlertsView(ListAPIView[Alert]):
    """List the tenant's alerts, newest first."""

    serializer_class = AlertSerializer
    ordering = ("-opened_at", "-id")
    filter_backends = (RejectUnknownParameters, AlertFilter.Backend)
    filterset_class = AlertFilter

    def get_queryset(self) -> QuerySet[Alert]:
        return with_users(Alert.objects.all())


class AlertView(APIView):
    """Return an alert with its comments."""

    @extend_schema(responses=AlertDetailSerializer)
    def get(self, request: Request, alert_id: UUID) -> Response:
        return Response(alert_data(alert_id))


class AcknowledgeView(APIView):
    """Acknowledge an alert."""

    @extend_schema(request=None, responses=AlertDetailSerializer)
    def post(self, request: Request, alert_id: UUID) -> Response:
        alerts.acknowledge(alert_id=alert_id, now=clock.now())
        return Response(alert_data(alert_id))


class AssignView(APIView):
    """Assign an alert to a member, or remove the assignee."""

    @extend_schema(request=AssignSerializer, responses=AlertDetailSerializer)
    def post(self, request: Request, alert_id: UUID) -> Response:
        body = validated_body(AssignSerializer, request)
        email = body["assignee"]
        alerts.assign(alert_id=alert_id, email=email, now=clock.now())
        return Response(alert_data(alert_id))


class CommentsView(APIView):
    """Add a comment to an alert."""

    @extend_schema(request=CommentTextSerializer, responses={201: CommentSerializer})
    def post(self, request: Request, alert_id: UUID) -> Response:
        body = validated_body(CommentTextSerializer, request)
        comment = alerts.comment(alert_id=alert_id, text=body["text"], now=clock.now())
        return Response(CommentSerializer(comment).data, status.HTTP_201_CREATED)


class CloseView(APIView):
    """Close an alert. No new alert opens until the cause has gone and occurs again."""

    @extend_schema(request=None, responses=AlertDetailSerializer)
    def post(self, request: Request, alert_id: UUID) -> Response:
        alerts.close(alert_id=alert_id, now=clock.now())
        return Response(alert_data(alert_id))


def with_users(queryset: QuerySet[Alert]) -> QuerySet[Alert]:
    return queryset.select_related("acknowledged_by", "assignee", "closed_by")


def alert_data(alert_id: UUID) -> dict[str, Any]:
    alert = first_or_raise(with_users(Alert.objects.filter(pk=alert_id)), NoSuchAlert)
    return dict(AlertDetailSerializer(alert).data)
