"""Forms of the portal: each calls its service and shows what it refuses."""

from contextlib import nullcontext
from typing import Any, Self

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
    """A form whose last step of validation is the service itself.

    So a refusal stands beside its field, and what was typed is not lost.
    """

    for_superuser = False

    @classmethod
    def for_person(cls, user: User) -> type[Self]:
        """The form for this person: a superuser says for which tenant."""
        fields: dict[str, Any] = {"for_superuser": user.is_superuser}
        made: Any = type(cls.__name__, (cls,), fields)
        if not user.is_superuser and "tenant" in made.base_fields:
            del made.base_fields["tenant"]
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "tenant" in self.fields:
            known = list(Tenant.objects.all()[:2])
            if len(known) == 1:
                self.fields["tenant"].initial = known[0]

    def act(self) -> Any:
        """Call the service with what is valid; return the saved row.

        Raises:
            DomainError: it refuses.
        """
        raise NotImplementedError

    def tenant_id(self) -> Any:
        tenant: Tenant | None = self.cleaned_data.get("tenant")
        return tenant.pk if tenant else current_tenant_id()

    def _post_clean(self) -> None:
        if self.errors:
            return
        try:
            tenant_id = self.tenant_id()
            with tenant_scope(tenant_id) if tenant_id else nullcontext():
                self.instance = self.act()
        except DomainError as error:
            field = error.field if error.field in self.fields else None
            self.add_error(field, str(error))

    def save(self, commit: bool = True) -> Any:
        return self.instance

    def save_m2m(self) -> None:
        """The service has written all there is."""
