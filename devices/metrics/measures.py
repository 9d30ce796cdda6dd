"""The fields of a sample with their units and bounds, and the measures tracked over time.

The sample validation, the table columns, the roll-ups, the charts, the monitoring rules
and the OpenAPI document are all derived from these tables. Add new fields here.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "integer", "boolean", "string", "strings"]

MAX_MEGABYTES = 1_000_000_000  # a petabyte
MAX_STRING_LENGTH = 255
MAX_STRINGS = 200
MAX_EXTRA_KEYS = 300  # in the unknown fields of one sample
MAX_EXTRA_LENGTH = 8_192  # characters of JSON for the unknown fields of one sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field that a device may report.

    `path` is the position of the field in the JSON of a sample. Both bounds are inclusive.
    """

    column: str
    path: tuple[str, ...]
    kind: Kind
    minimum: float = 0
    maximum: float = 0
    max_length: int = MAX_STRING_LENGTH
    unit: str = ""


def _percent(column: str) -> Field:
    return Field(column=column, path=(column,), kind="number", maximum=100, unit="%")


def _megabytes(column: str, minimum: int = 0) -> Field:
    return Field(
        column=column,
        path=(column,),
        kind="integer",
        minimum=minimum,
        maximum=MAX_MEGABYTES,
        unit="MB",
    )


FIELDS: tuple[Field, ...] = (
    _percent("cpu_usage"),
    _megabytes("ram_used_mb"),
    _megabytes("ram_total_mb", 1),
    _megabytes("storage_used_mb"),
    _megabytes("storage_total_mb", 1),
    _percent("battery_level"),
    Field(column="is_charging", path=("is_charging",), kind="boolean"),
    Field(
        column="temperature",
        path=("temperature",),
        kind="number",
        minimum=-100,
        maximum=250,
        unit="°C",
    ),
    Field(column="network_type", path=("network", "type"), kind="string", max_length=32),
    Field(column="ssid", path=("network", "ssid"), kind="string", max_length=64),
    Field(
        column="signal_strength",
        path=("network", "signal_strength"),
        kind="number",
        minimum=-150,
        maximum=0,
        unit="dBm",
    ),
    Field(column="latency", path=("network", "latency"), kind="number", maximum=600_000, unit="ms"),
    Field(column="running_apps", path=("running_apps",), kind="strings"),
    Field(column="screen_is_on", path=("screen", "is_on"), kind="boolean"),
    Field(column="screen_brightness", path=("screen", "brightness"), kind="integer", maximum=255),
)
GROUPS = frozenset(field.path[0] for field in FIELDS if len(field.path) > 1)
PERCENTAGES = (  # (column in percent, column of the used part, column of the total)
    ("ram_usage", "ram_used_mb", "ram_total_mb"),
    ("storage_usage", "storage_used_mb", "storage_total_mb"),
)
NO_NETWORK = "none"  # a device with any other `network.type` is connected


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A numeric column that is rolled up, drawn as a chart, and usable in rules."""

    name: str  # the column in the samples table
    label: str
    unit: str


MEASURES: tuple[Measure, ...] = (
    Measure(name="cpu_usage", label="CPU", unit="%"),
    Measure(name="ram_usage", label="RAM", unit="%"),
    Measure(name="ram_used_mb", label="RAM used", unit="MB"),
    Measure(name="storage_usage", label="Storage", unit="%"),
    Measure(name="storage_used_mb", label="Storage used", unit="MB"),
    Measure(name="battery_level", label="Battery", unit="%"),
    Measure(name="temperature", label="Temperature", unit="°C"),
    Measure(name="signal_strength", label="Signal strength", unit="dBm"),
    Measure(name="latency", label="Latency", unit="ms"),
    Measure(name="is_connected", label="Connected", unit=""),  # 1: yes, 0: no
)
MEASURE = {measure.name: measure for measure in MEASURES}
CHOICES = [(measure.name, measure.label) for measure in MEASURES]
