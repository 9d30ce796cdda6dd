"""Side-by-side comparison of layers and their merged document, for portal pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from devices.configurations import value_formatting
from devices.configurations.documents import EXTRA, flatten, merge_layers
from devices.configurations.models import DeviceConfiguration, PlatformConfiguration, Scope
from devices.configurations.services import effective
from devices.configurations.services.layers import Subject


@dataclass(frozen=True, slots=True)
class Column:
    """A layer. `is_edited` marks the layer that the page edits."""

    label: str
    document: dict[str, Any]
    is_edited: bool = False
    layer: Any = None


@dataclass(frozen=True, slots=True)
class Cell:
    """The value of a key in one layer. The text is empty if the layer does not set the key."""

    text: str
    is_set: bool
    is_effective: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A key, its value in each layer, the effective value, and the layer that sets this value."""

    key: str
    label: str
    cells: list[Cell]
    effective: str
    source: str


def columns(subject: Subject, document: dict[str, Any]) -> list[Column]:
    """Return a column for each weaker layer, and a column for the subject's own document."""
    below = [Column(str(layer), layer.document, layer=layer) for layer in _layers_below(subject)]
    return [*below, Column(label(subject), document, is_edited=True)]


def rows(layers: Sequence[Column]) -> list[Row]:
    """Return a row for every key that a layer sets. The rows have the order of the schema."""
    merged = merge_layers((number, column.document) for number, column in enumerate(layers))
    documents = [flatten(column.document) for column in layers]
    keys = sorted(
        {key for document in documents for key in document}, key=value_formatting.sort_key
    )
    merged_values = flatten(merged.document)
    result = []
    for key in keys:
        source = merged.sources.get(key)
        cells = [
            Cell(
                text=value_formatting.format_value(key, document[key]) if key in document else "",
                is_set=key in document,
                is_effective=number == source,
            )
            for number, document in enumerate(documents)
        ]
        effective_value = value_formatting.format_value(key, merged_values.get(key))
        source_label = layers[source].label if source is not None else ""
        key_label = value_formatting.label(key)
        result.append(Row(key, key_label, cells, effective_value, source_label))
    return result


def inherited(layers: Sequence[Column]) -> dict[str, dict[str, str]]:
    """Merge all layers but the edited one. Return text, value and source layer of each key."""
    below = [column for column in layers if not column.is_edited]
    merged = merge_layers((column.label, column.document) for column in below)
    values: dict[str, Any] = {}
    for key, value in merged.document.items():
        if key == EXTRA:
            text = ", ".join(
                f"{name} = {value_formatting.format_value(f'{EXTRA}.{name}', item)}"
                for name, item in value.items()
            )
            source = ""
        else:
            text = value_formatting.format_value(key, value)
            source = merged.sources[key]
        values[key] = {"text": text, "value": value, "source": source}
    return values


def _layers_below(subject: Subject) -> list[PlatformConfiguration | DeviceConfiguration]:
    if subject.scope == Scope.PLATFORM:
        return []
    if subject.device is not None:
        layers = effective.layers_of(subject.device)
        return [layer for layer in layers if layer.scope != Scope.DEVICE]
    platform = list(PlatformConfiguration.objects.all())
    if subject.scope == Scope.TENANT:
        return [*platform]
    weaker = [*platform, *DeviceConfiguration.objects.filter(scope=Scope.TENANT)]
    if subject.site is not None:
        weaker += [
            layer
            for layer in effective.layers_of_sites(subject.site)
            if layer.site_id != subject.site.pk
        ]
    return weaker


def label(subject: Subject) -> str:
    """Return the name of a subject's layer."""
    match subject.scope:
        case Scope.PLATFORM:
            return "Platform"
        case Scope.TENANT:
            return "All devices"
        case Scope.SITE:
            return f"Site {subject.site}"
        case Scope.TAG:
            return f"Tag {subject.tag}"
        case _:
            return f"Device {subject.device}"
