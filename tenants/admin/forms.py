"""Base class and field helpers of the portal's forms."""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from django import forms
from django.core.validators import RegexValidator
from unfold.widgets import (
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanSwitchWidget,
)

from core.characters import FORBIDDEN, is_blank
from core.errors import DomainError
from tenants.context import current_tenant_id, tenant_scope
from tenants.models import Tenant, User

FORBIDDEN_MESSAGE = "The text must not contain control characters or direction marks."

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Any]
else:
    ModelForm = forms.ModelForm  # not generic at run time


def tenant_field() -> Any:
    return forms.ModelChoiceField(queryset=Tenant.objects.all(), widget=UnfoldAdminSelectWidget())


def text_field(label: str, *, required: bool = False, length: int = 64, **kwargs: Any) -> Any:
    return forms.CharField(
        label=label,
        required=required,
        max_length=length,
        widget=UnfoldAdminTextInputWidget(),
        validators=[RegexValidator(f"[{FORBIDDEN}]", FORBIDDEN_MESSAGE, inverse_match=True)],
        **kwargs,
    )


def switch_field(label: str, *, initial: bool = False, help_text: str = "") -> forms.BooleanField:
    return forms.BooleanField(
        label=label,
        required=False,
        initial=initial,
        widget=UnfoldBooleanSwitchWidget(),
        help_text=help_text,
    )


def clock_field(label: str, help_text: str = "") -> forms.TimeField:
    """Return an optional field for a time of day, to the minute."""
    return forms.TimeField(
        label=label,
        required=False,
        input_formats=["%H:%M"],
        widget=UnfoldAdminTextInputWidget(attrs={"type": "time"}),
        help_text=help_text,
    )


def notes_field() -> forms.CharField:
    return forms.CharField(
        label="Notes",
        required=False,
        max_length=2000,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
    )


class FilterField(forms.CharField):
    """A condition for devices. A blank that was typed is an error, because it would mean all."""

    widget = UnfoldAdminTextInputWidget

    def to_python(self, value: Any) -> str:
        if value and is_blank(str(value)):
            raise forms.ValidationError("Enter a value, or leave the field empty.", "blank")
        return super().to_python(value) or ""


def filter_field(label: str, *, length: int = 64, help_text: str) -> FilterField:
    return FilterField(label=label, required=False, max_length=length, help_text=help_text)


class ServiceForm(ModelForm):
    """A form that calls its service as the last step of validation.

    An error of the service is therefore shown next to its field, and the input is kept.
    A `tenant` field is shown for new rows only, because a row never changes its tenant.
    """

    for_superuser = False

    @classmethod
    def for_user(cls, user: User) -> type[Self]:
        """Return the form class for a user. Only superusers choose the tenant."""
        attributes: dict[str, Any] = {"for_superuser": user.sees_every_tenant}
        form_class: Any = type(cls.__name__, (cls,), attributes)
        if not user.sees_every_tenant and "tenant" in form_class.base_fields:
            del form_class.base_fields["tenant"]
        return form_class

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.is_new:
            self.fields.pop("tenant", None)
        if "tenant" in self.fields:
            tenants = list(Tenant.objects.all()[:2])
            if len(tenants) == 1:
                self.fields["tenant"].initial = tenants[0]

    @property
    def is_new(self) -> bool:
        """True if the form adds a row."""
        return bool(self.instance._state.adding)

    def call_service(self) -> Any:
        """Call the service with `cleaned_data`; return the saved row.

        Raises:
            DomainError: the service rejects the input.
        """
        raise NotImplementedError

    def tenant_id(self) -> UUID | None:
        """Return the id of the tenant in which to call the service, if no tenant was chosen."""
        if not self.is_new:
            return getattr(self.instance, "tenant_id", None)
        return current_tenant_id()

    def _post_clean(self) -> None:
        if self.errors:
            return
        self.chosen_tenant: Tenant | None = self.cleaned_data.pop("tenant", None)
        try:
            chosen = self.chosen_tenant
            tenant_id = chosen.pk if chosen else self.tenant_id()
            with tenant_scope(tenant_id) if tenant_id else nullcontext():
                self.instance = self.call_service()
        except DomainError as error:
            field = error.field if error.field in self.fields else None
            self.add_error(field, str(error))

    def save(self, commit: bool = True) -> Any:
        return self.instance

    def save_m2m(self) -> None:
        """Do nothing: the service has saved the relations already."""
