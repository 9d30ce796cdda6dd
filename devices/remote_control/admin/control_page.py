"""One device in a person's hands: its panel, and the page on which it is controlled."""

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from core.errors import DomainError
from devices.registry.models import Device
from devices.remote_control.api.screenshot_views import picture
from devices.remote_control.api.views import command_with
from devices.remote_control.command_types import TYPES
from devices.remote_control.models import CommandHistory, Screenshot
from devices.remote_control.models.commands import OPEN
from devices.remote_control.services import (
    command_expiry,
    issuing,
    policies,
    screen_size,
    sessions,
)
from tenants.admin.base import person
from tenants.context import tenant_scope
from tenants.roles import visible_to

VIEW = "remote_control.view_remotecontrolsession"
MANAGE = "remote_control.manage_remote_control"
END_ANY = "remote_control.end_any_session"
LAST_FEW = 5  # commands on the device's page
HISTORY = 30  # commands on the page of its control
LIVELY = timedelta(minutes=1)  # in which an answer is waited for
MOST_TEXT = 2_000  # characters of parameters
PAD = (
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


def panel(request: HttpRequest, device: Device) -> SafeString | str:
    """Who controls the device, and what it was told lately."""
    if not request.user.has_perm(VIEW):
        return ""
    now = timezone.now()
    rows = CommandHistory.objects.filter(device=device)[:LAST_FEW]
    context = {
        "session": sessions.current(device, now=now),
        "commands": [_told(row, now) for row in rows],
        "is_retired": device.status == Device.Status.RETIRED,
        "may_manage": request.user.has_perm(MANAGE),
        "address": reverse("admin:remote_control_control", args=[device.pk]),
        "history": _history_address(device),
    }
    return render_to_string("portal/device_remote_control.html", context)


@never_cache
def control(request: HttpRequest, device_id: UUID) -> HttpResponse:
    """The page: a screen to touch, a remote's keys, and what came of it all."""
    device = _device(request, device_id)
    with tenant_scope(device.tenant_id):
        allowed = set(policies.of_tenant().allowed_types)
        context = {
            **admin.site.each_context(request),
            "title": f"Control {device.name}",
            "device": device,
            "state": _state(request, device),
            "act_address": reverse("admin:remote_control_act", args=[device.pk]),
            "state_address": reverse("admin:remote_control_state", args=[device.pk]),
            "allowed": allowed,
            "pad": PAD if "keypress" in allowed else (),
            "keys": KEYS if "keypress" in allowed else (),
            "may_manage": request.user.has_perm(MANAGE),
            "history": _history_address(device),
        }
    return TemplateResponse(request, "portal/remote_control.html", context)


@never_cache
def state(request: HttpRequest, device_id: UUID) -> JsonResponse:
    """How it stands now, for the page that is open."""
    device = _device(request, device_id)
    with tenant_scope(device.tenant_id):
        return JsonResponse(_state(request, device))


@require_POST
def act(request: HttpRequest, device_id: UUID) -> JsonResponse:
    """Start, end, command, call back; the answer says how it stands then."""
    device = _device(request, device_id)
    if not request.user.has_perm(MANAGE):
        raise PermissionDenied
    with tenant_scope(device.tenant_id):
        try:
            _act(request, device, timezone.now())
        except DomainError as error:
            said = [detail.sentence for detail in error.details] or [str(error)]
            told = {"error": " ".join(said), **_state(request, device)}
            return JsonResponse(told, status=409)
        return JsonResponse(_state(request, device))


def screenshot(request: HttpRequest, screenshot_id: UUID) -> HttpResponse:
    """A picture of a screen."""
    if not request.user.has_perm(VIEW):
        raise PermissionDenied
    found = visible_to(person(request), Screenshot).filter(pk=screenshot_id).first()
    if found is None:
        raise Http404
    return picture(found)


def _device(request: HttpRequest, device_id: UUID) -> Device:
    if not request.user.has_perm(VIEW):
        raise PermissionDenied
    device = visible_to(person(request), Device).filter(pk=device_id).first()
    if device is None:
        raise Http404
    return device


def _act(request: HttpRequest, device: Device, now: datetime) -> None:
    said, by = request.POST, person(request)
    match said.get("action"):
        case "start":
            sessions.start(device=device, controller=by, now=now)
        case "end":
            may_end_others = request.user.has_perm(END_ANY)
            sessions.end(device=device, by=by, may_end_others=may_end_others, now=now)
        case "cancel":
            command_expiry.cancel(
                command=command_with(_uuid(said.get("command", ""))),
                by=by.email,
                now=now,
            )
        case "command":
            issuing.issue(
                device=device,
                type=said.get("type", "")[:40],
                parameters=_parameters(said.get("parameters", "")),
                by=by,
                now=now,
            )
        case _:
            raise Http404


def _state(request: HttpRequest, device: Device) -> dict[str, Any]:
    """What the page shows, as JSON; the history as HTML, which it puts in its place."""
    device.refresh_from_db()
    now = timezone.now()
    session = sessions.current(device, now=now)
    is_mine = session is not None and session.controller_id == person(request).pk
    shots = Screenshot.objects.filter(device=device).defer("image")
    shot = shots.first()
    size = screen_size.size_of(device)
    rows = list(CommandHistory.objects.filter(device=device)[:HISTORY])
    told = [_told(row, now) for row in rows]
    return {
        "online": device.status == Device.Status.ONLINE,
        "reachable": device.status == Device.Status.ONLINE
        and device.quarantined_at is None,
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
        # What waits for an offline device does so without anybody looking on.
        "open": sum(
            row.status_at(now) in OPEN and row.issued_at > now - LIVELY for row in rows
        ),
        "history": render_to_string(
            "portal/remote_control_history.html",
            {"commands": told, "may_manage": request.user.has_perm(MANAGE)},
        ),
    }


def _told(row: CommandHistory, now: datetime) -> dict[str, Any]:
    """A command in words."""
    status = row.status_at(now)
    steps = (
        ("sent", row.sent_at),
        ("delivered", row.delivered_at),
        ("running", row.started_at),
        (status, row.ended_at),
    )
    return {
        "row": row,
        "what": in_words(row.type, row.parameters),
        "status": status,
        "mark": {"succeeded": "good", "failed": "bad", "expired": "bad"}.get(
            status, ""
        ),
        "steps": [
            (name, round((at - row.issued_at).total_seconds() * 1000))
            for name, at in steps
            if at is not None
        ],
    }


def in_words(type: str, parameters: dict[str, Any]) -> str:
    """`Set the volume: 30`; what a person would say of a command."""
    label = TYPES[type].label
    match parameters:
        case {"from": start, "to": end}:
            return f"{label}: {_at(start)} to {_at(end)}"
        case {"x": _, "y": _}:
            return f"{label}: {_at(parameters)}"
        case {"key": key}:
            return f"{label}: {key.replace('_', ' ')}"
        case {"text": text}:
            return f"{label}: {text}"
        case {"volume": volume}:
            return f"{label}: {volume}"
    return label


def _at(place: dict[str, Any]) -> str:
    return f"{place['x']}, {place['y']}"


def _parameters(text: str) -> Any:
    """As the page says them; what cannot be read is what no command has."""
    if not text:
        return {}
    try:
        said = json.loads(text[:MOST_TEXT], parse_constant=_refuse)
        json.dumps(said, ensure_ascii=False).encode()  # no lone surrogates
    except (ValueError, RecursionError):
        return None
    return said


def _refuse(constant: str) -> None:
    """
    Raises:
        ValueError: `NaN` and the infinities are no JSON (RFC 8259 §6).
    """
    raise ValueError(constant)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Http404 from None


def _history_address(device: Device) -> str:
    address = reverse("admin:remote_control_commandhistory_changelist")
    return f"{address}?device__id__exact={device.pk}"
