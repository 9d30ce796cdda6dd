"""The portal page on which a member approves the pairing of a device."""

from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from accounts.middleware import second_factor_verified
from accounts.services import second_factor
from core import clock
from core.errors import DomainError
from devices.registry.errors import PairingAlreadyDecided, PairingNotFound, TooManyPairings
from devices.registry.models import Device, Pairing
from devices.registry.services import pairing
from devices.registry.services.sites import find_site
from tenants.admin.base import signed_in_user
from tenants.admin.forms import text_field
from tenants.context import current_tenant_id, tenant_scope
from tenants.models import Role, Tenant
from tenants.roles import memberships_of


class CodeForm(forms.Form):
    """The code that the device shows. Case and separators are ignored."""

    code = forms.CharField(
        label="Code",
        max_length=20,
        widget=UnfoldAdminTextInputWidget(
            attrs={"autofocus": True, "autocapitalize": "characters", "size": 12}
        ),
        help_text="The eight letters on the screen of the device, for example WDJB-MJHT.",
    )


class ApprovalForm(forms.Form):
    """The tenant, the name and the tags of the device."""

    pairing = forms.UUIDField(widget=forms.HiddenInput)
    tenant = forms.ModelChoiceField(
        label="Tenant",
        queryset=Tenant.objects.none(),
        widget=UnfoldAdminSelectWidget(),
        empty_label=None,
    )
    name = text_field(
        "Name",
        length=120,
        help_text="If empty, a registered device keeps its name. A new device gets the name that"
        " it reports, or an identifier.",
    )
    tags = text_field("Tags", length=500, help_text="Separate tags with commas.")
    site = text_field(
        "Site",
        length=120,
        help_text="Name of the site at which the device stands. If empty, a registered device"
        " keeps its site.",
    )


@never_cache
def pair(request: HttpRequest) -> HttpResponse:
    """Show the form for the code. For a valid code, show the device and the approval form.

    The member approves or denies the pairing with the approval form.
    """
    tenant_ids = tenant_ids_for_pairing(request)
    if not tenant_ids:
        raise PermissionDenied
    if request.method == "POST" and "pairing" in request.POST:
        return _decide(request, tenant_ids)
    code = request.POST.get("code") or request.GET.get("code", "")
    if not code:
        return _page(request, form=CodeForm())
    try:
        row = pairing.find(code, now=clock.now())
    except (PairingNotFound, TooManyPairings) as error:
        form = CodeForm({"code": code})
        form.add_error("code", str(error))
        return _page(request, form=form)
    initial = {"pairing": row.pk, "tenant": current_tenant_id(), "name": row.report["name"]}
    approval = _approval_form(tenant_ids, initial=initial)
    return _page(request, approval=approval, pairing=row)


def tenant_ids_for_pairing(request: HttpRequest) -> list[Any]:
    """Return the ids of the tenants in which the signed-in user may register devices now.

    Tenants that require a second factor are omitted unless the user has verified a second
    factor. The tenant that is selected in the session makes no difference.
    """
    user = signed_in_user(request)
    has_second_factor = second_factor_verified(request, second_factor.active_version(user))
    if user.sees_every_tenant:
        return list(Tenant.objects.values_list("pk", flat=True)[:1000])
    return [
        membership.tenant_id
        for membership in memberships_of(user)
        if Role(membership.role).includes(Device.manage_role)
        and (has_second_factor or not membership.tenant.requires_second_factor)
    ]


def _decide(request: HttpRequest, tenant_ids: list[Any]) -> HttpResponse:
    form = _approval_form(tenant_ids, data=request.POST)
    row = _pending_pairing(request.POST.get("pairing", ""))
    if row is None:
        messages.error(request, "This device is no longer waiting for approval.")
        return redirect("admin:pair")
    if "deny" in request.POST:
        return _deny(request, row)
    if not form.is_valid():
        return _page(request, approval=form, pairing=row)
    data = form.cleaned_data
    try:
        with tenant_scope(data["tenant"].pk):
            device = pairing.approve(
                pairing_id=row.pk,
                name=data["name"],
                tags=data["tags"].split(","),
                site=find_site(data["site"]) if data["site"] else None,
                now=clock.now(),
            )
    except PairingAlreadyDecided as error:
        messages.error(request, str(error))
        return redirect("admin:pair")
    except DomainError as error:
        form.add_error(error.field if error.field in form.fields else None, str(error))
        return _page(request, approval=form, pairing=row)
    messages.success(
        request, f"{device.name} is registered in {data['tenant']}. It now fetches its token."
    )
    if device.tenant_id == current_tenant_id() or signed_in_user(request).sees_every_tenant:
        return redirect("admin:devices_device_change", device.pk)
    return redirect("admin:pair")


def _deny(request: HttpRequest, row: Pairing) -> HttpResponse:
    try:
        pairing.deny(pairing_id=row.pk, now=clock.now())
    except PairingAlreadyDecided as error:
        messages.error(request, str(error))
    else:
        messages.success(request, "The pairing was denied.")
    return redirect("admin:pair")


def _approval_form(tenant_ids: list[Any], **kwargs: Any) -> ApprovalForm:
    form = ApprovalForm(**kwargs)
    field = form.fields["tenant"]
    assert isinstance(field, forms.ModelChoiceField)
    field.queryset = Tenant.objects.filter(pk__in=tenant_ids)
    return form


def _pending_pairing(text: str) -> Pairing | None:
    try:
        pairing_id = UUID(text)
    except ValueError:
        return None
    pending = Pairing.objects.waiting(clock.now())
    return pending.filter(pk=pairing_id).first()


def _page(request: HttpRequest, **extra_context: Any) -> TemplateResponse:
    row = extra_context.get("pairing")
    context = {
        **admin.site.each_context(request),
        "title": "Pair a device",
        "identifiers": pairing.report_of(row).usable_identifiers()[0] if row else (),
        **extra_context,
    }
    return TemplateResponse(request, "portal/pair.html", context)


def short_address(request: HttpRequest) -> HttpResponse:
    """Redirect the short URL `/pair` to the portal page and keep the `code` parameter.

    Devices display the short URL on their screens.
    """
    code = request.GET.get("code", "")
    query = f"?{urlencode({'code': code})}" if code else ""
    return redirect(f"{reverse('admin:pair')}{query}")
