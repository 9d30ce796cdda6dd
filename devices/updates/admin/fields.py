"""Form fields for the portal's forms of software updates."""

from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextInputWidget,
)


def choice_field(label: str, choices: Any, **kwargs: Any) -> Any:
    widget = UnfoldAdminSelectWidget(choices=choices)
    return forms.ChoiceField(label=label, choices=choices, widget=widget, **kwargs)


def integer_field(label: str, limits: tuple[int, int], initial: Any, help_text: str) -> Any:
    """Return an integer form field. The field is required if it has an initial value.

    Args:
        limits: minimum and maximum of the field.
    """
    return forms.IntegerField(
        label=label,
        min_value=limits[0],
        max_value=limits[1],
        initial=initial,
        required=initial is not None,
        widget=UnfoldAdminIntegerFieldWidget,
        help_text=help_text,
    )


def percent_field(label: str, initial: float, help_text: str) -> Any:
    return forms.FloatField(
        label=label,
        min_value=0,
        max_value=100,
        initial=initial,
        widget=UnfoldAdminTextInputWidget(attrs={"inputmode": "decimal"}),
        help_text=help_text,
    )
