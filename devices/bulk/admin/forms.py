"""The form of a new bulk operation."""

import json
from typing import Any

from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget

from devices.bulk.actions import BulkAction
from tenants.admin.forms import text_field

MAX_CONDITIONS = 20_000  # characters


class ConditionsField(forms.JSONField):
    """The filter of the devices, in a hidden field."""

    widget = forms.HiddenInput

    def clean(self, value: Any) -> dict[str, str]:
        conditions = super().clean(value)
        if not isinstance(conditions, dict) or len(json.dumps(conditions)) > MAX_CONDITIONS:
            raise forms.ValidationError("The selection is not valid. Select the devices again.")
        return {str(name): str(text) for name, text in conditions.items()}


class NewOperationForm(forms.Form):
    """The parameters of an action, and the devices that it is for."""

    conditions = ConditionsField(required=False)  # {} is a blank value for Django
    found = forms.IntegerField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, action: BulkAction, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.action = action
        for item in action.inputs:
            if item.kind == "json":
                self.fields[item.name] = forms.JSONField(
                    label=item.label,
                    help_text=item.help_text,
                    widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
                )
                continue
            self.fields[item.name] = text_field(
                item.label,
                required=item.kind == "tags",
                length=1300 if item.kind == "tags" else 120,
                help_text=item.help_text,
            )

    def parameters(self) -> dict[str, Any]:
        """Return the parameters of the action."""
        values = {}
        for item in self.action.inputs:
            value = self.cleaned_data[item.name]
            values[item.name] = value.split(",") if item.kind == "tags" else value or None
        return values
