"""Read messages of devices as far as possible.

Nobody can visit a device in the field to correct a small error in its messages. So a message is
not rejected because of a small error. If a value cannot be used as it was sent, it is converted
if its meaning is clear. Otherwise it is cut or dropped. The response names these values.
Requests of members are strict instead (see `core.rest.strict`).
"""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail
from rest_framework.fields import empty
from rest_framework.request import Request

from core.characters import is_blank
from core.conversions import boolean_from, clamped, clean_json, clean_text, number_from
from core.ignored import Ignored
from core.rest.fields import CodeField, ExactCharField, PEMField

MAX_ITEMS = 200  # of a field with one object for each key
MAX_NAMED = 20  # unknown fields that the answer names
_DROPPED: Any = object()


class TolerantSerializer(serializers.Serializer[Any]):
    """Base class of the messages of devices. Read them with `read_message`."""


@dataclass(frozen=True, slots=True)
class Message:
    """The usable fields of a device's message, and what was not usable."""

    fields: dict[str, Any]
    ignored: list[Ignored] = field(default_factory=list)


def read_message(serializer: TolerantSerializer, request: Request) -> Message:
    """Read a device's message.

    Args:
        serializer: an instance without data. It can be shared by all requests.

    Raises:
        ValidationError: a required field is missing or has no clear meaning, so nothing in the
            message is usable.
    """
    return _read(serializer, request.data, "")


def _read(serializer: TolerantSerializer, data: Mapping[str, Any], prefix: str) -> Message:
    message = Message({})
    known = serializer.fields
    unknown = [name for name in data if name not in known]
    for name in unknown[:MAX_NAMED]:
        path = prefix + clean_text(str(name), 64)
        message.ignored.append(Ignored(path, "unknown_field", "This field does not exist."))
    for name, spec in known.items():
        if name in data:
            _read_field(name, spec, data[name], prefix, message)
        if spec.required and spec.source not in message.fields:
            raise serializers.ValidationError({name: _fault(spec, data.get(name, empty))})
    return message


def _read_field(name: str, spec: Any, value: Any, prefix: str, message: Message) -> None:
    if isinstance(getattr(spec, "child", None), TolerantSerializer) and isinstance(value, dict):
        message.fields[spec.source] = _read_items(name, spec, value, prefix, message)
        return
    try:
        message.fields[spec.source] = spec.run_validation(value)
        return
    except serializers.ValidationError as error:
        is_given = value is not None and not (isinstance(value, str) and is_blank(value))
        if isinstance(spec, PEMField) and is_given:  # what it asks for cannot be guessed
            raise serializers.ValidationError({name: _clean_detail(error.detail)}) from None
        detail = _first_sentence(error.detail)
    converted = _converted(spec, value)
    if converted is not _DROPPED:
        try:
            message.fields[spec.source] = spec.run_validation(converted)
        except serializers.ValidationError:
            converted = _DROPPED
    code = "dropped" if converted is _DROPPED else "converted"
    message.ignored.append(Ignored(prefix + name, code, detail))


def _read_items(
    name: str, spec: Any, items: dict[str, Any], prefix: str, message: Message
) -> dict[str, Any]:
    """Read the objects in a `DictField`. An object without a required field is dropped.

    Raises:
        ValidationError: no object is usable, or there are none.
    """
    usable, faults = {}, {}
    if len(items) > MAX_ITEMS:
        sentence = f"At most {MAX_ITEMS} are used."
        message.ignored.append(Ignored(prefix + name, "too_many", sentence))
    for key, item in islice(items.items(), MAX_ITEMS):
        path = f"{prefix}{name}.{clean_text(key, 64)}"
        try:
            if not isinstance(item, dict):
                raise serializers.ValidationError("An object is expected.")
            read = _read(spec.child, item, f"{path}.")
        except serializers.ValidationError as error:
            faults[clean_text(key, 64)] = _clean_detail(error.detail)
            message.ignored.append(Ignored(path, "dropped", _first_sentence(error.detail)))
            continue
        usable[key] = read.fields
        message.ignored.extend(read.ignored)
    if not usable:
        raise serializers.ValidationError({name: faults or _fault(spec, items)})
    return usable


def _converted(spec: Any, value: Any) -> Any:
    """Return what a value means for a field, or `_DROPPED`."""
    if value is None:
        return _DROPPED
    for kind, convert in _CONVERTERS:
        if isinstance(spec, kind):
            return convert(spec, value)
    return _DROPPED


def _text(spec: Any, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return _DROPPED
    return clean_text(str(value), spec.max_length) or _DROPPED


def _exact_text(spec: Any, value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return _DROPPED
    return str(value).strip().strip("\x00").strip()  # a text of C may end with NUL


def _code(spec: Any, value: Any) -> Any:
    if not isinstance(value, str):
        return _DROPPED
    return re.sub(r"[^a-z0-9_.-]+", "_", clean_text(value).lower())[: spec.max_length] or _DROPPED


def _integer(spec: Any, value: Any) -> Any:
    number = number_from(value)
    number = None if number is None else clamped(number, spec.min_value, spec.max_value)
    return _DROPPED if number is None else round(number)


def _boolean(spec: Any, value: Any) -> Any:
    truth = boolean_from(value)
    return _DROPPED if truth is None else truth


def _choice(spec: Any, value: Any) -> Any:
    return value.strip().lower() if isinstance(value, str) else _DROPPED


def _list(spec: Any, value: Any) -> Any:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        return _DROPPED
    items = []
    for item in value[: spec.max_length]:
        try:
            items.append(spec.child.run_validation(item))
        except serializers.ValidationError:
            converted = _converted(spec.child, item)
            with suppress(serializers.ValidationError):
                if converted is not _DROPPED:
                    items.append(spec.child.run_validation(converted))
    return items


def _json(spec: Any, value: Any) -> Any:
    return clean_json(value) if isinstance(value, dict) else _DROPPED


_CONVERTERS: tuple[tuple[type, Callable[[Any, Any], Any]], ...] = (
    (ExactCharField, _exact_text),
    (CodeField, _code),
    (serializers.ChoiceField, _choice),
    (serializers.IPAddressField, _text),
    (serializers.CharField, _text),
    (serializers.IntegerField, _integer),
    (serializers.BooleanField, _boolean),
    (serializers.ListField, _list),
    (serializers.DictField, _json),
    (serializers.JSONField, _json),
)


def _fault(spec: Any, value: Any) -> Any:
    """Return what the strict check says about a value that is not usable."""
    try:
        spec.run_validation(value)
    except serializers.ValidationError as error:
        return _clean_detail(error.detail)
    return [spec.error_messages["required"]]


def _clean_detail(detail: Any) -> Any:
    """Return an error that may repeat what was sent, without characters that JSON cannot have."""
    if isinstance(detail, dict):
        return {clean_text(str(key), 64): _clean_detail(item) for key, item in detail.items()}
    if isinstance(detail, list):
        return [_clean_detail(item) for item in detail]
    return ErrorDetail(clean_text(str(detail)), getattr(detail, "code", None))


def _first_sentence(detail: Any) -> str:
    while isinstance(detail, list | dict):
        detail = next(iter(detail.values() if isinstance(detail, dict) else detail), "")
    return clean_text(str(detail))
