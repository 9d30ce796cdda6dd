"""Errors raised by remote control services."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from core.errors import Conflict, Detail, Gone, Invalid, Missing, Refused
from core.json_schema import SchemaError


class UnknownCommandType(Invalid):
    code = "unknown_command_type"
    sentence = "This command type does not exist."
    field = "type"


class InvalidParameters(Invalid):
    """The command's parameters are invalid; `details` lists every error."""

    code = "invalid_parameters"

    def __init__(self, errors: Sequence[SchemaError]) -> None:
        super().__init__(errors[0].sentence, field="parameters")
        self.details = [
            Detail(
                code=error.code,
                sentence=error.sentence,
                field=f"parameters.{error.path}" if error.path else "parameters",
            )
            for error in errors
        ]


class InvalidDeadline(Invalid):
    code = "invalid_deadline"


class CommandNotAllowed(Refused):
    """The tenant's policy does not allow this command type."""

    code = "command_not_allowed"
    sentence = "The tenant's remote control policy does not allow this command."


class DeviceIsControlled(Conflict):
    """Another member controls the device. `current` describes the session of that member."""

    code = "device_controlled"

    def __init__(self, current: dict[str, Any]) -> None:
        super().__init__(f"{current['controller']} controls this device now.")
        self.current = current


class DeviceIsOffline(Conflict):
    code = "device_offline"
    sentence = "The device is offline."


class DeviceIsQuarantined(Conflict):
    """The device is in quarantine, so no commands are delivered to it."""

    code = "device_quarantined"
    sentence = "The device is in quarantine until a member releases it."


class SessionRequired(Conflict):
    code = "session_required"
    sentence = "This command requires a session. Start a session first."


class SessionEnded(Conflict):
    """The session given in the request has ended. `current` has the reason."""

    code = "session_ended"

    def __init__(self, end: str | None) -> None:
        super().__init__("The session has ended.", field="session")
        self.current = {"end": end}


class NoActiveSession(Missing):
    code = "session_not_found"
    sentence = "No session is active on this device."


class NotTheController(Refused):
    """Only an administrator may end another member's session."""

    code = "not_the_controller"
    sentence = "This session belongs to another member."


class NoSuchCommand(Missing):
    code = "command_not_found"
    sentence = "This command does not exist."


class CommandIsClosed(Gone):
    """The command expired, was cancelled or was superseded before the device answered."""

    code = "command_ended"

    def __init__(self, status: str) -> None:
        super().__init__(f"The command is {status}.")
        self.current = {"status": status}


class CommandAlreadyAnswered(Conflict):
    """The device has already sent a different answer."""

    code = "command_answered"

    def __init__(self, status: str) -> None:
        super().__init__(f"The command has already {status}.")
        self.current = {"status": status}


class CommandNotCancellable(Conflict):
    """The device has the command already, or the command has ended."""

    code = "command_not_cancellable"

    def __init__(self, status: str) -> None:
        super().__init__(f"Only queued commands can be cancelled; this command is {status}.")
        self.current = {"status": status}


class SequenceAhead(Invalid):
    """The device reports a sequence number that was never issued."""

    code = "sequence_ahead"
    sentence = "No command with this sequence number was ever issued to the device."
    field = "after"


class InvalidAnswer(Invalid):
    code = "invalid_answer"


class GestureInBulk(Invalid):
    code = "gesture_to_many"


class NoDevicesFound(Conflict):
    code = "no_devices_found"
    sentence = "The filter matches no devices."


class NoSuchBulkCommand(Missing):
    code = "bulk_command_not_found"
    sentence = "This bulk command does not exist."


class SecondPersonRequired(Refused):
    code = "second_approver_required"
    sentence = "A member other than the requester must confirm this bulk command."


class BulkCommandAlreadyDecided(Conflict):
    code = "bulk_command_decided"

    def __init__(self, state: str) -> None:
        super().__init__(f"The bulk command is already {state}.")
        self.current = {"state": state}


class InvalidPolicy(Invalid):
    code = "invalid_policy"


class NoSuchUpload(Missing):
    code = "upload_not_found"
    sentence = "No screenshot upload exists at this address."


class UploadIsClosed(Gone):
    """The upload address was used or has expired. `current` has the command's status."""

    code = "upload_ended"

    def __init__(self, status: str) -> None:
        super().__init__(
            "The screenshot was uploaded already."
            if status == "succeeded"
            else f"The screenshot cannot be uploaded: its command is {status}."
        )
        self.current = {"status": status}


class InvalidImage(Invalid):
    code = "invalid_image"


class NoSuchScreenshot(Missing):
    code = "screenshot_not_found"
    sentence = "This screenshot does not exist."


class DeviceIsInMaintenance(Conflict):
    """A maintenance window holds the commands of the device back."""

    code = "device_in_maintenance"

    def __init__(self, window: str, until: datetime | None) -> None:
        end = f" until {until:%Y-%m-%d %H:%M} UTC" if until else ""
        super().__init__(f"The maintenance window {window} holds the commands back{end}.")
