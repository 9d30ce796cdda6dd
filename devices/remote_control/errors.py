"""How remote control says no."""

from collections.abc import Sequence
from typing import Any

from core.errors import Conflict, Detail, Gone, Invalid, Missing, Refused
from devices.remote_control.command_types import Fault


class UnknownCommandType(Invalid):
    code = "unknown_command_type"
    sentence = "There is no such type of command."
    field = "type"


class InvalidParameters(Invalid):
    """Each fault with its place."""

    code = "invalid_parameters"

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(faults[0].sentence, field="parameters")
        self.details = [
            Detail(
                code=fault.code,
                sentence=fault.sentence,
                field=f"parameters.{fault.path}" if fault.path else "parameters",
            )
            for fault in faults
        ]


class InvalidDeadline(Invalid):
    code = "invalid_deadline"


class CommandNotAllowed(Refused):
    """The tenant's policy leaves this type out."""

    code = "command_not_allowed"
    sentence = "The policy of this tenant does not allow this command."


class DeviceIsControlled(Conflict):
    """Somebody else has it; `current` says who, and since when."""

    code = "device_controlled"

    def __init__(self, current: dict[str, Any]) -> None:
        super().__init__(f"{current['controller']} controls this device now.")
        self.current = current


class DeviceIsOffline(Conflict):
    code = "device_offline"
    sentence = "The device is offline."


class DeviceGetsNothing(Conflict):
    """It is in quarantine: it would not be given the command."""

    code = "device_quarantined"
    sentence = "The device is in quarantine until a member releases it."


class SessionNeeded(Conflict):
    code = "session_needed"
    sentence = "Start a session first: this is for who looks at the screen."


class SessionEnded(Conflict):
    """Its controller comes too late; `current` says how it ended."""

    code = "session_ended"

    def __init__(self, end: str | None) -> None:
        super().__init__("The session has ended.", field="session")
        self.current = {"end": end}


class NoSession(Missing):
    code = "session_not_found"
    sentence = "Nobody controls this device."


class NotTheController(Refused):
    """Only an administrator ends somebody else's session."""

    code = "not_the_controller"
    sentence = "This is somebody else's session."


class NoSuchCommand(Missing):
    code = "command_not_found"
    sentence = "There is no such command."


class CommandIsOver(Gone):
    """Whatever the device says of it now, it comes too late."""

    code = "command_over"

    def __init__(self, status: str) -> None:
        super().__init__(f"The command is {status}.")
        self.current = {"status": status}


class CommandAnswered(Conflict):
    """The device has said something else before."""

    code = "command_answered"

    def __init__(self, status: str) -> None:
        super().__init__(f"The command has {status} already.")
        self.current = {"status": status}


class CommandIsOut(Conflict):
    """The device has it: it cannot be called back."""

    code = "command_not_cancellable"

    def __init__(self, status: str) -> None:
        super().__init__(f"The command is {status}: it cannot be called back.")
        self.current = {"status": status}


class SequenceAhead(Invalid):
    """A device says that it has seen what was never there."""

    code = "sequence_ahead"
    sentence = "There was never a command with such a number."
    field = "after"


class InvalidAnswer(Invalid):
    code = "invalid_answer"


class GestureToMany(Invalid):
    code = "gesture_to_many"


class NobodyFound(Conflict):
    code = "no_devices_found"
    sentence = "The filter finds no device."


class NoSuchBulkCommand(Missing):
    code = "bulk_command_not_found"
    sentence = "There is no such bulk command."


class SecondPersonNeeded(Refused):
    code = "second_person_needed"
    sentence = "Somebody else has to confirm it."


class BulkCommandDecided(Conflict):
    code = "bulk_command_decided"

    def __init__(self, state: str) -> None:
        super().__init__(f"The bulk command is {state}.")
        self.current = {"state": state}


class InvalidPolicy(Invalid):
    code = "invalid_policy"


class NoSuchUpload(Missing):
    code = "upload_not_found"
    sentence = "Nobody expects anything here."


class UploadIsOver(Gone):
    """The address was good for once, and for a short time; `current` says what came of it."""

    code = "upload_over"

    def __init__(self, status: str) -> None:
        is_here = status == "succeeded"
        super().__init__(
            "The picture is here." if is_here else "Nobody waits for it any more."
        )
        self.current = {"status": status}


class InvalidPicture(Invalid):
    code = "invalid_picture"


class NoSuchScreenshot(Missing):
    code = "screenshot_not_found"
    sentence = "There is no such screenshot."
