"""Forms for preferences, and conversion between form text and values."""

import json
from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from core import clock
from devices.preferences.errors import UnreadableValue
from devices.preferences.models import Kind, PlatformPreference, PreferenceDefinition
from devices.preferences.services import definitions
from tenants.admin.forms import ServiceForm, switch_field, tenant_field, text_field


def bound_field(label: str) -> Any:
    return forms.IntegerField(
        label=label,
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric"}),
        help_text="Only for the kind “whole number”. If empty, there is no limit.",
    )


class DefinitionFields(ServiceForm):
    """Base of the forms for definitions."""

    key = text_field(
        "Key", required=True, help_text="The name that devices use, such as font_size."
    )
    label = text_field(
        "Label",
        length=120,
        help_text="The name in the portal. If empty, it is derived from the key.",
    )
    description = text_field("Description", length=500)
    kind = forms.ChoiceField(
        label="Kind", choices=Kind.choices, widget=UnfoldAdminSelectWidget(choices=Kind.choices)
    )
    minimum = bound_field("Minimum")
    maximum = bound_field("Maximum")
    choices = forms.CharField(
        label="Choices",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Only for the kind “choice”. One choice per line.",
    )
    default = forms.CharField(
        label="Default",
        required=False,
        max_length=20_000,
        strip=False,
        widget=UnfoldAdminTextInputWidget(),
        help_text=(
            "Depending on the kind: yes or no, a whole number, a text, one of the choices, or JSON."
        ),
    )
    device_may_write = switch_field("Writable by the device", initial=True)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        row = self.instance
        if row._state.adding:
            return
        for name in ("label", "description", "kind", "minimum", "maximum"):
            self.initial[name] = getattr(row, name)
        self.initial["device_may_write"] = row.device_may_write
        self.initial["choices"] = "\n".join(row.choices)
        self.initial["default"] = format_value(row.kind, row.default)
        self.initial["key"] = row.key
        self.fields["key"].disabled = True

    def service_arguments(self) -> dict[str, Any]:
        """Return the values of the form as arguments of the service that defines a preference.

        Raises:
            UnreadableValue: the default value cannot be parsed.
        """
        values = dict(self.cleaned_data)
        values["choices"] = [line for line in values["choices"].splitlines() if line]
        kind = self.kind_of(values["key"], values["kind"])
        values["default"] = parse_value(kind, values["default"], field="default")
        return {**values, "must_be_new": self.instance._state.adding}

    def kind_of(self, key: str, chosen_kind: str) -> str:
        return chosen_kind


class PreferenceForm(DefinitionFields):
    """Form for a tenant's preference, or for its default of a platform preference."""

    tenant = tenant_field()

    def kind_of(self, key: str, chosen_kind: str) -> str:
        """Return the kind. A tenant cannot change the kind of a platform preference."""
        platform_row = PlatformPreference.objects.filter(key=key).first()
        return platform_row.kind if platform_row else chosen_kind

    class Meta:
        model = PreferenceDefinition
        fields = ("key",)

    def call_service(self) -> PreferenceDefinition:
        return definitions.define(now=clock.now(), **self.service_arguments())


class PlatformPreferenceForm(DefinitionFields):
    """Form for a preference of all tenants."""

    class Meta:
        model = PlatformPreference
        fields = ("key",)

    def call_service(self) -> PlatformPreference:
        return definitions.define_for_platform(now=clock.now(), **self.service_arguments())


def parse_value(kind: str, text: str, *, field: str | None = None) -> Any:
    """Parse the text of a form field as a value of a kind.

    Args:
        field: the name of the form field to which the error refers.

    Raises:
        UnreadableValue: the text is not a value of the kind.
    """
    stripped = text.strip()
    match kind:
        case Kind.BOOLEAN:
            values = {"yes": True, "true": True, "no": False, "false": False}
            if stripped.lower() not in values:
                raise UnreadableValue("Enter yes or no.", field=field)
            return values[stripped.lower()]
        case Kind.INTEGER | Kind.JSON:
            try:
                return json.loads(stripped)
            except (ValueError, RecursionError) as error:
                message = "Enter a whole number." if kind == Kind.INTEGER else "Enter valid JSON."
                raise UnreadableValue(message, field=field) from error
        case _:
            return text


def format_value(kind: str, value: Any) -> str:
    """Format a value as text for a form field. The inverse of `parse_value`."""
    match kind:
        case Kind.BOOLEAN:
            return "yes" if value else "no"
        case Kind.TEXT | Kind.CHOICE:
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False)
