"""What a sample may say, within which bounds, and what of it is measured over time.

One table: the judge of samples, the columns, the roll-ups, the charts, the rules of the
monitoring and the OpenAPI document are all made from it.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "whole", "truth", "word", "words"]

MOST_MEGABYTES = 1_000_000_000  # a petabyte
LONGEST_WORD = 255
MOST_WORDS = 200
LONGEST_EXTRA = 8_192  # characters of JSON in one sample that we have no field for


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """Something that a device may report.

    `place` is where it stands in the JSON of a sample; bounds include themselves.
    """

    column: str
    place: tuple[str, ...]
    kind: Kind
    least: float = 0
    most: float = 0
    longest: int = LONGEST_WORD
    unit: str = ""


def _percent(column: str) -> Field:
    return Field(column=column, place=(column,), kind="number", most=100, unit="%")


def _megabytes(column: str, least: int = 0) -> Field:
    most = MOST_MEGABYTES
    return Field(
        column=column, place=(column,), kind="whole", least=least, most=most, unit="MB"
    )


FIELDS: tuple[Field, ...] = (
    _percent("cpu_usage"),
    _megabytes("ram_used_mb"),
    _megabytes("ram_total_mb", 1),
    _megabytes("storage_used_mb"),
    _megabytes("storage_total_mb", 1),
    _percent("battery_level"),
    Field(column="is_charging", place=("is_charging",), kind="truth"),
    Field(
        column="temperature",
        place=("temperature",),
        kind="number",
        least=-100,
        most=250,
        unit="°C",
    ),
    Field(column="network_type", place=("network", "type"), kind="word", longest=32),
    Field(column="ssid", place=("network", "ssid"), kind="word", longest=64),
    Field(
        column="signal_strength",
        place=("network", "signal_strength"),
        kind="number",
        least=-150,
        most=0,
        unit="dBm",
    ),
    Field(
        column="latency",
        place=("network", "latency"),
        kind="number",
        most=600_000,
        unit="ms",
    ),
    Field(column="running_apps", place=("running_apps",), kind="words"),
    Field(column="screen_is_on", place=("screen", "is_on"), kind="truth"),
    Field(
        column="screen_brightness",
        place=("screen", "brightness"),
        kind="whole",
        most=255,
    ),
)
GROUPS = frozenset(field.place[0] for field in FIELDS if len(field.place) > 1)
SHARES = (  # (the share in percent, of what, of how much)
    ("ram_usage", "ram_used_mb", "ram_total_mb"),
    ("storage_usage", "storage_used_mb", "storage_total_mb"),
)
NO_NETWORK = "none"  # a `network.type`; with another one the device is connected


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A number that is followed over time: rolled up, drawn, and watched by rules."""

    name: str  # a column of samples
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
    Measure(name="is_connected", label="Connected", unit=""),  # 1 yes, 0 no
)
MEASURE = {measure.name: measure for measure in MEASURES}
CHOICES = [(measure.name, measure.label) for measure in MEASURES]
