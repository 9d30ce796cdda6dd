"""Pages of a user's own account: sessions, and a new password by mail."""

from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import logout
from django.contrib.auth.views import PasswordResetConfirmView
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse_lazy
from django.views.decorators.cache import never_cache
from kombu.exceptions import OperationalError
from unfold.forms import AuthenticationForm
from unfold.widgets import (
    UnfoldAdminEmailInputWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminTextInputWidget,
)

from accounts.middleware import ONLY_TENANT, SESSION_ID
from accounts.services import own, password_reset, user_sessions
from core import clock
from core.limits import Limit
from core.tasks import enqueue
from core.time_zones import time_zones
from tenants.admin.base import signed_in_user
from tenants.admin.forms import switch_field, text_field
from tenants.context import caller_network, current_tenant_id
from tenants.models import User
from tenants.roles import membership_in_current_tenant

RESETS = Limit("password_reset")
# Marks in a `User-Agent`. The first that is found counts, because many browsers name others.
BROWSERS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iOS"),
    ("iPad", "iOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("Linux", "Linux"),
)


class SignInForm(AuthenticationForm):
    """Sign-in form that also accepts users without a tenant, who may have an invitation."""

    def confirm_login_allowed(self, user: Any) -> None:
        if not user.is_active:
            raise self.get_invalid_login_error()


class AddressForm(forms.Form):
    """Form that asks for the e-mail address of an account."""

    email = forms.EmailField(
        label="E-mail address",
        max_length=254,
        widget=UnfoldAdminEmailInputWidget(attrs={"autocomplete": "email", "autofocus": True}),
    )


@never_cache
def ask_for_password_reset(request: HttpRequest) -> HttpResponse:
    """Mail a link that sets a new password. The answer does not say whether there is an account."""
    form, is_sent = AddressForm(request.POST or None), False
    if form.is_valid():
        if RESETS.spend(caller_network()):
            form.add_error(None, "Too many requests. Try again in an hour.")
        else:
            try:
                enqueue("accounts.tasks.send_password_reset", form.cleaned_data["email"])
                is_sent = True
            except OperationalError:
                form.add_error(None, "No mail can be sent at the moment. Try again later.")
    context = {
        **admin.site.each_context(request),
        "title": "Set a new password",
        "form": form,
        "is_sent": is_sent,
        "sends_mail": bool(settings.EMAIL_HOST),
    }
    return TemplateResponse(request, "portal/password_reset.html", context)


class SetPasswordView(PasswordResetConfirmView):
    """Set a new password by a mailed link (Django keeps the token out of the address)."""

    template_name = "portal/password_reset_confirm.html"
    success_url = reverse_lazy("admin:login")

    def get_form(self, form_class: Any = None) -> Any:
        form: Any = super().get_form(form_class)
        for field in form.fields.values():
            field.widget = UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"})
        return form

    def form_valid(self, form: Any) -> HttpResponse:
        response = super().form_valid(form)
        assert isinstance(form.user, User)
        password_reset.finish(user=form.user, now=clock.now())
        messages.success(self.request, "The new password is set. Sign in with it.")
        return response

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**admin.site.each_context(self.request), **super().get_context_data(**kwargs)}


class OwnSettingsForm(forms.Form):
    """A user's name, and the time zone in which the portal shows times."""

    name = text_field("Name", length=120, help_text="Shown to the other members.")
    time_zone = forms.CharField(
        label="Time zone",
        required=False,
        max_length=64,
        widget=UnfoldAdminTextInputWidget(attrs={"list": "time-zones"}),
        help_text="For example Europe/Berlin. If empty, the time zone of your browser.",
    )

    wants_report = switch_field(
        "Weekly report by mail",
        help_text="On Mondays: devices, alerts, certificates and rollouts of this tenant.",
    )

    def clean_time_zone(self) -> str:
        zone: str = self.cleaned_data["time_zone"].strip()
        if zone and zone not in time_zones():
            raise forms.ValidationError("There is no such time zone.")
        return zone


@never_cache
def own_settings(request: HttpRequest) -> HttpResponse:
    """Show and change the user's own settings."""
    user = signed_in_user(request)
    membership = membership_in_current_tenant(user) if current_tenant_id() else None
    initial = {
        "name": user.name,
        "time_zone": user.time_zone,
        "wants_report": membership is not None and membership.wants_weekly_report,
    }
    form = OwnSettingsForm(request.POST or None, initial=initial)
    if membership is None or not settings.EMAIL_HOST:
        del form.fields["wants_report"]
    if ONLY_TENANT in request.session:  # the name is that of the account in all tenants
        del form.fields["name"]
    if form.is_valid():
        values = {"wants_report": None, "name": user.name, **form.cleaned_data}
        own.change(user=user, **values)
        messages.success(request, "Your settings were saved.")
        return redirect("admin:own_settings")
    context = {
        **admin.site.each_context(request),
        "title": "Your settings",
        "form": form,
        "time_zones": sorted(time_zones()),
    }
    return TemplateResponse(request, "portal/own_settings.html", context)


@never_cache
def sessions(request: HttpRequest) -> HttpResponse:
    """List the user's sessions. POST signs out one of them, all others, or all."""
    user, own = signed_in_user(request), str(request.session.get(SESSION_ID, ""))
    if request.method == "POST":
        return _sign_out(request, user, own)
    context = {
        **admin.site.each_context(request),
        "title": "Sessions",
        "sessions": [
            (row, browser_name(row.browser), str(row.pk) == own)
            for row in user.sessions.all()[:100]
        ],
    }
    return TemplateResponse(request, "portal/sessions.html", context)


def browser_name(user_agent: str) -> str:
    """Return the browser and the system that a `User-Agent` names, such as "Firefox on Linux"."""
    browser = next((name for mark, name in BROWSERS if mark in user_agent), "")
    system = next((name for mark, name in SYSTEMS if mark in user_agent), "")
    if not browser:
        return user_agent[:40] or "Unknown"
    return f"{browser} on {system}" if system else browser


def _sign_out(request: HttpRequest, user: User, own: str) -> HttpResponse:
    which = request.POST.get("which", "")
    if which == "all":
        user_sessions.sign_out_everywhere(user=user, now=clock.now())
        logout(request)
        return redirect("admin:login")
    if which == "others":
        count = user_sessions.sign_out_everywhere(user=user, but=own, now=clock.now())
        messages.success(request, f"Sessions that were signed out: {count}.")
    else:
        try:
            user_sessions.sign_out(user=user, session_id=UUID(which))
        except ValueError:
            messages.error(request, "This session does not exist.")
    return redirect("admin:sessions")
