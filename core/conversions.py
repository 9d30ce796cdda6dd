"""Convert values of devices' messages whose meaning is clear."""

import math
import re
from typing import Any

from core.characters import FORBIDDEN

MAX_EXCESS = 0.01  # of its range, by which a measured number may exceed a bound
MAX_NUMBER = 1e300  # a larger number is a fault; NaN is not less either
_NOT_ON_ONE_LINE = re.compile(rf"[{FORBIDDEN}\s]+")


def clean_text(text: str, max_length: int | None = None) -> str:
    """Return a text on one line, without control characters and lone surrogates, cut."""
    text = text.encode("utf-8", "ignore").decode()
    return _NOT_ON_ONE_LINE.sub(" ", text).strip()[:max_length].rstrip()


def clean_json(value: Any) -> Any:
    """Return a JSON value without lone surrogates, NUL characters and non-finite numbers."""
    match value:
        case str():
            return value.encode("utf-8", "ignore").decode().replace("\x00", "")
        case float() if not math.isfinite(value):
            return None
        case list():
            return [clean_json(item) for item in value]
        case dict():
            return {clean_json(name): clean_json(item) for name, item in value.items()}
    return value


def number_from(value: Any) -> float | int | None:
    """Return the number that a JSON value means, such as 17 for `"17"`. None if it is unclear."""
    if isinstance(value, str) and len(value) <= 40:
        try:
            value = float(value.strip().replace(",", ".").removesuffix("%"))
        except ValueError:
            return None
        value = int(value) if math.isfinite(value) and value.is_integer() else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < MAX_NUMBER else None


def clamped(number: float, minimum: float | None, maximum: float | None) -> float | None:
    """Return a number within bounds, if it exceeds them by less than 1 and 1 % of the range."""
    lowest = -math.inf if minimum is None else minimum
    highest = math.inf if maximum is None else maximum
    nearest = min(max(number, lowest), highest)
    excess = abs(number - nearest)
    return nearest if excess < 1 and excess <= MAX_EXCESS * (highest - lowest) else None


def boolean_from(value: Any) -> bool | None:
    """Return the truth value that a JSON value means, such as True for `"true"` or 1."""
    key = str(value).strip().lower()
    return {"true": True, "1": True, "false": False, "0": False}.get(key)
