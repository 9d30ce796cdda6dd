"""The page that an invitation's link opens."""

from collections.abc import Mapping

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache
from unfold.widgets import UnfoldAdminPasswordWidget

from accounts.middleware import tenant_address
from accounts.models import Invitation
from accounts.services import invitations
from core import clock
from core.errors import DomainError
from tenants.admin.forms import text_field
from tenants.context import tenant_scope
from tenants.models import User


class AccountForm(forms.Form):
    """Form of a person who has no account yet."""

    name = text_field("Your name", length=120)
    password = forms.CharField(
        label="Password",
        max_length=128,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text="At least 12 characters.",
    )
    again = forms.CharField(
        label="Password again",
        max_length=128,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
    )

    def clean(self) -> None:
        values = super().clean() or self.cleaned_data
        if values.get("password") != values.get("again"):
            self.add_error("again", "The passwords differ.")


@never_cache
def join(request: HttpRequest, token: str) -> HttpResponse:
    """Let the invited person accept or decline, after a sign-in or with a new account."""
    if isinstance(request.user, User):
        tenant = invitations.accepted_by(request.user, token=token)
        if tenant is not None:
            return redirect(tenant_address(tenant.slug))
    try:
        invitation = invitations.by_token(token, now=clock.now())
        if isinstance(request.user, User):
            return _answer(request, request.user, invitation)
        return _without_account(request, invitation)
    except DomainError as error:
        return _page(request, {"error": str(error)}, status=410)


def _answer(request: HttpRequest, user: User, invitation: Invitation) -> HttpResponse:
    """Ask the signed-in user. The invitation must be for the user's address."""
    is_other = user.email != invitation.email
    if request.method == "POST" and "decline" in request.POST and not is_other:
        with tenant_scope(invitation.tenant_id):
            how = Invitation.End.DECLINED
            invitations.end(invitation=invitation, how=how, now=clock.now())
        messages.success(request, "The invitation was declined.")
        return redirect("admin:index")
    if request.method == "POST":
        invitations.accept(invitation=invitation, user=user, now=clock.now())
        messages.success(request, f"You are now a member of {invitation.tenant.name}.")
        return redirect(tenant_address(invitation.tenant.slug))
    return _page(request, {"invitation": invitation, "is_other": is_other})


def _without_account(request: HttpRequest, invitation: Invitation) -> HttpResponse:
    """Create an account, or let the person sign in. The answer is the same in both cases."""
    form = AccountForm(request.POST or None)
    if form.is_valid():
        values = form.cleaned_data
        try:
            invitations.create_account(
                invitation=invitation,
                name=values["name"],
                password=values["password"],
                now=clock.now(),
            )
        except DomainError as error:
            form.add_error(error.field if error.field in form.fields else None, str(error))
        else:
            messages.success(request, "Sign in to continue.")
            return redirect_to_login(request.path, "admin:login")
    return _page(request, {"invitation": invitation, "form": form})


def _page(request: HttpRequest, values: Mapping[str, object], *, status: int = 200) -> HttpResponse:
    context = {**admin.site.each_context(request), "title": "Invitation", **values}
    return TemplateResponse(request, "portal/invitation.html", context, status=status)
