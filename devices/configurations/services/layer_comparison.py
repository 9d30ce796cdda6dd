"""Layers side by side, with what they come to and where each key is from. For pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from devices.configurations import value_formatting
from devices.configurations.documents import OPEN, flattened, layered
from devices.configurations.models import (
    DeviceConfiguration,
    PlatformConfiguration,
    Scope,
)
from devices.configurations.services import effective
from devices.configurations.services.layers import Subject


@dataclass(frozen=True, slots=True)
class Column:
    """A layer; `is_edited` is the one that the page is about."""

    label: str
    document: dict[str, Any]
    is_edited: bool = False
    layer: Any = None


@dataclass(frozen=True, slots=True)
class Cell:
    """What a layer says of a key, if it does; whether that is what holds in the end."""

    text: str
    is_said: bool
    holds: bool


@dataclass(frozen=True, slots=True)
class Row:
    key: str
    label: str
    cells: list[Cell]
    effective: str
    source: str


def columns(subject: Subject, document: dict[str, Any]) -> list[Column]:
    """The layers up to the subject's own, that one with a document that is proposed."""
    below = [
        Column(str(layer), layer.document, layer=layer) for layer in _below(subject)
    ]
    return [*below, Column(label(subject), document, is_edited=True)]


def rows(layers: Sequence[Column]) -> list[Row]:
    """A row for every key that one of them names."""
    laid = layered((number, column.document) for number, column in enumerate(layers))
    said = [flattened(column.document) for column in layers]
    keys = sorted(
        {key for document in said for key in document}, key=value_formatting.place
    )
    result = flattened(laid.document)
    made = []
    for key in keys:
        source = laid.sources.get(key)
        cells = [
            Cell(
                text=value_formatting.value(key, document[key])
                if key in document
                else "",
                is_said=key in document,
                holds=number == source,
            )
            for number, document in enumerate(said)
        ]
        in_the_end = value_formatting.value(key, result.get(key))
        whose = layers[source].label if source is not None else ""
        made.append(Row(key, value_formatting.label(key), cells, in_the_end, whose))
    return made


def inherited(layers: Sequence[Column]) -> dict[str, dict[str, str]]:
    """What would hold without the edited layer, by key: the text, the value, the source."""
    below = [column for column in layers if not column.is_edited]
    laid = layered((column.label, column.document) for column in below)
    found: dict[str, Any] = {}
    for key, value in laid.document.items():
        if key == OPEN:
            names = ", ".join(
                f"{name} = {value_formatting.value(f'{OPEN}.{name}', item)}"
                for name, item in value.items()
            )
            found[key] = {"text": names, "value": value, "source": ""}
            continue
        text = value_formatting.value(key, value)
        found[key] = {"text": text, "value": value, "source": laid.sources[key]}
    return found


def _below(subject: Subject) -> list[PlatformConfiguration | DeviceConfiguration]:
    if subject.scope == Scope.PLATFORM:
        return []
    if subject.device is not None:
        layers = effective.layers_of(subject.device)
        return [layer for layer in layers if layer.scope != Scope.DEVICE]
    platform = list(PlatformConfiguration.objects.all())
    if subject.scope == Scope.TENANT:
        return [*platform]
    return [*platform, *DeviceConfiguration.objects.filter(scope=Scope.TENANT)]


def label(subject: Subject) -> str:
    match subject.scope:
        case Scope.PLATFORM:
            return "Platform"
        case Scope.TENANT:
            return "All devices"
        case Scope.TAG:
            return f"Tag {subject.tag}"
        case _:
            return f"Device {subject.device}"
