"""Portal page of a tenant's single sign-on."""

from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminSelectWidget

from accounts.models import SignInProvider
from accounts.services import single_sign_on
from core import clock
from tenants.admin.base import SingletonAdmin
from tenants.admin.forms import ServiceForm, switch_field, tenant_field, text_field
from tenants.models import Role

ROLES = [
    ("", "Nobody: only members may sign in"),
    *((role.value, role.label) for role in (Role.VIEWER, Role.OPERATOR, Role.ADMIN)),
]


class ProviderForm(ServiceForm):
    """The provider of a tenant, and who may sign in with it."""

    tenant = tenant_field()
    issuer = text_field(
        "Issuer",
        required=True,
        length=300,
        help_text="The address of the provider, such as https://login.example.com.",
    )
    client_id = text_field("Client id", required=True, length=255)
    client_secret = forms.CharField(
        label="Client secret",
        required=False,
        max_length=500,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}),
        help_text="It is stored encrypted and not shown again. If empty, it stays as it is.",
    )
    domains = text_field(
        "E-mail domains",
        required=True,
        length=2000,
        help_text="Of the people who may sign in, such as example.com. Separate with commas.",
    )
    default_role = forms.ChoiceField(
        label="New people become",
        choices=ROLES,
        required=False,
        widget=UnfoldAdminSelectWidget(choices=ROLES),
        help_text="The role of a person who signs in for the first time.",
    )
    is_enabled = switch_field("Enabled", initial=True)

    class Meta:
        model = SignInProvider
        fields: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["issuer"].help_text += (
            " Register this address there for the way back:"
            f" {settings.PUBLIC_URL}/admin/sso/callback/"
        )
        if self.is_new:
            return
        for name in ("issuer", "client_id", "default_role", "is_enabled"):
            self.initial.setdefault(name, getattr(self.instance, name))
        self.initial.setdefault("domains", ", ".join(self.instance.domains))

    def call_service(self) -> SignInProvider:
        values = self.cleaned_data
        return single_sign_on.configure(
            issuer=values["issuer"],
            client_id=values["client_id"],
            client_secret=values["client_secret"],
            domains=values["domains"].split(","),
            default_role=values["default_role"],
            is_enabled=values["is_enabled"],
            now=clock.now(),
        )


@admin.register(SignInProvider)
class SignInProviderAdmin(SingletonAdmin):
    """The admin class of the single sign-on of a tenant."""

    default_message = "This tenant has no single sign-on. An owner can set it up here."
    list_display = ("issuer", "is_enabled")
    service_form = ProviderForm
    fieldsets: Any = (
        (None, {"fields": ("is_enabled",)}),
        ("Provider", {"fields": ("issuer", "client_id", "client_secret")}),
        ("People", {"fields": ("domains", "default_role")}),
    )
