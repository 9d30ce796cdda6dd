"""Endpoints that show which fields of devices' messages cannot be used."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.rest.strict import RejectUnknownParameters
from devices.registry.api.views import get_device
from devices.registry.models import UnreadableField


class UnreadableFieldFields(serializers.Serializer[Any]):
    field: Any = serializers.CharField(help_text="Dotted path in the message.")
    code = serializers.CharField(help_text="As in `ignored` of the response to the device.")
    detail = serializers.CharField()
    app_version = serializers.CharField(allow_blank=True)
    last_seen_at = serializers.DateTimeField()


class UnreadableFieldSerializer(UnreadableFieldFields):
    """A field that a device sent and that could not be used as it was."""

    first_seen_at = serializers.DateTimeField()


class UnreadableFieldSummarySerializer(UnreadableFieldFields):
    """The number of devices that send a field that cannot be used as it is."""

    devices = serializers.IntegerField()


class UnreadableFieldSummariesSerializer(serializers.Serializer[Any]):
    results = UnreadableFieldSummarySerializer(
        many=True, help_text="The 100 with the most devices."
    )


class UnreadableFieldsView(APIView):
    """Count the devices that send fields that cannot be used, by field and app version.

    Fields of the last 30 days are counted.
    """

    @extend_schema(
        operation_id="unreadable_fields_list", responses=UnreadableFieldSummariesSerializer
    )
    def get(self, request: Request) -> Response:
        summary = UnreadableField.objects.all().summary()
        return Response(UnreadableFieldSummariesSerializer({"results": summary}).data)


class UnreadableFieldsOfDeviceView(ListAPIView[UnreadableField]):
    """List the fields of a device's messages that cannot be used, the latest first."""

    serializer_class = UnreadableFieldSerializer
    filter_backends = (RejectUnknownParameters,)
    ordering = ("-last_seen_at", "-id")

    def get_queryset(self) -> QuerySet[UnreadableField]:
        device_id: UUID = self.kwargs["device_id"]
        return UnreadableField.objects.for_device(get_device(device_id))
