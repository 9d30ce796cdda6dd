"""Command types that devices support, each with the JSON Schema of its parameters.

Gestures (taps, swipes and other input) require a session, because the member reacts to
what the screen shows. Gestures expire after 30 seconds. Other commands require no session.
Commands with a `default_wait` stay queued for an offline device until their deadline.
"""

from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

from core.json_schema import SchemaError, find_errors

DEFAULT_ANSWER_TIMEOUT = timedelta(seconds=30)
DEFAULT_WAIT = timedelta(days=1)
MAX_WAIT = timedelta(days=30)
MAX_COORDINATE = 16_383  # pixels
MAX_TEXT_LENGTH = 500  # characters
ERROR_CODES = {  # JSON Schema keyword → error code, as used by the rest of the API
    "minimum": "min_value",
    "maximum": "max_value",
    "minLength": "blank",
    "maxLength": "max_length",
    "enum": "invalid_choice",
    "additionalProperties": "unknown_field",
    "required": "required",
}
REDACTED = "…"  # replaces values that must not be stored
KEYS = (
    "home",
    "back",
    "menu",
    "up",
    "down",
    "left",
    "right",
    "select",
    "enter",
    "backspace",
    "tab",
    "escape",
    "volume_up",
    "volume_down",
    "mute",
    "power",
    "play_pause",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandType:
    """A type of command.

    Attributes:
        properties: JSON Schemas of the parameters, by parameter name.
        optional: names of optional parameters.
        is_gesture: whether the command requires a session.
        default_wait: how long the command waits for an offline device if the request
            contains no time. None if the command does not wait for offline devices; it
            then expires after `answer_within`.
        answer_within: how long the device may take to answer once it has the command.
        replaces_waiting: whether a new command supersedes queued ones of this type.
        is_disruptive: whether the screen goes dark for a while.
        points: parameters that are points on the screen; "" means the parameters
            object itself is the point.
        redacted: parameters whose values are removed when the command ends.
    """

    name: str
    label: str
    properties: dict[str, Any]
    optional: tuple[str, ...] = ()
    is_gesture: bool = False
    default_wait: timedelta | None = None
    answer_within: timedelta = DEFAULT_ANSWER_TIMEOUT
    replaces_waiting: bool = False
    is_disruptive: bool = False
    points: tuple[str, ...] = ()
    redacted: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of the parameters of this command type (draft 2020-12)."""
        return {
            "type": "object",
            "properties": self.properties,
            "required": [name for name in self.properties if name not in self.optional],
            "additionalProperties": False,
        }

    def redact(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the parameters as the command history keeps them. Confidential values are replaced."""
        return {
            name: REDACTED if name in self.redacted else value for name, value in parameters.items()
        }


def _coordinate() -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "maximum": MAX_COORDINATE}


def _point() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"x": _coordinate(), "y": _coordinate()},
        "required": ["x", "y"],
        "additionalProperties": False,
    }


def _number(minimum: float, maximum: float, kind: str = "integer") -> dict[str, Any]:
    return {"type": kind, "minimum": minimum, "maximum": maximum}


_DURATION = _number(50, 5000)  # milliseconds
_XY = {"x": _coordinate(), "y": _coordinate()}

TYPES: dict[str, CommandType] = {
    type_.name: type_
    for type_ in (
        CommandType(name="tap", label="Tap", properties=_XY, is_gesture=True, points=("",)),
        CommandType(
            name="swipe",
            label="Swipe",
            properties={"from": _point(), "to": _point(), "duration_ms": _DURATION},
            optional=("duration_ms",),
            is_gesture=True,
            points=("from", "to"),
        ),
        CommandType(
            name="pinch",
            label="Pinch",
            properties={**_XY, "scale": _number(0.1, 10, "number"), "duration_ms": _DURATION},
            optional=("duration_ms",),
            is_gesture=True,
            points=("",),
        ),
        CommandType(
            name="rotate",
            label="Rotate",
            properties={**_XY, "degrees": _number(-360, 360), "duration_ms": _DURATION},
            optional=("duration_ms",),
            is_gesture=True,
            points=("",),
        ),
        CommandType(
            name="keypress",
            label="Key press",
            properties={"key": {"enum": list(KEYS)}},
            is_gesture=True,
        ),
        CommandType(
            name="input",
            label="Text input",
            properties={
                "text": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MAX_TEXT_LENGTH,
                    "pattern": r"^[^\u0000]*$",
                }
            },
            is_gesture=True,
            redacted=("text",),  # it may be a password
        ),
        CommandType(
            name="reload",
            label="Reload",
            properties={},
            default_wait=DEFAULT_WAIT,
            replaces_waiting=True,
        ),
        CommandType(
            name="restart",
            label="Restart app",
            properties={},
            default_wait=DEFAULT_WAIT,
            answer_within=timedelta(minutes=2),
            replaces_waiting=True,
            is_disruptive=True,
        ),
        CommandType(
            name="reboot",
            label="Reboot",
            properties={},
            default_wait=DEFAULT_WAIT,
            answer_within=timedelta(minutes=5),
            replaces_waiting=True,
            is_disruptive=True,
        ),
        CommandType(
            name="screenshot",
            label="Screenshot",
            properties={"max_width": _number(160, 3840)},
            optional=("max_width",),
            replaces_waiting=True,
        ),
        CommandType(name="wake_up", label="Wake up", properties={}, replaces_waiting=True),
        CommandType(
            name="set_volume",
            label="Set volume",
            properties={"volume": _number(0, 100)},
            default_wait=DEFAULT_WAIT,
            replaces_waiting=True,
        ),
        CommandType(
            name="install_update",
            label="Install update",
            properties={},
            default_wait=DEFAULT_WAIT,
            answer_within=timedelta(hours=1),
            replaces_waiting=True,
            is_disruptive=True,
        ),
    )
}
CHOICES = [(name, type_.label) for name, type_ in TYPES.items()]


def parameter_errors(
    type_: CommandType, parameters: Any, *, screen: tuple[int, int] | None
) -> list[SchemaError]:
    """Return every error in the parameters of a command.

    Args:
        screen: width and height of the screen in pixels, in its current orientation.
            None if unknown. Points are then not checked.
    """
    validator = _validator(type_.name)
    errors = list(find_errors(validator, parameters, codes=ERROR_CODES))
    if errors or screen is None:
        return errors
    for name in type_.points:
        point = parameters[name] if name else parameters
        for axis, limit in zip(("x", "y"), screen, strict=True):
            if point[axis] >= limit:
                path = f"{name}.{axis}" if name else axis
                message = (
                    f"The point must be on the screen, which has {screen[0]}×{screen[1]} pixels."
                )
                errors.append(SchemaError(path, message, "off_screen"))
    return errors


@cache
def _validator(name: str) -> Any:
    return Draft202012Validator(TYPES[name].schema)
