"""Settings panel of the device page: view, write and lock the device's settings."""

from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString

from core import clock
from core.errors import DomainError
from devices.configurations.documents import json_equal
from devices.preferences.admin.forms import format_value, parse_value
from devices.preferences.models import Kind
from devices.preferences.services import device_settings
from devices.preferences.services.device_settings import Change, Setting
from devices.registry.extension_points import on_tab
from devices.registry.models import Device
from tenants.admin.base import signed_in_user
from tenants.context import tenant_scope
from tenants.roles import visible_to

VIEW = "preferences.view_devicesettings"
MANAGE = "preferences.change_devicesettings"
RESULT = "setting_written"  # session key of the result of the last write
SOURCES = {
    "platform": "platform default",
    "tenant": "tenant default",
    "device": "set on the device",
    "member": "set by a member",
}


@on_tab("settings")
def panel(request: HttpRequest, device: Device) -> SafeString | str:
    """Render the settings panel. Return an empty string for users without permission."""
    if not request.user.has_perm(VIEW):
        return ""
    settings = device_settings.read(device).settings
    is_retired = device.status == Device.Status.RETIRED
    result = _last_result(request, device)
    context = {
        "settings": [
            _setting_context(key, setting, result if result.get("key") == key else {})
            for key, setting in settings.items()
        ],
        "unknown_key_result": result if result.get("key") not in settings else {},
        "may_manage": request.user.has_perm(MANAGE) and not is_retired,
        "write_url": reverse("admin:preferences_write", args=[device.pk]),
    }
    return render_to_string("portal/device_settings.html", context, request)


def write(request: HttpRequest, device_id: UUID) -> HttpResponse:
    """Change a setting of a device as entered in the form on the device's page."""
    device = visible_to(signed_in_user(request), Device).filter(pk=device_id).first()
    if device is None or request.method != "POST":
        raise Http404
    if not request.user.has_perm(MANAGE):
        raise PermissionDenied
    with tenant_scope(device.tenant_id):
        key = request.POST.get("key", "")
        try:
            change = _change(device, key, request.POST)
            device_settings.write(
                device=device, changes={key: change}, by_device=False, now=clock.now()
            )
        except DomainError as error:
            result = {"error": str(error), "text": request.POST.get("value", "")}
        else:
            result = {"success": "Saved. The device reads the setting at its next connect."}
    request.session[RESULT] = {"device": str(device.pk), "key": key, **result}
    return redirect(f"{reverse('admin:devices_device_change', args=[device.pk])}?tab=settings")


def _change(device: Device, key: str, fields: Any) -> Change:
    present = device_settings.read(device).settings.get(key)
    version_text = fields.get("version", "")
    is_number = version_text.isascii() and version_text.isdecimal()
    version = int(version_text) if is_number else -1
    is_locked = fields.get("locked") == "on"
    if present is None:
        return Change(version=version)
    if "reset" in fields:
        return Change(version=version, reset=True, is_locked=is_locked)
    value = parse_value(present.preference.kind, fields.get("value", ""))
    is_changed = not json_equal(value, present.value)
    return Change(version=version, value=value, has_value=is_changed, is_locked=is_locked)


def _last_result(request: HttpRequest, device: Device) -> dict[str, Any]:
    """Return the result of the last write until the page is opened a second time.

    An open page refreshes itself after events. These refreshes do not count.
    """
    result = request.session.get(RESULT) or {}
    if result.get("device") != str(device.pk):
        return {}
    if request.headers.get("X-Requested-With") != "live":
        if result.get("shown"):
            del request.session[RESULT]
            return {}
        request.session[RESULT] = {**result, "shown": True}
    return result


def _setting_context(key: str, setting: Setting, result: dict[str, str]) -> dict[str, Any]:
    kind = setting.preference.kind
    return {
        "key": key,
        "setting": setting,
        "result": result,
        "text": result.get("text", format_value(kind, setting.value)),
        "default": format_value(kind, setting.preference.default),
        "source": SOURCES[setting.source],
        "is_chosen": setting.source in ("device", "member"),
        "choices": ("yes", "no") if kind == Kind.BOOLEAN else setting.preference.choices,
    }
