"""A device's settings on its page in the portal: looked at, written, locked."""

from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from core.errors import DomainError
from devices.configurations.documents import same
from devices.preferences.admin.forms import as_typed, typed
from devices.preferences.models import Kind
from devices.preferences.services import device_settings
from devices.preferences.services.device_settings import Change, Setting
from devices.registry.models import Device
from tenants.admin.base import person
from tenants.context import tenant_scope
from tenants.roles import visible_to

VIEW = "preferences.view_devicesettings"
MANAGE = "preferences.change_devicesettings"
OUTCOME = "setting_written"  # of the last write, in the session
SOURCES = {
    "platform": "the platform's default",
    "tenant": "the tenant's default",
    "device": "chosen at the screen",
    "member": "set by a member",
}


def panel(request: HttpRequest, device: Device) -> SafeString | str:
    """Each setting with its value and who has chosen it; a form for who may write."""
    if not request.user.has_perm(VIEW):
        return ""
    told = device_settings.of(device)
    is_retired = device.status == Device.Status.RETIRED
    outcome = _outcome(request, device)
    context = {
        "settings": [
            _shown(key, setting, outcome if outcome.get("key") == key else {})
            for key, setting in told.settings.items()
        ],
        "stray": outcome if outcome.get("key") not in told.settings else {},
        "may_manage": request.user.has_perm(MANAGE) and not is_retired,
        "address": reverse("admin:preferences_write", args=[device.pk]),
    }
    return render_to_string("portal/device_settings.html", context, request)


def write(request: HttpRequest, device_id: UUID) -> HttpResponse:
    """Change one setting of a device, as its page's form says."""
    device = visible_to(person(request), Device).filter(pk=device_id).first()
    if device is None or request.method != "POST":
        raise Http404
    if not request.user.has_perm(MANAGE):
        raise PermissionDenied
    with tenant_scope(device.tenant_id):
        key = request.POST.get("key", "")
        try:
            change = _change(device, key, request.POST)
            device_settings.write(
                device=device,
                changes={key: change},
                by_device=False,
                now=timezone.now(),
            )
        except DomainError as error:
            outcome = {"error": str(error), "typed": request.POST.get("value", "")}
        else:
            outcome = {"done": "Written; the device reads it when it connects."}
    request.session[OUTCOME] = {"device": str(device.pk), "key": key, **outcome}
    return redirect(
        f"{reverse('admin:devices_device_change', args=[device.pk])}#device-settings"
    )


def _change(device: Device, key: str, said: Any) -> Change:
    present = device_settings.of(device).settings.get(key)
    version = said.get("version", "")
    seen = int(version) if version.isascii() and version.isdecimal() else -1
    locked = said.get("locked") == "on"
    if present is None:
        return Change(version=seen)
    if "reset" in said:
        return Change(version=seen, reset=True, is_locked=locked)
    value = typed(present.preference.kind, said.get("value", ""))
    chosen = not same(value, present.value)
    return Change(version=seen, value=value, has_value=chosen, is_locked=locked)


def _outcome(request: HttpRequest, device: Device) -> dict[str, Any]:
    """What came of the last write, until the page is opened for the second time.

    An open page looks again whenever something happens; that is not to open it.
    """
    outcome: dict[str, Any] = request.session.get(OUTCOME) or {}
    if outcome.get("device") != str(device.pk):
        return {}
    if request.headers.get("X-Requested-With") != "live":
        if outcome.get("shown"):
            del request.session[OUTCOME]
            return {}
        request.session[OUTCOME] = {**outcome, "shown": True}
    return outcome


def _shown(key: str, setting: Setting, outcome: dict[str, str]) -> dict[str, Any]:
    kind = setting.preference.kind
    return {
        "key": key,
        "setting": setting,
        "outcome": outcome,
        "typed": outcome.get("typed", as_typed(kind, setting.value)),
        "default": as_typed(kind, setting.preference.default),
        "source": SOURCES[setting.source],
        "is_chosen": setting.source in ("device", "member"),
        "choices": ("yes", "no")
        if kind == Kind.BOOLEAN
        else setting.preference.choices,
    }
