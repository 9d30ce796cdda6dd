"""Portal pages of attributes, their fields in the form of a device, and their filters."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import TextFilter
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from core import clock
from core.errors import DomainError
from devices.registry import attribute_filter
from devices.registry.models import AttributeDefinition, Device, DeviceAttributes
from devices.registry.services import attributes
from tenants.admin.base import CascadeDeleteMixin, PortalAdmin
from tenants.admin.forms import ServiceForm, tenant_field, text_field
from tenants.context import tenant_scope

Kind = AttributeDefinition.Kind
PREFIX = "attribute_"  # of fields and filters
UNSET = ("", "-")
YES_NO = [UNSET, ("yes", "Yes"), ("no", "No")]


class AttributeForm(ServiceForm):
    """Define an attribute of devices."""

    tenant = tenant_field()
    label = text_field("Label", required=True, help_text="The name in the portal, such as Floor.")
    key = text_field(
        "Key",
        required=True,
        length=32,
        help_text="The name in the API and in files, such as floor. It cannot be changed later.",
    )
    kind = forms.ChoiceField(
        label="Kind", choices=Kind.choices, widget=UnfoldAdminSelectWidget(choices=Kind.choices)
    )
    choices = forms.CharField(
        label="Choices",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        help_text="One choice per line.",
    )

    class Meta:
        model = AttributeDefinition
        fields: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.is_new:
            row = self.instance
            self.initial.update(
                label=row.label, key=row.key, kind=row.kind, choices="\n".join(row.choices)
            )
            self.fields["key"].disabled = self.fields["kind"].disabled = True

    def call_service(self) -> AttributeDefinition:
        data = self.cleaned_data
        return attributes.define(
            key=data["key"],
            label=data["label"],
            kind=data["kind"],
            choices=data["choices"].splitlines(),
            must_be_new=self.is_new,
            now=clock.now(),
        )


@admin.register(AttributeDefinition)
class AttributeAdmin(CascadeDeleteMixin, PortalAdmin):
    """The admin class of attributes."""

    list_display = ("label", "key", "kind")
    list_filter = ("kind",)
    list_select_related = ("tenant",)
    search_fields = ("label__icontains", "key__istartswith")
    ordering = ("label", "id")
    service_form = AttributeForm
    fieldsets: Any = ((None, {"fields": ("label", "key", "kind", "choices")}),)
    conditional_fields: Any = {"choices": "kind == 'choice'"}  # noqa: RUF012 # as unfold declares it

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).filter(deleted_at__isnull=True)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        with tenant_scope(obj.tenant_id):
            attributes.delete(key=obj.key, now=clock.now())


def field_names(device: Device) -> list[str]:
    """Return the names of the fields of `form_fields`."""
    return ["notes", *(f"{PREFIX}{row.key}" for row in _definitions(device))]


def form_fields(device: Device) -> dict[str, forms.Field]:
    """Return the fields of a form for the notes and attributes of a device, with their values."""
    row: DeviceAttributes | None = getattr(device, "attributes", None)
    values = row.values if row else {}
    fields: dict[str, forms.Field] = {
        "notes": forms.CharField(
            label="Notes",
            required=False,
            max_length=attributes.MAX_NOTES,
            initial=row.notes if row else "",
            widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        )
    }
    for definition in _definitions(device):
        text = attributes.text_of(values.get(definition.key))
        field = _field(definition, text)
        field.initial = text
        fields[f"{PREFIX}{definition.key}"] = field
    return fields


def entered(cleaned_data: dict[str, Any]) -> dict[str, Any]:
    """Return the values of attributes, by key, from the data of a form."""
    return {
        name.removeprefix(PREFIX): value
        for name, value in cleaned_data.items()
        if name.startswith(PREFIX)
    }


def attribute_columns() -> list[Any]:
    """Return a column of the device list for each attribute of the current tenant."""
    return [_column(definition) for definition in attributes.of_tenant().values()]


def _column(definition: AttributeDefinition) -> Any:
    @admin.display(description=definition.label)
    def column(device: Any) -> str:
        row = getattr(device, "attributes", None)
        return attributes.text_of(row.values.get(definition.key)) or "-" if row else "-"

    column.__name__ = f"{PREFIX}{definition.key}"
    return column


def filters_of_tenant() -> list[type[admin.ListFilter]]:
    """Return a filter of the device list for each attribute of the current tenant."""
    return [_filter(definition) for definition in attributes.of_tenant().values()]


def _definitions(device: Any) -> list[AttributeDefinition]:
    """Return the attributes of a device's tenant. They are kept on the device."""
    known: list[AttributeDefinition] | None = getattr(device, "_definitions", None)
    if known is None:
        with tenant_scope(device.tenant_id):  # the superuser has no tenant
            known = device._definitions = list(attributes.of_tenant().values())
    return known


def _field(definition: AttributeDefinition, stored: str) -> forms.Field:
    options: Any = {"label": definition.label, "required": False}
    if choices := _choices(definition):
        if stored not in dict(choices):  # it was a choice before
            choices = [*choices, (stored, f"{stored} (no longer a choice)")]
        widget: Any = UnfoldAdminSelectWidget(choices=choices)
        return forms.ChoiceField(choices=choices, widget=widget, **options)
    html = {Kind.NUMBER: {"inputmode": "decimal"}, Kind.DATE: {"type": "date"}}
    widget = UnfoldAdminTextInputWidget(attrs=html.get(Kind(definition.kind), {}))
    return forms.CharField(max_length=attributes.MAX_TEXT, widget=widget, **options)


def _choices(definition: AttributeDefinition) -> list[tuple[str, str]]:
    if definition.kind == Kind.BOOLEAN:
        return YES_NO
    return [UNSET, *((text, text) for text in definition.choices)] if definition.choices else []


def _filter(definition: AttributeDefinition) -> type[admin.ListFilter]:
    """Return a filter class, as Django's admin wants one for each parameter."""
    choices = _choices(definition)
    base: Any = admin.SimpleListFilter if choices else TextFilter

    def queryset(self: Any, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        text = (self.value() or "").strip()
        if not text:
            return queryset
        try:
            return queryset.filter(attribute_filter.matches(definition, ":", text))
        except DomainError:
            return queryset.none()

    names: dict[str, Any] = {
        "title": definition.label,
        "parameter_name": f"{PREFIX}{definition.key}",
        "queryset": queryset,
        "lookups": lambda self, request, model_admin: choices[1:],
    }
    return type("AttributeFilter", (base,), names)
