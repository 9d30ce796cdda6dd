"""What stands between the sign-in form and the portal: limits, lock-out, second factor."""

from typing import Any

import segno
from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from unfold.widgets import UnfoldAdminTextInputWidget

from accounts.middleware import SECOND_FACTOR_SHOWN, second_factor_shown
from accounts.services import second_factor
from core.errors import DomainError
from core.limits import Limit
from tenants.admin.base import person
from tenants.context import callers_network

SIGN_IN = Limit("sign_in")


class CodeForm(forms.Form):
    """One code, of the telephone or of those for the day when it is gone."""

    code = forms.CharField(
        label="Code",
        max_length=20,
        widget=UnfoldAdminTextInputWidget(
            attrs={
                "autocomplete": "one-time-code",
                "inputmode": "numeric",
                "autofocus": True,
            }
        ),
    )


def too_many(request: HttpRequest) -> HttpResponse | None:
    """The answer to an address that has tried to sign in too often; None: go on."""
    if request.method != "POST":
        return None
    wait = SIGN_IN.spend(callers_network())
    if wait is None:
        return None
    return locked_out(request, minutes=1 + int(wait // 60))


def locked_out(
    request: HttpRequest, *args: Any, minutes: int = 15, **kwargs: Any
) -> HttpResponse:
    """After too many wrong passwords; the right one does not help either for a while."""
    context = {
        **admin.site.each_context(request),
        "title": "Locked",
        "minutes": minutes,
    }
    response = TemplateResponse(
        request, "portal/locked_out.html", context, status=429
    ).render()
    response["Retry-After"] = str(minutes * 60)
    return response


@never_cache
def ask_second_factor(request: HttpRequest) -> HttpResponse:
    """The page between password and portal, for whoever has a second factor."""
    user = person(request)
    factor = second_factor.mark(user)
    if factor is None or second_factor_shown(request, factor):
        return redirect("admin:index")
    form = CodeForm(request.POST or None)
    if form.is_valid() and _accepts(
        form,
        lambda: second_factor.verify(
            user, form.cleaned_data["code"], now=timezone.now()
        ),
    ):
        request.session.cycle_key()
        request.session[SECOND_FACTOR_SHOWN] = factor
        return redirect("admin:index")
    return _page(request, "portal/second_factor.html", "Second factor", form=form)


@never_cache
def set_up_second_factor(request: HttpRequest) -> HttpResponse:
    """Show the QR code, take a code of it into use, show the recovery codes once."""
    user, now = person(request), timezone.now()
    if second_factor.is_in_use(user):
        return _remove(request)
    setup = second_factor.begin(user, now=now)
    form = CodeForm(request.POST or None)
    codes: list[str] = []

    def confirm() -> None:
        codes.extend(second_factor.confirm(user, form.cleaned_data["code"], now=now))

    if form.is_valid() and _accepts(form, confirm):
        request.session.cycle_key()
        request.session[SECOND_FACTOR_SHOWN] = second_factor.mark(user)
    picture = segno.make(setup.uri, error="m").svg_data_uri(scale=5, border=2)
    return _page(
        request,
        "portal/second_factor_setup.html",
        "Second factor",
        form=form,
        codes=codes,
        picture=picture,
        secret=setup.secret,
    )


def _remove(request: HttpRequest) -> HttpResponse:
    """Give a second factor up; the last proof that one has it is a code of it."""
    user = person(request)
    form = CodeForm(request.POST or None)

    def remove() -> None:
        now = timezone.now()
        second_factor.verify(user, form.cleaned_data["code"], now=now)
        second_factor.remove(user, now=now)
        request.session.pop(SECOND_FACTOR_SHOWN, None)

    if form.is_valid() and _accepts(form, remove):
        messages.success(request, "The second factor is removed.")
        return redirect("admin:index")
    return _page(
        request, "portal/second_factor_remove.html", "Second factor", form=form
    )


def _accepts(form: forms.Form, act: Any) -> bool:
    try:
        act()
    except DomainError as error:
        form.add_error("code", str(error))
        return False
    return True


def _page(
    request: HttpRequest, template: str, title: str, **more: Any
) -> TemplateResponse:
    context = {**admin.site.each_context(request), "title": title, **more}
    return TemplateResponse(request, template, context)
