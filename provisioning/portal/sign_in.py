"""Sign-in checks of the portal: rate limit, account lock-out, second factor."""

from collections.abc import Callable
from typing import Any

import segno
from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.views.decorators.cache import never_cache
from unfold.widgets import UnfoldAdminTextInputWidget

from accounts.middleware import VERIFIED_SECOND_FACTOR, second_factor_verified
from accounts.services import second_factor
from core import clock
from core.errors import DomainError
from core.limits import Limit
from tenants.admin.base import signed_in_user
from tenants.context import caller_network

SIGN_IN = Limit("sign_in")
TITLE = "Two-factor authentication"


class CodeForm(forms.Form):
    """Form for one code of an authenticator app, or a recovery code."""

    code = forms.CharField(
        label="Code",
        max_length=20,
        widget=UnfoldAdminTextInputWidget(
            attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "autofocus": True}
        ),
    )


def rate_limit_response(request: HttpRequest) -> HttpResponse | None:
    """Return a 429 response if the client has tried to sign in too often, otherwise None."""
    return spend(request) if request.method == "POST" else None


def spend(request: HttpRequest) -> HttpResponse | None:
    """Count an attempt to sign in. Return a 429 response if there were too many."""
    wait = SIGN_IN.spend(caller_network())
    if wait is None:
        return None
    return locked_out(request, minutes=1 + int(wait // 60))


def locked_out(request: HttpRequest, *args: Any, minutes: int = 15, **kwargs: Any) -> HttpResponse:
    """Return the page shown after too many sign-in attempts, also for a correct password.

    Args:
        minutes: how long the lock lasts.
    """
    context = {**admin.site.each_context(request), "title": "Sign-in locked", "minutes": minutes}
    response = TemplateResponse(request, "portal/locked_out.html", context, status=429).render()
    response["Retry-After"] = str(minutes * 60)
    return response


@never_cache
def ask_second_factor(request: HttpRequest) -> HttpResponse:
    """Ask for a code after the password, if the user has a second factor."""
    user = signed_in_user(request)
    factor = second_factor.active_version(user)
    if factor is None or second_factor_verified(request, factor):
        return redirect("admin:index")
    form = CodeForm(request.POST or None)
    if form.is_valid() and _succeeds(
        form, lambda: second_factor.verify(user, form.cleaned_data["code"], now=clock.now())
    ):
        request.session.cycle_key()
        request.session[VERIFIED_SECOND_FACTOR] = factor
        return redirect("admin:index")
    return _page(request, "portal/second_factor.html", TITLE, form=form)


@never_cache
def set_up_second_factor(request: HttpRequest) -> HttpResponse:
    """Show the QR code. POST activates the second factor and shows the recovery codes once.

    If a second factor is active already, show the page that removes it.
    """
    user, now = signed_in_user(request), clock.now()
    if second_factor.is_active(user):
        return _remove(request)
    setup = second_factor.begin_setup(user, now=now)
    form = CodeForm(request.POST or None)
    codes: list[str] = []

    def confirm() -> None:
        codes.extend(second_factor.confirm(user, form.cleaned_data["code"], now=now))

    if form.is_valid() and _succeeds(form, confirm):
        request.session.cycle_key()
        request.session[VERIFIED_SECOND_FACTOR] = second_factor.active_version(user)
    qr_code = segno.make(setup.uri, error="m").svg_data_uri(scale=5, border=2)
    return _page(
        request,
        "portal/second_factor_setup.html",
        TITLE,
        form=form,
        codes=codes,
        picture=qr_code,
        secret=setup.secret,
    )


def _remove(request: HttpRequest) -> HttpResponse:
    """Remove the second factor. The user must enter a valid code to do so."""
    user = signed_in_user(request)
    form = CodeForm(request.POST or None)

    def remove() -> None:
        now = clock.now()
        second_factor.verify(user, form.cleaned_data["code"], now=now)
        second_factor.remove(user, now=now)
        request.session.pop(VERIFIED_SECOND_FACTOR, None)

    if form.is_valid() and _succeeds(form, remove):
        messages.success(request, "Two-factor authentication was removed.")
        return redirect("admin:index")
    return _page(request, "portal/second_factor_remove.html", TITLE, form=form)


def _succeeds(form: forms.Form, operation: Callable[[], Any]) -> bool:
    """Run an operation. If it fails, add the error to the form and return False."""
    try:
        operation()
    except DomainError as error:
        form.add_error("code", str(error))
        return False
    return True


def _page(request: HttpRequest, template: str, title: str, **values: Any) -> TemplateResponse:
    context = {**admin.site.each_context(request), "title": title, **values}
    return TemplateResponse(request, template, context)
