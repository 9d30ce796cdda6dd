"""Serializers of remote control's requests and responses."""

from datetime import datetime
from typing import Any

from drf_spectacular.utils import extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from core.rest.fields import JSONValueField, StrictBooleanField, StrictCharField, StrictIntegerField
from core.rest.strict import StrictSerializer
from core.rest.tolerant import TolerantSerializer
from devices.registry.api.filters import DeviceFilterField
from devices.remote_control.command_types import CHOICES, DEFAULT_ANSWER_TIMEOUT, MAX_WAIT, TYPES
from devices.remote_control.models import BulkCommand, RemoteControlSession, Status
from devices.remote_control.models.policies import SCREENSHOT_INTERVALS
from devices.remote_control.services import fetching
from devices.remote_control.services.bulk_commands import CONFIRMATION_TIMEOUT
from devices.remote_control.services.policies import MAX_BLAST_RADIUS

ANSWERS = [(status.value, status.label) for status in fetching.ANSWERS]
SCREENSHOT_HELP = "Minutes between the scheduled screenshots of a device; 0 for none."
WAIT_HELP = (
    "How long the command may wait for an offline device. The default is `waits_seconds` of"
    " the command type. Not accepted if `waits_seconds` of the type is null."
)


@extend_schema_field({"type": "integer", "enum": list(SCREENSHOT_INTERVALS)})
class IntervalField(StrictIntegerField):
    """Minutes between screenshots. The service checks the value."""


class CommandFields(StrictSerializer):
    """A command to one device."""

    type = serializers.ChoiceField(choices=CHOICES)
    parameters = serializers.DictField(
        child=JSONValueField(allow_null=True),
        required=False,
        help_text="Parameters that match the JSON Schema of the command type.",
    )
    session = serializers.UUIDField(
        required=False,
        help_text="Id of the session in which the client issues the command. The command is"
        " refused if this session has ended.",
    )
    wait_seconds = StrictIntegerField(
        required=False,
        min_value=int(DEFAULT_ANSWER_TIMEOUT.total_seconds()),
        max_value=int(MAX_WAIT.total_seconds()),
        help_text=WAIT_HELP,
    )


class BulkFields(StrictSerializer):
    """A command to every device that matches a filter."""

    type = serializers.ChoiceField(choices=CHOICES)
    parameters = serializers.DictField(
        child=JSONValueField(allow_null=True),
        required=False,
        help_text="Parameters that match the JSON Schema of the command type.",
    )
    filter = DeviceFilterField(
        help_text='Query parameters of `GET /devices`, or `{"all": true}` for every device.'
    )
    wait_seconds = StrictIntegerField(
        required=False,
        min_value=int(DEFAULT_ANSWER_TIMEOUT.total_seconds()),
        max_value=int(MAX_WAIT.total_seconds()),
        help_text=WAIT_HELP,
    )
    dry_run = StrictBooleanField(
        required=False, help_text="Count the devices without issuing commands."
    )


class AnswerFields(TolerantSerializer):
    """A device's answer to one of its commands."""

    status = serializers.ChoiceField(choices=ANSWERS)
    result = serializers.DictField(
        child=JSONValueField(allow_null=True),
        required=False,
        help_text="Used with the status `succeeded` or `failed` only.",
    )
    reason = StrictCharField(
        max_length=fetching.MAX_REASON_LENGTH,
        required=False,
        allow_blank=True,
        help_text="Why the command failed. Used with the status `failed` only.",
    )


class PolicyFields(StrictSerializer):
    """Changes to the remote control policy; omitted fields stay unchanged."""

    allowed_types = serializers.ListField(
        child=serializers.ChoiceField(choices=CHOICES), max_length=len(TYPES), required=False
    )
    blast_radius = StrictIntegerField(
        min_value=0,
        max_value=MAX_BLAST_RADIUS,
        required=False,
        help_text="A bulk command to more devices than this must be confirmed by a second member.",
    )
    screenshot_minutes = IntervalField(required=False, help_text=SCREENSHOT_HELP)


