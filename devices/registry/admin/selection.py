"""A selection of the device list, and its hand-over to the form of another operation."""

import json
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect

from devices.registry.admin.filters import conditions_of
from devices.registry.models import Device
from tenants.admin.base import signed_in_user
from tenants.context import current_tenant_id

SESSION_KEY = "selected_devices"
MAX_LENGTH = 40_000  # characters


def selected_conditions(request: HttpRequest) -> dict[str, str]:
    """Return the selection of a list of devices as parameters of `GET /devices`."""
    if request.POST.get("select_across") == "1":
        return conditions_of(request.GET)
    return {"devices": ",".join(request.POST.getlist("_selected_action"))}


def tenant_of_selection(request: HttpRequest, devices: QuerySet[Device]) -> UUID | None:
    """Return the tenant of the selected devices. If there are several, say so and return None."""
    ids = [current_tenant_id()]
    if signed_in_user(request).sees_every_tenant:
        tenants = devices.order_by().values_list("tenant_id", flat=True)
        ids = list(tenants.distinct()[:2])
    if len(ids) == 1 and ids[0] is not None:
        return ids[0]
    messages.error(
        request, "Choose devices of one tenant. The filter by tenant limits the list to one."
    )
    return None


def hand_over(
    page: str, admin: Any, request: HttpRequest, devices: QuerySet[Device]
) -> HttpResponse | None:
    """Open a form with the selection of the list. It is an action of the list.

    Args:
        page: the name of the URL. Its form is a `SelectionForm`.
    """
    tenant_id = tenant_of_selection(request, devices)
    if tenant_id is None:
        return None
    # The ids of 500 devices are too long for an address.
    request.session[SESSION_KEY] = {
        "tenant": str(tenant_id),
        "conditions": selected_conditions(request),
    }
    return redirect(page)


def taken_over(request: HttpRequest) -> dict[str, Any]:
    """Return the initial values of a `SelectionForm` for the selection that was handed over."""
    stored = request.session.pop(SESSION_KEY, None)
    if request.method != "GET" or stored is None:
        return {}
    return {"selection": json.dumps(stored["conditions"]), "tenant": stored["tenant"]}


class SelectionForm(forms.Form):
    """Base of forms for devices that a filter or the list of devices selects.

    With a selection of the list, the fields of the filter (`filter_names`) are left out.
    """

    filter_names: tuple[str, ...] = ()
    selection = forms.CharField(
        required=False, max_length=MAX_LENGTH, widget=forms.HiddenInput, strip=False
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        given = self.data.get("selection") if self.is_bound else self.initial.get("selection")
        self.has_selection = bool(given)
        if self.has_selection:
            for name in self.filter_names:
                del self.fields[name]

    def clean_selection(self) -> dict[str, str] | None:
        """Return the conditions; None without a selection."""
        text = self.cleaned_data["selection"]
        if not text:
            return None
        try:
            conditions = json.loads(text)
        except ValueError:
            conditions = None
        is_valid = isinstance(conditions, dict) and all(
            isinstance(item, str) for pair in conditions.items() for item in pair
        )
        if not is_valid:
            raise forms.ValidationError("Select the devices again.", "invalid")
        return dict(conditions)

    def selected(self) -> dict[str, str]:
        """Return the filter of the devices, from the selection or from the fields."""
        data = self.cleaned_data
        if data.get("selection") is not None:
            return dict(data["selection"])
        return {name: data[name] for name in self.filter_names if data.get(name)}

    def selection_text(self) -> str:
        """Return which devices are selected, for people; "" without a selection."""
        source = self.data if self.is_bound else self.initial
        try:
            conditions = json.loads(source.get("selection") or "null")
        except ValueError:
            return ""
        if not isinstance(conditions, dict):
            return ""
        if ids := conditions.get("devices"):
            count = str(ids).count(",") + 1
            return f"{count} selected device{'s' if count > 1 else ''}"
        text = ", ".join(f"{name} {value}" for name, value in sorted(conditions.items()))
        return f"All devices with {text}" if text else "All devices"
