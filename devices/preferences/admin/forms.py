"""The portal's forms of the preferences: each calls its service and shows what it refuses."""

import json
from typing import Any

from django import forms
from django.utils import timezone
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from devices.preferences.errors import NotReadable
from devices.preferences.models import Kind, PlatformPreference, PreferenceDefinition
from devices.preferences.services import definitions
from tenants.admin.forms import ServiceForm, tenant_field, text


def bound(label: str) -> Any:
    return forms.IntegerField(
        label=label,
        required=False,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "numeric"}),
        help_text="Of a whole number. Empty: none.",
    )


class DefinitionFields(ServiceForm):
    """What a setting is; its default is typed as JSON says it."""

    key = text("Key", required=True, help_text="As the device knows it: font_size.")
    label = text(
        "Label", length=120, help_text="As people read it. Empty: from the key."
    )
    description = text("Description", length=500)
    kind = forms.ChoiceField(
        label="Kind",
        choices=Kind.choices,
        widget=UnfoldAdminSelectWidget(choices=Kind.choices),
    )
    minimum = bound("At least")
    maximum = bound("At most")
    choices = forms.CharField(
        label="Choices",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="Of a choice: one on each line.",
    )
    default = forms.CharField(
        label="Default",
        required=False,
        max_length=20_000,
        strip=False,
        widget=UnfoldAdminTextInputWidget(),
        help_text="yes or no, a number, a text, one of the choices, or JSON.",
    )
    device_may_write = forms.BooleanField(
        label="The device may write it",
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget(),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        row = self.instance
        if row._state.adding:
            return
        for name in ("label", "description", "kind", "minimum", "maximum"):
            self.initial[name] = getattr(row, name)
        self.initial["device_may_write"] = row.device_may_write
        self.initial["choices"] = "\n".join(row.choices)
        self.initial["default"] = as_typed(row.kind, row.default)
        self.initial["key"] = row.key
        self.fields["key"].disabled = True

    def said(self) -> dict[str, Any]:
        """
        Raises:
            NotReadable: the default is no value at all.
        """
        said = dict(self.cleaned_data)
        said["choices"] = [line for line in said["choices"].splitlines() if line]
        kind = self.kind_of(said["key"], said["kind"])
        said["default"] = typed(kind, said["default"], field="default")
        return {**said, "must_be_new": self.instance._state.adding}

    def kind_of(self, key: str, said: str) -> str:
        return said


class PreferenceForm(DefinitionFields):
    """A tenant's own setting, or its default for one of the platform's."""

    tenant = tenant_field()

    def kind_of(self, key: str, said: str) -> str:
        """Of the platform's, the kind is not the tenant's to say."""
        of_platform = PlatformPreference.objects.filter(key=key).first()
        return of_platform.kind if of_platform else said

    class Meta:
        model = PreferenceDefinition
        fields = ("key",)

    def act(self) -> PreferenceDefinition:
        return definitions.define(now=timezone.now(), **self.said())


class PlatformPreferenceForm(DefinitionFields):
    class Meta:
        model = PlatformPreference
        fields = ("key",)

    def act(self) -> PlatformPreference:
        return definitions.define_for_platform(now=timezone.now(), **self.said())


def typed(kind: str, text: str, *, field: str | None = None) -> Any:
    """What somebody typed, as a value of a kind.

    Raises:
        NotReadable: it is none at all.
    """
    stripped = text.strip()
    match kind:
        case Kind.BOOLEAN:
            known = {"yes": True, "true": True, "no": False, "false": False}
            if stripped.lower() not in known:
                raise NotReadable("This is yes or no.", field=field)
            return known[stripped.lower()]
        case Kind.INTEGER | Kind.JSON:
            try:
                return json.loads(stripped)
            except (ValueError, RecursionError) as error:
                whole = kind == Kind.INTEGER
                said = "This is a whole number." if whole else "This is no JSON."
                raise NotReadable(said, field=field) from error
        case _:
            return text


def as_typed(kind: str, value: Any) -> str:
    """The same the other way round."""
    match kind:
        case Kind.BOOLEAN:
            return "yes" if value else "no"
        case Kind.TEXT | Kind.CHOICE:
            return str(value)
        case _:
            return json.dumps(value, ensure_ascii=False)