class PolicySerializer(serializers.Serializer[Any]):
    """The tenant's remote control policy."""

    allowed_types = serializers.ListField(child=serializers.CharField())
    blast_radius = serializers.IntegerField(
        help_text="A bulk command to more devices than this must be confirmed by a second member."
    )
    screenshot_minutes = serializers.IntegerField(help_text=SCREENSHOT_HELP)


class SessionSerializer(serializers.Serializer[Any]):
    """A remote control session; `ended_at` is null while it is open."""

    id = serializers.UUIDField()
    device = serializers.UUIDField(source="device_id")
    controller = serializers.EmailField(source="controller.email")
    started_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    end = serializers.ChoiceField(
        choices=RemoteControlSession.End.choices,
        allow_blank=True,
        help_text="Why the session ended; blank while it is open.",
    )


class StatusSerializer(serializers.Serializer[Any]):
    """Whether a device can be controlled, and which member controls it."""

    device = serializers.UUIDField()
    online = serializers.BooleanField()
    quarantined = serializers.BooleanField()
    session = SessionSerializer(allow_null=True)
    is_mine = serializers.BooleanField(help_text="True if the session belongs to the caller.")
    commands_waiting = serializers.IntegerField()
    screen = serializers.DictField(
        child=serializers.IntegerField(),
        allow_null=True,
        help_text="`width` and `height` of the screen in pixels; null if unknown.",
    )


