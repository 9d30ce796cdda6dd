"""A device's configuration on its page: every layer, what it should have, what it has."""

from typing import Any
from zoneinfo import ZoneInfo

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from devices.configurations import value_formatting
from devices.configurations.admin.edit_target import MANAGE, VIEW
from devices.configurations.documents import flattened
from devices.configurations.services import device_configuration, layer_comparison
from devices.configurations.services.device_configuration import Reading
from devices.configurations.services.layer_comparison import Column, Row
from devices.registry.models import Device


def panel(request: HttpRequest, device: Device) -> SafeString | str:
    """Desired against reported, with the layer that each key is from."""
    if not request.user.has_perm(VIEW):
        return ""
    told = device_configuration.of_device(device, now=timezone.now())
    columns = [Column(one.source.label, one.document) for one in told.layers]
    is_retired = device.status == Device.Status.RETIRED
    context = {
        "told": told,
        "columns": columns,
        "rows": [_against(row, told) for row in _rows(columns, told)],
        "screen_until": _until(told),
        "may_manage": request.user.has_perm(MANAGE) and not is_retired,
        "address": reverse("admin:configurations_edit", args=["device", device.pk]),
    }
    return render_to_string("portal/device_configuration.html", context)


def _rows(columns: list[Column], told: Reading) -> list[Row]:
    """Those of the layers, and of keys that only the device still has."""
    rows = layer_comparison.rows(columns)
    known = {row.key for row in rows}
    only_there = sorted(
        flattened(told.applied or {}).keys() - known, key=value_formatting.place
    )
    nothing = [layer_comparison.Cell("", False, False)] * len(columns)
    rows += [
        Row(key, value_formatting.label(key), nothing, "–", "") for key in only_there
    ]
    return rows


def _against(row: Row, told: Reading) -> tuple[Row, str, bool]:
    """A row with what the device has, and whether that is something else."""
    has: dict[str, Any] = flattened(told.applied or {})
    differing = {item.key for item in told.differences}
    if told.applied is None:
        return row, "–", False
    text = value_formatting.value(row.key, has[row.key]) if row.key in has else "–"
    return row, text, row.key in differing


def _until(told: Reading) -> str:
    """When the screen changes, by the clock on the device's wall."""
    if told.screen is None or told.screen.until is None:
        return ""
    local = told.screen.until.astimezone(ZoneInfo(told.configuration["time_zone"]))
    return f"{local:%A %H:%M}"
