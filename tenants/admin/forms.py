"""Forms of the portal: each calls its service and shows what it refuses."""

from contextlib import nullcontext
from typing import Any, Self
from uuid import UUID

from django import forms
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from core.errors import DomainError
from tenants.context import current_tenant_id, tenant_scope
from tenants.models import Tenant, User


def tenant_field() -> Any:
    return forms.ModelChoiceField(
        queryset=Tenant.objects.all(), widget=UnfoldAdminSelectWidget()
    )


def text(label: str, *, required: bool = False, length: int = 64, **kwargs: Any) -> Any:
    return forms.CharField(
        label=label,
        required=required,
        max_length=length,
        widget=UnfoldAdminTextInputWidget(),
        **kwargs,
    )


class ServiceForm(forms.ModelForm):
    """A form whose last step of validation is the call of its service.

    So an error of the service is shown beside its field, and the input is kept. A form
    with a `tenant` field offers it for new rows alone: a row never changes its tenant.
    """

    for_superuser = False

    @classmethod
    def for_person(cls, user: User) -> type[Self]:
        """The form for this user; only a superuser chooses the tenant."""
        fields: dict[str, Any] = {"for_superuser": user.is_superuser}
        made: Any = type(cls.__name__, (cls,), fields)
        if not user.is_superuser and "tenant" in made.base_fields:
            del made.base_fields["tenant"]
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.is_new:
            self.fields.pop("tenant", None)
        if "tenant" in self.fields:
            known = list(Tenant.objects.all()[:2])
            if len(known) == 1:
                self.fields["tenant"].initial = known[0]

    @property
    def is_new(self) -> bool:
        """Whether the form adds a row."""
        return bool(self.instance._state.adding)

    def act(self) -> Any:
        """Call the service with `cleaned_data`; return the saved row.

        Raises:
            DomainError: the service refuses.
        """
        raise NotImplementedError

    def tenant_id(self) -> UUID | None:
        """The tenant to act for, unless the form's `tenant` field says it."""
        if not self.is_new:
            return getattr(self.instance, "tenant_id", None)
        return current_tenant_id()

    def _post_clean(self) -> None:
        if self.errors:
            return
        chosen: Tenant | None = self.cleaned_data.pop("tenant", None)
        try:
            tenant_id = chosen.pk if chosen else self.tenant_id()
            with tenant_scope(tenant_id) if tenant_id else nullcontext():
                self.instance = self.act()
        except DomainError as error:
            field = error.field if error.field in self.fields else None
            self.add_error(field, str(error))

    def save(self, commit: bool = True) -> Any:
        return self.instance

    def save_m2m(self) -> None:
        """Save nothing: the service has written the relations too."""
