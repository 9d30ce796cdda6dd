"""Endpoints of maintenance windows."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock
from core.querysets import first_or_raise
from core.rest.bodies import validated_body
from core.rest.fields import StrictBooleanField, StrictCharField
from core.rest.strict import RejectUnknownParameters, StrictSerializer
from core.rest.weekly_times import WeeklyTimeFields
from devices.maintenance.errors import InvalidWindow
from devices.maintenance.models import MaintenanceWindow
from devices.maintenance.services import windows
from devices.registry.api.serializers import site_field
from devices.registry.api.views import get_device
from devices.registry.models import Tag
from devices.registry.services.sites import find_site


class MaintenanceWindowChanges(StrictSerializer):
    """The fields of a maintenance window to change. Omitted fields keep their values."""

    name = StrictCharField(max_length=120, required=False)
    notes = serializers.CharField(max_length=2000, required=False, allow_blank=True)
    scope = serializers.ChoiceField(choices=MaintenanceWindow.Scope.choices, required=False)
    site = site_field()
    tag = StrictCharField(max_length=64, required=False, allow_null=True)
    device = serializers.UUIDField(required=False, allow_null=True)
    recurrence = serializers.ChoiceField(
        choices=MaintenanceWindow.Recurrence.choices, required=False
    )
    starts_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="Of a window that does not repeat."
    )
    ends_at = serializers.DateTimeField(required=False, allow_null=True)
    times = serializers.ListField(
        child=WeeklyTimeFields(),
        max_length=windows.MAX_TIMES,
        required=False,
        help_text="Of a weekly window.",
    )
    time_zone = StrictCharField(
        max_length=64,
        required=False,
        allow_blank=True,
        help_text="Of `times`: a name in the IANA database. If it is empty, the times are in the"
        " time zone of each device's site.",
    )
    holds_alerts = StrictBooleanField(required=False, help_text="No alert opens or escalates.")
    holds_commands = StrictBooleanField(
        required=False, help_text="Waiting commands are sent after the window."
    )

    def validate_times(self, value: list[Any]) -> list[dict[str, Any]]:
        return [dict(entry) for entry in value]


class MaintenanceWindowFields(MaintenanceWindowChanges):
    """The fields of a maintenance window."""

    name = StrictCharField(max_length=120)


class MaintenanceWindowSerializer(serializers.ModelSerializer[MaintenanceWindow]):
    """A maintenance window."""

    site: Any = serializers.UUIDField(source="site_id", allow_null=True)
    tag = serializers.CharField(source="tag.name", default=None, allow_null=True)
    device: Any = serializers.UUIDField(source="device_id", allow_null=True)
    times = WeeklyTimeFields(many=True)

    class Meta:
        model = MaintenanceWindow
        fields = (
            "id",
            "name",
            "notes",
            "scope",
            "site",
            "tag",
            "device",
            "recurrence",
            "starts_at",
            "ends_at",
            "times",
            "time_zone",
            "holds_alerts",
            "holds_commands",
            "created_at",
        )
        read_only_fields = fields


class WindowsView(ListAPIView[MaintenanceWindow]):
    """List the tenant's maintenance windows, newest first, or create one."""

    serializer_class = MaintenanceWindowSerializer
    ordering = ("-created_at", "-id")
    filter_backends = (RejectUnknownParameters,)

    def get_queryset(self) -> QuerySet[MaintenanceWindow]:
        return MaintenanceWindow.objects.select_related("tag")

    @extend_schema(request=MaintenanceWindowFields, responses={201: MaintenanceWindowSerializer})
    def post(self, request: Request) -> Response:
        window = windows.create(now=clock.now(), **_fields(MaintenanceWindowFields, request))
        return Response(MaintenanceWindowSerializer(window).data, status.HTTP_201_CREATED)


class WindowView(APIView):
    """Read, change or delete a maintenance window."""

    @extend_schema(responses=MaintenanceWindowSerializer)
    def get(self, request: Request, window_id: UUID) -> Response:
        return Response(MaintenanceWindowSerializer(windows.get(window_id)).data)

    @extend_schema(request=MaintenanceWindowChanges, responses=MaintenanceWindowSerializer)
    def patch(self, request: Request, window_id: UUID) -> Response:
        window, fields = windows.get(window_id), _fields(MaintenanceWindowChanges, request)
        window = windows.change(window=window, now=clock.now(), **fields)
        return Response(MaintenanceWindowSerializer(window).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, window_id: UUID) -> Response:
        windows.delete(window=windows.get(window_id), now=clock.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


def _fields(serializer_class: Any, request: Request) -> dict[str, Any]:
    fields: dict[str, Any] = dict(validated_body(serializer_class, request))
    if fields.get("site"):
        fields["site"] = find_site(fields["site"])
    if fields.get("tag"):
        no_tag = InvalidWindow("There is no such tag.", field="tag")
        fields["tag"] = first_or_raise(Tag.objects.filter(name=fields["tag"]), no_tag)
    if fields.get("device"):
        fields["device"] = get_device(fields["device"])
    return fields
