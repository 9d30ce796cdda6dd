"""Serializers of bulk operations."""

from typing import Any

from rest_framework import serializers

from core.rest.fields import JSONValueField, StrictBooleanField, StrictCharField
from core.rest.strict import StrictSerializer
from devices.bulk.models import BulkOperation, BulkResult
from devices.bulk.services import operations
from devices.registry.api.filters import DeviceFilterField


class BulkOperationFields(StrictSerializer):
    """One action on every device that matches a filter."""

    action = StrictCharField(max_length=32, help_text="See `docs/bulk-operations.md`.")
    parameters = serializers.DictField(
        child=JSONValueField(allow_null=True),
        required=False,
        help_text='What the action needs, such as `{"tags": ["lobby"]}`.',
    )
    filter = DeviceFilterField(
        help_text='Query parameters of `GET /devices`, or `{"all": true}` for every device.'
    )
    dry_run = StrictBooleanField(
        required=False, help_text="Count the devices without changing anything."
    )


class BulkExampleSerializer(serializers.Serializer[Any]):
    """A device that an operation would change."""

    id = serializers.UUIDField()
    name = serializers.CharField()


class BulkPreviewOfDevicesSerializer(serializers.Serializer[Any]):
    """How many devices an operation would go through, and the first of them by name."""

    found = serializers.IntegerField()
    examples = BulkExampleSerializer(many=True)


class BulkOperationSerializer(serializers.ModelSerializer[BulkOperation]):
    """A bulk operation. `done`, `unchanged` and `refused` count devices by result."""

    parameters: Any = serializers.DictField(child=JSONValueField(allow_null=True))
    filter: Any = serializers.DictField(child=serializers.CharField())
    undoes: Any = serializers.UUIDField(source="undoes_id", allow_null=True)
    requested_by: Any = serializers.EmailField(
        source="requested_by.email", allow_null=True, default=None
    )
    can_undo = serializers.SerializerMethodField()

    class Meta:
        model = BulkOperation
        fields = (
            "id",
            "action",
            "parameters",
            "filter",
            "state",
            "found",
            "done",
            "unchanged",
            "refused",
            "undoes",
            "can_undo",
            "requested_by",
            "requested_at",
            "ended_at",
        )
        read_only_fields = fields

    def get_can_undo(self, row: BulkOperation) -> bool:
        return operations.can_undo(row)


class BulkResultSerializer(serializers.ModelSerializer[BulkResult]):
    """What an operation did with a device."""

    device: Any = serializers.UUIDField(source="device_id")
    name = serializers.CharField(source="device.name")

    class Meta:
        model = BulkResult
        fields = ("device", "name", "outcome", "detail")
        read_only_fields = fields
