"""The control page of a device, and the remote control panel on the device's page."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from core import clock
from core.errors import DomainError
from devices.registry.extension_points import on_tab
from devices.registry.models import Device
from devices.remote_control.api.screenshot_views import image_response
from devices.remote_control.api.views import command_or_404
from devices.remote_control.command_types import TYPES
from devices.remote_control.models import CommandHistory, Screenshot
from devices.remote_control.models.commands import OPEN_STATUSES
from devices.remote_control.services import command_expiry, issuing, policies, screen_size, sessions
from tenants.admin.base import signed_in_user
from tenants.context import tenant_scope
from tenants.roles import visible_to

VIEW = "remote_control.view_remotecontrolsession"
MANAGE = "remote_control.manage_remote_control"
END_ANY = "remote_control.end_any_session"
PANEL_COMMANDS = 5  # latest commands on the device's page
PAGE_COMMANDS = 30  # latest commands on the control page
RECENT = timedelta(minutes=1)  # the page polls quickly while a more recent command is open
MAX_PARAMETERS_LENGTH = 2_000  # characters of JSON
DIRECTION_PAD = (
    ("up", "▲", "Up"),
    ("left", "◀", "Left"),
    ("select", "OK", "Select"),
    ("right", "▶", "Right"),
    ("down", "▼", "Down"),
)
KEYS = (
    ("home", "Home"),
    ("back", "Back"),
    ("menu", "Menu"),
    ("play_pause", "Play / pause"),
    ("volume_down", "Volume -"),
    ("volume_up", "Volume +"),
    ("mute", "Mute"),
    ("power", "Power"),
)


@on_tab("control")
def panel(request: HttpRequest, device: Device) -> SafeString | str:
    """Return the HTML of the remote control panel: active session and latest commands."""
    if not request.user.has_perm(VIEW):
        return ""
    now = clock.now()
    rows = CommandHistory.objects.filter(device=device)[:PANEL_COMMANDS]
    context = {
        "session": sessions.current(device, now=now),
        "commands": [_command_context(row, now) for row in rows],
        "is_retired": device.status == Device.Status.RETIRED,
        "may_manage": request.user.has_perm(MANAGE),
        "control_url": reverse("admin:remote_control_control", args=[device.pk]),
        "history_url": _history_url(device),
    }
    return render_to_string("portal/device_remote_control.html", context)


@never_cache
def control(request: HttpRequest, device_id: UUID) -> HttpResponse:
    """Show the control page: the screen, the remote's keys and the latest commands."""
    device = _device(request, device_id)
    with tenant_scope(device.tenant_id):
        allowed = set(policies.of_tenant().allowed_types)
        context = {
            **admin.site.each_context(request),
            "title": f"Control {device.name}",
            "device": device,
            "state": _state(request, device),
            "act_url": reverse("admin:remote_control_act", args=[device.pk]),
            "state_url": reverse("admin:remote_control_state", args=[device.pk]),
            "allowed": allowed,
            "direction_pad": DIRECTION_PAD if "keypress" in allowed else (),
            "keys": KEYS if "keypress" in allowed else (),
            "may_manage": request.user.has_perm(MANAGE),
            "history_url": _history_url(device),
        }
    return TemplateResponse(request, "portal/remote_control.html", context)


@never_cache
def state(request: HttpRequest, device_id: UUID) -> JsonResponse:
    """Return the current state of the control page as JSON. The open page polls this state."""
    device = _device(request, device_id)
    with tenant_scope(device.tenant_id):
        return JsonResponse(_state(request, device))


@require_POST
def act(request: HttpRequest, device_id: UUID) -> JsonResponse:
    """Start or end a session, or issue or cancel a command. Return the new state of the page."""
    device = _device(request, device_id)
    if not request.user.has_perm(MANAGE):
        raise PermissionDenied
    with tenant_scope(device.tenant_id):
        try:
            _act(request, device, clock.now())
        except DomainError as error:
            messages = [detail.sentence for detail in error.details] or [str(error)]
            data = {"error": " ".join(messages), **_state(request, device)}
            return JsonResponse(data, status=409)
        return JsonResponse(_state(request, device))


def screenshot(request: HttpRequest, screenshot_id: UUID) -> HttpResponse:
    """Return the image of a screenshot."""
    if not request.user.has_perm(VIEW):
        raise PermissionDenied
    rows = visible_to(signed_in_user(request), Screenshot).filter(pk=screenshot_id)
    shot = get_object_or_404(rows)
    return image_response(shot)


def _device(request: HttpRequest, device_id: UUID) -> Device:
    if not request.user.has_perm(VIEW):
        raise PermissionDenied
    return get_object_or_404(visible_to(signed_in_user(request), Device).filter(pk=device_id))


