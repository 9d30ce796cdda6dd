"""Conditions on the attributes of devices, as in `floor:2;rent>=100`."""

import re
from typing import Any

from django import forms
from django.db.models import Exists, FloatField, OuterRef, Q, TextField
from django.db.models.fields.json import KT
from django.db.models.functions import Cast

from core.characters import is_blank
from core.errors import DomainError
from devices.registry.models import AttributeDefinition, DeviceAttributes
from devices.registry.services import attributes

SEPARATOR = ";"
MAX_CONDITIONS = 10
_CONDITION = re.compile(rf"({attributes.KEY_PATTERN})(:|>=|<=)(.*)", re.DOTALL)
_COMPARED = (AttributeDefinition.Kind.NUMBER, AttributeDefinition.Kind.DATE)


class AttributesField(forms.CharField):
    """Conditions, separated by semicolons. A condition is `key:value`, `key>=value` or `key<=value`.

    The value is a `Q` of devices. Without a value, as in `key:`, a device must not have one.
    """

    def to_python(self, value: Any) -> Any:
        if value is None:
            return None
        parts = [part for part in str(value).split(SEPARATOR) if part.strip()]
        if not 1 <= len(parts) <= MAX_CONDITIONS:  # no condition would mean all devices
            raise forms.ValidationError(f"Enter 1 to {MAX_CONDITIONS} conditions.", "invalid")
        definitions = attributes.of_tenant()
        found = Q()
        for part in parts:
            found &= _condition(part, definitions)
        return found


def matches(definition: AttributeDefinition, operator: str, text: str) -> Q:
    """Return the devices whose attribute equals a value, or is at least or at most that.

    Args:
        operator: `:`, `>=` or `<=`.
        text: the value; if blank, devices without a value match.

    Raises:
        InvalidAttributeValue: the value does not fit the attribute.
    """
    value = attributes.parse(definition, text)
    rows = DeviceAttributes.every_tenant.filter(device=OuterRef("pk"))
    with_key = rows.filter(values__has_key=definition.key)
    if value is None:
        return ~Q(Exists(with_key))
    if operator == ":":
        return Q(Exists(rows.filter(values__contains={definition.key: value})))
    is_number = definition.kind == AttributeDefinition.Kind.NUMBER
    stored = Cast(KT(f"values__{definition.key}"), FloatField() if is_number else TextField())
    lookup = "gte" if operator == ">=" else "lte"
    return Q(Exists(with_key.annotate(stored=stored).filter(**{f"stored__{lookup}": value})))


def _condition(part: str, definitions: dict[str, AttributeDefinition]) -> Q:
    match = _CONDITION.fullmatch(part.strip())
    if match is None:
        raise forms.ValidationError("Enter conditions such as floor:2 or rent>=100.", "invalid")
    key, operator, text = match.groups()
    if key not in definitions:
        raise forms.ValidationError(f"There is no attribute {key}.", "invalid")
    if operator != ":" and definitions[key].kind not in _COMPARED:
        raise forms.ValidationError(f"{key} can be compared with : only.", "invalid")
    if operator != ":" and is_blank(text):
        raise forms.ValidationError(f"Enter a value after {key}{operator}.", "invalid")
    try:
        return matches(definitions[key], operator, text)
    except DomainError as error:
        raise forms.ValidationError(str(error), "invalid") from None
