"""What devices can be told to do: each type with the JSON Schema of its parameters. Pure.

A gesture belongs to a person who looks at the screen: it wants a session and is worth
nothing half a minute later. The others make sense by themselves; those that wait do so
for a device that is offline, until their deadline.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any

from jsonschema import Draft202012Validator

INTERACTIVE = timedelta(seconds=30)  # to be answered within
A_DAY = timedelta(days=1)
LONGEST_DEADLINE = timedelta(days=30)
LARGEST_COORDINATE = 16_383  # pixels
MOST_TEXT = 500  # characters
CODES = {  # as everywhere else
    "minimum": "min_value",
    "maximum": "max_value",
    "minLength": "blank",
    "maxLength": "max_length",
    "enum": "invalid_choice",
}
FORGOTTEN = "…"  # stands for what is not kept
KEYS = (
    *("home", "back", "menu", "up", "down", "left", "right", "select"),
    *("enter", "backspace", "tab", "escape"),
    *("volume_up", "volume_down", "mute", "power", "play_pause"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandType:
    """One type of command.

    Attributes:
        properties: the schemas of the parameters, by their names.
        optional: the parameters that may be left out.
        is_gesture: it wants a session.
        waits_for: how long it waits for an offline device if nobody says; None: it
            does not wait, and expires with `answer_within`.
        answer_within: how long a device that has it may take.
        replaces_waiting: a newer one makes one that still waits superfluous.
        is_disruptive: the screen goes dark for a while.
        places: parameters that are places on the screen; "" is the parameters themselves.
        forgets: parameters that are not kept once it has ended.
    """

    name: str
    label: str
    properties: dict[str, Any]
    optional: tuple[str, ...] = ()
    is_gesture: bool = False
    waits_for: timedelta | None = None
    answer_within: timedelta = INTERACTIVE
    replaces_waiting: bool = False
    is_disruptive: bool = False
    places: tuple[str, ...] = ()
    forgets: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """JSON Schema of the parameters (draft 2020-12)."""
        return {
            "type": "object",
            "properties": self.properties,
            "required": [name for name in self.properties if name not in self.optional],
            "additionalProperties": False,
        }

    def kept(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters as they stay in the history."""
        return {
            name: FORGOTTEN if name in self.forgets else value
            for name, value in parameters.items()
        }


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with parameters, and where: `to.x`; "" is all of them."""

    path: str
    code: str
    sentence: str


def _coordinate() -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "maximum": LARGEST_COORDINATE}


def _place() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"x": _coordinate(), "y": _coordinate()},
        "required": ["x", "y"],
        "additionalProperties": False,
    }


def _number(least: float, most: float, kind: str = "integer") -> dict[str, Any]:
    return {"type": kind, "minimum": least, "maximum": most}


_DURATION = _number(50, 5000)  # milliseconds
_AT = {"x": _coordinate(), "y": _coordinate()}

TYPES: dict[str, CommandType] = {
    type_.name: type_
    for type_ in (
        CommandType(
            name="tap", label="Tap", properties=_AT, is_gesture=True, places=("",)
        ),
        CommandType(
            name="swipe",
            label="Swipe",
            properties={"from": _place(), "to": _place(), "duration_ms": _DURATION},
            optional=("duration_ms",),
            is_gesture=True,
            places=("from", "to"),
        ),
        CommandType(
            name="pinch",
            label="Pinch",
            properties={
                **_AT,
                "scale": _number(0.1, 10, "number"),
                "duration_ms": _DURATION,
            },
            optional=("duration_ms",),
            is_gesture=True,
            places=("",),
        ),
        CommandType(
            name="rotate",
            label="Rotate",
            properties={
                **_AT,
                "degrees": _number(-360, 360),
                "duration_ms": _DURATION,
            },
            optional=("duration_ms",),
            is_gesture=True,
            places=("",),
        ),
        CommandType(
            name="keypress",
            label="Key",
            properties={"key": {"enum": list(KEYS)}},
            is_gesture=True,
        ),
        CommandType(
            name="input",
            label="Text",
            properties={
                "text": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": MOST_TEXT,
                    "pattern": r"^[^\u0000]*$",
                }
            },
            is_gesture=True,
            forgets=("text",),  # it may be a password
        ),
        CommandType(
            name="reload",
            label="Reload",
            properties={},
            waits_for=A_DAY,
            replaces_waiting=True,
        ),
        CommandType(
            name="restart",
            label="Restart the app",
            properties={},
            waits_for=A_DAY,
            answer_within=timedelta(minutes=2),
            replaces_waiting=True,
            is_disruptive=True,
        ),
        CommandType(
            name="reboot",
            label="Reboot",
            properties={},
            waits_for=A_DAY,
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
        CommandType(
            name="wake_up", label="Wake up", properties={}, replaces_waiting=True
        ),
        CommandType(
            name="set_volume",
            label="Set the volume",
            properties={"volume": _number(0, 100)},
            waits_for=A_DAY,
            replaces_waiting=True,
        ),
        CommandType(
            name="install_update",
            label="Install the update",
            properties={},
            waits_for=A_DAY,
            answer_within=timedelta(hours=1),
            replaces_waiting=True,
            is_disruptive=True,
        ),
    )
}
CHOICES = [(name, type_.label) for name, type_ in TYPES.items()]


def faults(
    type_: CommandType, parameters: Any, *, screen: tuple[int, int] | None
) -> list[Fault]:
    """What is wrong with the parameters of a command.

    Args:
        screen: width and height in pixels as the device shows its picture now; None
            where nobody knows them.
    """
    errors = _validator(type_.name).iter_errors(parameters)
    found = [Fault(path, code, sentence) for path, code, sentence in _told(errors)]
    if found or screen is None:
        return found
    for place in type_.places:
        at = parameters[place] if place else parameters
        for name, limit in zip(("x", "y"), screen, strict=True):
            if at[name] >= limit:
                path = f"{place}.{name}" if place else name
                sentence = f"The screen has {screen[0]}×{screen[1]} pixels."
                found.append(Fault(path, "off_screen", sentence))
    return found


@cache
def _validator(name: str) -> Any:
    return Draft202012Validator(TYPES[name].schema)


def _told(errors: Iterable[Any]) -> Iterable[tuple[str, str, str]]:
    """Path, code and sentence of each."""
    for error in sorted(errors, key=lambda error: list(map(str, error.path))):
        path = ".".join(map(str, error.path))
        if error.validator == "additionalProperties":
            known = error.schema["properties"]
            for name in sorted(set(error.instance) - set(known)):
                whole = f"{path}.{name}" if path else name
                yield whole[:80], "unknown_field", "There is no such parameter."
        elif error.validator == "required":
            name = error.message.split("'")[1]
            whole = f"{path}.{name}" if path else name
            yield whole, "required", "This field is required."
        else:
            yield path, CODES.get(error.validator, "invalid"), _sentence(error)


def _sentence(error: Any) -> str:
    limit = error.validator_value
    match error.validator:
        case "type":
            return f"It is of type {limit}."
        case "minimum":
            return f"At least {limit}."
        case "maximum":
            return f"At most {limit}."
        case "minLength":
            return "It may not be empty."
        case "maxLength":
            return f"At most {limit} characters."
        case "enum":
            return f"One of {', '.join(map(str, limit))}."
    return "It has not the form that is expected here."