def _act(request: HttpRequest, device: Device, now: datetime) -> None:
    data, by = request.POST, signed_in_user(request)
    match data.get("action"):
        case "start":
            sessions.start(device=device, controller=by, now=now)
        case "end":
            may_end_others = request.user.has_perm(END_ANY)
            sessions.end(device=device, by=by, may_end_others=may_end_others, now=now)
        case "cancel":
            command_expiry.cancel(
                command=command_or_404(_uuid(data.get("command", ""))), by=by.email, now=now
            )
        case "command":
            issuing.issue(
                device=device,
                type=data.get("type", "")[:40],
                parameters=_parameters(data.get("parameters", "")),
                by=by,
                now=now,
            )
        case _:
            raise Http404


def _state(request: HttpRequest, device: Device) -> dict[str, Any]:
    """Return the data that the control page shows. The value of `history` is HTML."""
    device.refresh_from_db()
    now = clock.now()
    session = sessions.current(device, now=now)
    is_mine = session is not None and session.controller_id == signed_in_user(request).pk
    shots = Screenshot.objects.filter(device=device).defer("image")
    shot = shots.first()
    size = screen_size.size_of(device)
    rows = list(CommandHistory.objects.filter(device=device)[:PAGE_COMMANDS])
    return {
        "online": device.status == Device.Status.ONLINE,
        "reachable": device.status == Device.Status.ONLINE and device.quarantined_at is None,
        "retired": device.status == Device.Status.RETIRED,
        "controller": session.controller.email if session else None,
        "is_mine": is_mine,
        "may_end": is_mine or (session is not None and request.user.has_perm(END_ANY)),
        "screen": size,
        "picture": shot
        and {
            "address": reverse("admin:remote_control_screenshot", args=[shot.pk]),
            "taken_at": shot.taken_at.isoformat(),
            "width": shot.width,
            "height": shot.height,
        },
        # Commands that wait longer, for an offline device, need no quick polling.
        "open": sum(
            row.status_at(now) in OPEN_STATUSES and row.issued_at > now - RECENT for row in rows
        ),
        "history": render_to_string(
            "portal/remote_control_history.html",
            {
                "commands": [_command_context(row, now) for row in rows],
                "may_manage": request.user.has_perm(MANAGE),
            },
        ),
    }


def _command_context(row: CommandHistory, now: datetime) -> dict[str, Any]:
    """Return the template variables of one command.

    `steps` has the milliseconds from the issue of the command to each step.
    """
    status = row.status_at(now)
    steps = (
        ("sent", row.sent_at),
        ("delivered", row.delivered_at),
        ("running", row.started_at),
        (status, row.ended_at),
    )
    return {
        "row": row,
        "text": command_text(row.type, row.parameters),
        "status": status,
        "mark": {"succeeded": "good", "failed": "bad", "expired": "bad"}.get(status, ""),
        "steps": [
            (name, round((time - row.issued_at).total_seconds() * 1000))
            for name, time in steps
            if time is not None
        ],
    }


def command_text(type: str, parameters: dict[str, Any]) -> str:
    """Return a command as text, such as `Set volume: 30`."""
    label = TYPES[type].label
    match parameters:
        case {"from": start, "to": end}:
            return f"{label}: {_point_text(start)} to {_point_text(end)}"
        case {"x": _, "y": _}:
            return f"{label}: {_point_text(parameters)}"
        case {"key": key}:
            return f"{label}: {key.replace('_', ' ')}"
        case {"text": text}:
            return f"{label}: {text}"
        case {"volume": volume}:
            return f"{label}: {volume}"
    return label


def _point_text(point: dict[str, Any]) -> str:
    return f"{point['x']}, {point['y']}"


def _parameters(text: str) -> Any:
    """Parse the parameters that the page sent; return None if they are not valid JSON.

    `issuing.issue` rejects None, because parameters must be an object.
    """
    if not text:
        return {}
    try:
        parameters = json.loads(text[:MAX_PARAMETERS_LENGTH], parse_constant=_reject_constant)
        json.dumps(parameters, ensure_ascii=False).encode()  # rejects lone surrogates
    except (ValueError, RecursionError):
        return None
    return parameters


def _reject_constant(constant: str) -> None:
    """Reject `NaN` and the infinities, which JSON does not allow (RFC 8259 §6).

    Raises:
        ValueError: always.
    """
    raise ValueError(constant)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Http404 from None


def _history_url(device: Device) -> str:
    url = reverse("admin:remote_control_commandhistory_changelist")
    return f"{url}?device__id__exact={device.pk}"
