"""The JSON of remote control, in and out."""

from datetime import datetime
from typing import Any

from rest_framework import serializers

from core.rest.fields import Text, Truth, Value, WholeNumber
from core.rest.strict import Strict
from devices.remote_control.command_types import (
    CHOICES,
    INTERACTIVE,
    LONGEST_DEADLINE,
    TYPES,
)
from devices.remote_control.models import BulkCommand, RemoteControlSession, Status
from devices.remote_control.services.bulk_commands import GOOD_FOR
from devices.remote_control.services.fetching import (
    LARGEST_SEQUENCE,
    MOST_REASON,
    SAYABLE,
)
from devices.remote_control.services.policies import LARGEST_BLAST_RADIUS

ANSWERS = [(status.value, status.label) for status in SAYABLE]
MOST_FILTERS = 20


class CommandFields(Strict):
    """A command to one device."""

    type = serializers.ChoiceField(choices=CHOICES)
    parameters = serializers.DictField(child=Value(allow_null=True), required=False)
    session = serializers.UUIDField(
        required=False, help_text="The one that the controller believes to have."
    )
    wait_seconds = WholeNumber(
        required=False,
        min_value=int(INTERACTIVE.total_seconds()),
        max_value=int(LONGEST_DEADLINE.total_seconds()),
        help_text="How long it may wait for a device that is offline.",
    )


class BulkFields(Strict):
    """A command to every device that the filter finds."""

    type = serializers.ChoiceField(choices=CHOICES)
    parameters = serializers.DictField(child=Value(allow_null=True), required=False)
    filter = serializers.DictField(
        child=Text(max_length=120, allow_blank=True),
        help_text="As `GET /devices` is narrowed; `{}` is every device.",
    )
    wait_seconds = WholeNumber(
        required=False,
        min_value=int(INTERACTIVE.total_seconds()),
        max_value=int(LONGEST_DEADLINE.total_seconds()),
    )
    dry_run = Truth(required=False, help_text="Count the devices, command none.")

    def validate_filter(self, said: dict[str, str]) -> dict[str, str]:
        if len(said) > MOST_FILTERS:
            raise serializers.ValidationError(f"At most {MOST_FILTERS} parameters.")
        return said


class AnswerFields(Strict):
    """What a device says of a command of its own."""

    status = serializers.ChoiceField(choices=ANSWERS)
    result = serializers.DictField(
        child=Value(allow_null=True),
        required=False,
        help_text="With `succeeded` or `failed`.",
    )
    reason = Text(
        max_length=MOST_REASON,
        required=False,
        allow_blank=True,
        help_text="Why it has failed.",
    )


class PolicyFields(Strict):
    allowed_types = serializers.ListField(
        child=serializers.ChoiceField(choices=CHOICES),
        max_length=len(TYPES),
        required=False,
    )
    blast_radius = WholeNumber(
        min_value=0,
        max_value=LARGEST_BLAST_RADIUS,
        required=False,
        help_text="A bulk command to more devices wants a second person.",
    )


class PolicySerializer(serializers.Serializer[Any]):
    allowed_types = serializers.ListField(child=serializers.CharField())
    blast_radius = serializers.IntegerField()


class SessionSerializer(serializers.Serializer[Any]):
    """`ended_at` is null while it is in use."""

    id = serializers.UUIDField()
    device = serializers.UUIDField(source="device_id")
    controller = serializers.EmailField(source="controller.email")
    started_at = serializers.DateTimeField()
    last_used_at = serializers.DateTimeField()
    ended_at = serializers.DateTimeField(allow_null=True)
    end = serializers.ChoiceField(
        choices=RemoteControlSession.End.choices, allow_blank=True
    )


class StatusSerializer(serializers.Serializer[Any]):
    """Whether a device can be controlled, and who does."""

    device = serializers.UUIDField()
    online = serializers.BooleanField()
    quarantined = serializers.BooleanField()
    session = SessionSerializer(allow_null=True)
    is_mine = serializers.BooleanField(help_text="The session is the caller's.")
    commands_waiting = serializers.IntegerField()
    screen = serializers.DictField(
        child=serializers.IntegerField(),
        allow_null=True,
        help_text="`width` and `height` in pixels, where they are known.",
    )


class CommandSerializer(serializers.Serializer[Any]):
    """A command with its life; a time is null as long as it has not come."""

    id = serializers.UUIDField()
    device = serializers.UUIDField(source="device_id")
    sequence = serializers.IntegerField()
    type = serializers.ChoiceField(choices=CHOICES)
    parameters = serializers.DictField(child=Value(allow_null=True))
    status = serializers.SerializerMethodField()
    session = serializers.UUIDField(source="session_id", allow_null=True)
    bulk = serializers.UUIDField(source="bulk_id", allow_null=True)
    issued_by = serializers.CharField()
    issued_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(help_text="From then on it is not begun.")
    due_at = serializers.DateTimeField(
        help_text="Until then something has to be heard of it."
    )
    sent_at = serializers.DateTimeField(allow_null=True)
    delivered_at = serializers.DateTimeField(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)
    result = serializers.DictField(child=Value(allow_null=True), allow_null=True)
    reason = serializers.CharField(allow_blank=True)

    def get_status(self, command: Any) -> Status:
        return Status(command.status_at(self.context["now"]))


class CommandTypeSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    label = serializers.CharField()  # type: ignore[assignment] # its name in JSON
    schema = serializers.DictField(
        child=Value(allow_null=True),
        help_text="JSON Schema of the parameters, draft 2020-12.",
    )
    is_gesture = serializers.BooleanField(help_text="It wants a session.")
    waits_seconds = serializers.IntegerField(
        allow_null=True,
        help_text="For a device that is offline, if nobody says; null: not at all.",
    )
    answer_within_seconds = serializers.IntegerField()
    replaces_waiting = serializers.BooleanField(
        help_text="A newer one makes one that still waits superfluous."
    )
    is_disruptive = serializers.BooleanField()
    is_allowed = serializers.BooleanField(help_text="By the tenant's policy.")


class CommandTypesSerializer(serializers.Serializer[Any]):
    results = CommandTypeSerializer(many=True)


class BulkSerializer(serializers.Serializer[Any]):
    """A bulk command; `done` of the devices have their command already."""

    id = serializers.UUIDField()
    type = serializers.ChoiceField(choices=CHOICES)
    parameters = serializers.DictField(child=Value(allow_null=True))
    filter = serializers.DictField(child=serializers.CharField())
    state = serializers.ChoiceField(choices=BulkCommand.State.choices)
    found = serializers.IntegerField()
    done = serializers.IntegerField()
    left_out = serializers.IntegerField(help_text="Somebody controls them.")
    requested_by = serializers.EmailField(source="requested_by.email")
    requested_at = serializers.DateTimeField()
    confirmed_by = serializers.EmailField(
        source="confirmed_by.email", allow_null=True, default=None
    )
    confirm_by = serializers.SerializerMethodField(
        help_text="Until then somebody else may confirm it; null: nobody has to."
    )
    expires_at = serializers.DateTimeField(help_text="Of each command.")
    ended_at = serializers.DateTimeField(allow_null=True)

    def get_confirm_by(self, row: BulkCommand) -> datetime | None:
        is_waiting = row.state == BulkCommand.State.WAITING
        return row.requested_at + GOOD_FOR if is_waiting else None


class OutcomesSerializer(BulkSerializer):
    """One of them, with how many of its commands have come how far."""

    outcomes = serializers.DictField(child=serializers.IntegerField())


class BulkPreviewSerializer(serializers.Serializer[Any]):
    """What a bulk command would come to."""

    found = serializers.IntegerField()
    online = serializers.IntegerField()
    controlled = serializers.IntegerField(help_text="They would be left out.")
    blast_radius = serializers.IntegerField()
    needs_confirmation = serializers.BooleanField()


class ScreenshotSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    device = serializers.UUIDField(source="device_id")
    command = serializers.UUIDField(source="command_id")
    taken_at = serializers.DateTimeField()
    content_type = serializers.CharField()
    width = serializers.IntegerField()
    height = serializers.IntegerField()
    size = serializers.IntegerField(help_text="bytes")


class KeySetSerializer(serializers.Serializer[Any]):
    """The keys that sign the tenant's commands (RFC 7517), the present one first."""

    keys = serializers.ListField(
        child=serializers.DictField(child=serializers.CharField())
    )


class MyKeySetSerializer(KeySetSerializer):
    """The same for a device, with the CA's word for them."""

    endorsement = serializers.CharField(
        allow_null=True,
        help_text="The same keys in a JWS by the CA, whose chain is its `x5c`; null where"
        " the CA's key is not at hand.",
    )


class MyCommandSerializer(serializers.Serializer[Any]):
    """A command as its device gets it; what counts is what is signed."""

    id = serializers.UUIDField()
    sequence = serializers.IntegerField()
    signed = serializers.CharField(help_text="JWS in compact form (RFC 7515).")


class MyCommandsSerializer(serializers.Serializer[Any]):
    results = MyCommandSerializer(many=True, help_text="In their order, at most 50.")


class SequenceSerializer(serializers.Serializer[Any]):
    sequence = serializers.IntegerField(help_text="Of the device's last command.")
    update_waiting = serializers.BooleanField()


class AfterQuestion(serializers.Serializer[Any]):
    after = serializers.IntegerField(min_value=0, max_value=LARGEST_SEQUENCE, default=0)
