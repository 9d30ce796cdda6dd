"""Configuration panel of the device page: layers, desired and reported values."""

from zoneinfo import ZoneInfo

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString

from core import clock
from devices.configurations import value_formatting
from devices.configurations.admin.edit_target import MANAGE, VIEW
from devices.configurations.documents import flatten
from devices.configurations.services import device_configuration, layer_comparison
from devices.configurations.services.device_configuration import ConfigurationStatus
from devices.configurations.services.layer_comparison import Cell, Column, Row
from devices.registry.extension_points import on_tab
from devices.registry.models import Device


@on_tab("configuration")
def panel(request: HttpRequest, device: Device) -> SafeString | str:
    """Render the panel. Return an empty string if the user may not view configurations."""
    if not request.user.has_perm(VIEW):
        return ""
    status = device_configuration.get_status(device, now=clock.now())
    columns = [Column(layer.source.label, layer.document) for layer in status.layers]
    is_retired = device.status == Device.Status.RETIRED
    context = {
        "status": status,
        "columns": columns,
        "rows": [_with_reported(row, status) for row in _rows(columns, status)],
        "screen_until": _screen_until(status),
        "may_manage": request.user.has_perm(MANAGE) and not is_retired,
        "edit_url": reverse("admin:configurations_edit", args=["device", device.pk]),
    }
    return render_to_string("portal/device_configuration.html", context)


def _rows(columns: list[Column], status: ConfigurationStatus) -> list[Row]:
    """Return a row for each key that a layer sets or that only the device reports."""
    rows = layer_comparison.rows(columns)
    layer_keys = {row.key for row in rows}
    device_keys = sorted(
        flatten(status.applied or {}).keys() - layer_keys, key=value_formatting.sort_key
    )
    empty_cells = [Cell("", False, False)] * len(columns)
    rows += [Row(key, value_formatting.label(key), empty_cells, "–", "") for key in device_keys]
    return rows


def _with_reported(row: Row, status: ConfigurationStatus) -> tuple[Row, str, bool]:
    """Return the row, the device's value, and whether this value differs from the desired one."""
    applied = flatten(status.applied or {})
    differing = {item.key for item in status.differences}
    if status.applied is None:
        return row, "–", False
    text = value_formatting.format_value(row.key, applied[row.key]) if row.key in applied else "–"
    return row, text, row.key in differing


def _screen_until(status: ConfigurationStatus) -> str:
    """Return the weekday and time of the screen's next change, in the device's time zone."""
    if status.screen is None or status.screen.until is None:
        return ""
    zone = ZoneInfo(status.configuration["time_zone"])
    local_time = status.screen.until.astimezone(zone)
    return f"{local_time:%A %H:%M}"