class CommandSerializer(serializers.Serializer[Any]):
    """A command. The times of steps that the command has not reached are null."""

    id = serializers.UUIDField()
    device = serializers.UUIDField(source="device_id")
    sequence = serializers.IntegerField(
        help_text="Sequence number of the command, counted per device."
    )
    type = serializers.ChoiceField(choices=CHOICES)
    parameters = serializers.DictField(child=JSONValueField(allow_null=True))
    status = serializers.SerializerMethodField()
    session = serializers.UUIDField(source="session_id", allow_null=True)
    bulk = serializers.UUIDField(source="bulk_id", allow_null=True)
    issued_by = serializers.CharField()
    issued_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(
        help_text="The device must not start the command at or after this time."
    )
    due_at = serializers.DateTimeField(
        help_text="The command expires if the device has not fetched or answered it by this time."
    )
    sent_at = serializers.DateTimeField(allow_null=True)
    delivered_at = serializers.DateTimeField(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    result = serializers.DictField(child=JSONValueField(allow_null=True), allow_null=True)
    reason = serializers.CharField(allow_blank=True, help_text="Why the command did not succeed.")

    def get_status(self, command: Any) -> Status:
        return Status(command.status_at(self.context["now"]))


class CommandTypeSerializer(serializers.Serializer[Any]):
    """A command type."""

    name = serializers.CharField()
    label: Any = serializers.CharField()
    schema = serializers.DictField(
        child=JSONValueField(allow_null=True),
        help_text="JSON Schema of the parameters (draft 2020-12).",
    )
    is_gesture = serializers.BooleanField(help_text="True if the command requires a session.")
    waits_seconds = serializers.IntegerField(
        allow_null=True,
        help_text="How long the command waits for an offline device by default; null if"
        " it does not wait.",
    )
    answer_within_seconds = serializers.IntegerField(
        help_text="How long the device may take to answer."
    )
    replaces_waiting = serializers.BooleanField(
        help_text="True if a new command supersedes queued ones of this type."
    )
    is_disruptive = serializers.BooleanField(help_text="True if the screen goes dark for a while.")
    is_allowed = serializers.BooleanField(help_text="True if the tenant's policy allows this type.")


class CommandTypesSerializer(serializers.Serializer[Any]):
    results = CommandTypeSerializer(many=True)


class BulkSerializer(serializers.Serializer[Any]):
    """A bulk command."""

    id = serializers.UUIDField()
    type = serializers.ChoiceField(choices=CHOICES)
    parameters = serializers.DictField(child=JSONValueField(allow_null=True))
    filter = serializers.DictField(child=serializers.CharField())
    state = serializers.ChoiceField(choices=BulkCommand.State.choices)
    found = serializers.IntegerField(
        help_text="How many devices matched the filter at the time of the request."
    )
    done = serializers.IntegerField(help_text="How many devices were commanded.")
    left_out = serializers.IntegerField(
        help_text="How many devices were skipped, because a member controls them or they"
        " were retired or put in quarantine."
    )
    requested_by = serializers.EmailField(source="requested_by.email")
    requested_at = serializers.DateTimeField()
    confirmed_by = serializers.EmailField(
        source="confirmed_by.email", allow_null=True, default=None
    )
    confirm_by = serializers.SerializerMethodField(
        help_text="Another member may confirm the bulk command until this time; null if it"
        " does not wait for confirmation."
    )
    expires_at = serializers.DateTimeField(
        help_text="The devices must not start the command at or after this time."
    )
    ended_at = serializers.DateTimeField(allow_null=True)

    def get_confirm_by(self, row: BulkCommand) -> datetime | None:
        is_waiting = row.state == BulkCommand.State.WAITING
        return row.requested_at + CONFIRMATION_TIMEOUT if is_waiting else None


@extend_schema_serializer(component_name="BulkCommandOutcomes")
class OutcomesSerializer(BulkSerializer):
    """A bulk command, with the number of its commands in each status."""

    outcomes = serializers.DictField(child=serializers.IntegerField())


class BulkPreviewSerializer(serializers.Serializer[Any]):
    """How many devices a bulk command would reach."""

    found = serializers.IntegerField(help_text="Devices that match the filter.")
    online = serializers.IntegerField()
    controlled = serializers.IntegerField(
        help_text="Devices that a member controls; the bulk command would skip them."
    )
    blast_radius = serializers.IntegerField()
    needs_confirmation = serializers.BooleanField(
        help_text="True if another member would have to confirm the bulk command."
    )


class ScreenshotSerializer(serializers.Serializer[Any]):
    """A screenshot, without its image."""

    id = serializers.UUIDField()
    device = serializers.UUIDField(source="device_id")
    command = serializers.UUIDField(source="command_id")
    taken_at = serializers.DateTimeField()
    content_type = serializers.CharField()
    width = serializers.IntegerField(help_text="Width in pixels.")
    height = serializers.IntegerField(help_text="Height in pixels.")
    size = serializers.IntegerField(help_text="Size in bytes.")


class KeySetSerializer(serializers.Serializer[Any]):
    """The public keys that verify the tenant's commands (RFC 7517), active key first."""

    keys = serializers.ListField(child=serializers.DictField(child=serializers.CharField()))


class MyKeySetSerializer(KeySetSerializer):
    """The public keys that verify a device's commands. The CA has signed the keys."""

    endorsement = serializers.CharField(
        allow_null=True,
        help_text="The same keys in a JWS that is signed by a CA. The `x5c` header has the"
        " certificate chain of the CA. Null if the server has no CA key.",
    )


class MyCommandSerializer(serializers.Serializer[Any]):
    """A command as the device fetches it. Devices must trust the signed content only."""

    id = serializers.UUIDField()
    sequence = serializers.IntegerField()
    signed = serializers.CharField(
        help_text="The command as a JWS in compact serialization (RFC 7515)."
    )


class MyCommandsSerializer(serializers.Serializer[Any]):
    results = MyCommandSerializer(
        many=True, help_text=f"Ordered by sequence number, at most {fetching.MAX_COMMANDS}."
    )
    keys = serializers.ListField(
        child=serializers.DictField(child=serializers.CharField()),
        required=False,
        help_text="With `keys=true`: the public keys that verify the commands.",
    )
    endorsement = serializers.CharField(
        required=False,
        allow_null=True,
        help_text="With `keys=true`: the same keys in a JWS that is signed by a CA.",
    )


class SequenceSerializer(serializers.Serializer[Any]):
    sequence = serializers.IntegerField(help_text="Sequence number of the device's last command.")
    update_waiting = serializers.BooleanField()


class KeysParameters(serializers.Serializer[Any]):
    """The `keys` query parameter."""

    keys = serializers.ChoiceField(choices=("true", "false"), default="false")


class AfterParameters(serializers.Serializer[Any]):
    """The `after` query parameter."""

    after = serializers.IntegerField(min_value=0, max_value=fetching.MAX_SEQUENCE, default=0)
