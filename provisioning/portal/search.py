"""The portal's search: one box that finds devices and everything about them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Model
from django.http import HttpRequest, JsonResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET

from certificates.models import DeviceCertificate
from certificates.pki import serials
from core.errors import TakesTooLong
from core.statement_limit import statement_limit
from devices.monitoring.models import Alert
from devices.registry import text_search
from devices.registry.models import Device, DeviceIdentifier, Site, Tag
from devices.remote_control.command_types import TYPES
from devices.remote_control.models import BulkCommand, CommandHistory
from devices.updates.models import Deployment
from events.event_classes import event_classes
from tenants.admin.base import signed_in_user
from tenants.context import current_tenant_id
from tenants.models import User
from tenants.roles import visible_to

MAX_LENGTH = 120  # characters of a search
MIN_LENGTH = 2
PER_GROUP = 6
MAX_SUGGESTIONS = 20
MAX_SECONDS = 2.0  # for a statement
MIN_FINGERPRINT = 8  # hexadecimal digits; fewer are rather a name or the end of a MAC address
# Objects that are found by their id, and the permissions to see them.
WITH_AN_ID: tuple[tuple[type[Model], str], ...] = (
    (Device, "Device"),
    (Site, "Site"),
    (Alert, "Alert"),
    (CommandHistory, "Command"),
    (BulkCommand, "Bulk command"),
    (Deployment, "Rollout"),
)


@dataclass(frozen=True, slots=True)
class Hit:
    """A result: what it is, a line about it, and its page."""

    title: str
    detail: str
    url: str


@dataclass(frozen=True, slots=True)
class Group:
    """The results of one kind. `more` is the address of a list with all of them, if there is one."""

    title: str
    hits: list[Hit]
    more: str = ""


@require_GET
@never_cache
def search(request: HttpRequest) -> JsonResponse:
    """Return the results as JSON for `search.js`, in groups."""
    text = request.GET.get("q", "").replace("\x00", "").strip()[:MAX_LENGTH]
    if len(text) < MIN_LENGTH:
        return JsonResponse({"groups": [], "note": "Enter at least two characters."})
    groups, note = [], ""
    for find in (_by_id, _devices, _tags, _sites, _certificates, _alerts, _commands, _events):
        try:
            with statement_limit(MAX_SECONDS):
                groups += [group for group in find(signed_in_user(request), text) if group.hits]
        except TakesTooLong:
            note = "Not everything was searched, because it takes too long. Enter more characters."
    return JsonResponse({"groups": [asdict(group) for group in groups], "note": note})


@require_GET
@never_cache
def suggest(request: HttpRequest) -> JsonResponse:
    """Return the first names of sites or tags that contain a text, as JSON for `suggest.js`."""
    text = request.GET.get("q", "").replace("\x00", "").strip()[:MAX_LENGTH]
    model = {"site": Site, "tag": Tag}.get(request.GET.get("kind", ""))
    user = signed_in_user(request)
    if model is None or not user.has_perm(f"devices.view_{model._meta.model_name}"):
        return JsonResponse({"names": []})
    rows: Any = visible_to(user, model)
    names = rows.filter(name__icontains=text).order_by("name").values_list("name", flat=True)
    try:
        with statement_limit(MAX_SECONDS):
            return JsonResponse({"names": list(names.distinct()[:MAX_SUGGESTIONS])})
    except TakesTooLong:
        return JsonResponse({"names": []})


def _by_id(user: User, text: str) -> Iterator[Group]:
    try:
        key = UUID(text)
    except ValueError:
        return
    for model, label in WITH_AN_ID:
        options = model._meta
        if not user.has_perm(f"{options.app_label}.view_{options.model_name}"):
            continue
        row = visible_to(user, model).filter(pk=key).first()
        if row is not None:
            yield Group(label, [Hit(str(row), label, _page(row))])


def _devices(user: User, text: str) -> Iterator[Group]:
    if not user.has_perm("devices.view_device"):
        return
    rows = _device_rows(visible_to(user, Device), text)
    hits = [
        Hit(row.name, _joined(_state(row), row.model, row.site and row.site.name), _page(row))
        for row in rows[:PER_GROUP]
    ]
    more = _list("devices_device", q=text) if len(rows) > PER_GROUP else ""
    yield Group("Devices", hits, more)


def _device_rows(devices: Any, text: str) -> list[Any]:
    """Return one device more than a group shows.

    Identifiers in use are found by their index. Only if they are too few, the names are searched,
    in the index that orders the list by name. So no extension for the search of text is needed.
    """
    most, ids = PER_GROUP + 1, list[UUID]()
    identifiers = DeviceIdentifier.objects if current_tenant_id() else DeviceIdentifier.every_tenant
    for condition in text_search.begins_with(text):
        rows = identifiers.in_use().filter(condition).order_by()
        ids += _more(ids, rows.values_list("device_id", flat=True), most)
    named = devices.with_name(text).order_by("tenant", "name", "pk")
    # Each of the two reads all devices of the tenant in the worst case, so only one of them runs.
    found = devices.with_address(text) if text_search.is_address(text) else named
    ids += _more(ids, found.values_list("pk", flat=True), most)
    rows = devices.filter(pk__in=ids).select_related("site")
    return sorted(rows, key=lambda row: ids.index(row.pk))


def _more(ids: list[UUID], rows: Any, most: int) -> list[UUID]:
    """Return further ids, unless there are enough."""
    if len(ids) >= most:
        return []
    return [pk for pk in dict.fromkeys(rows[:most]) if pk not in ids][: most - len(ids)]


def _tags(user: User, text: str) -> Iterator[Group]:
    if not user.has_perm("devices.view_device"):
        return
    tags = visible_to(user, Tag).filter(name__icontains=text).order_by("name")
    names = list(tags.values_list("name", flat=True).distinct()[:PER_GROUP])
    yield Group(
        "Tags",
        [Hit(name, "Devices with this tag", _list("devices_device", tag=name)) for name in names],
    )
    models = visible_to(user, Device).filter(model=text)[:1]
    yield Group(
        "Models",
        [
            Hit(row.model, "Devices of this model", _list("devices_device", model=row.model))
            for row in models
        ],
    )


def _sites(user: User, text: str) -> Iterator[Group]:
    if not user.has_perm("devices.view_site"):
        return
    sites = visible_to(user, Site).filter(name__icontains=text).order_by("name")
    rows = list(sites[: PER_GROUP + 1])
    more = _list("devices_site", q=text) if len(rows) > PER_GROUP else ""
    yield Group("Sites", [Hit(row.name, row.address, _page(row)) for row in rows[:PER_GROUP]], more)


def _certificates(user: User, text: str) -> Iterator[Group]:
    digits = serials.normalise(text)
    if not user.has_perm("certificates.view_devicecertificate"):
        return
    plain = text.lower().replace(":", "").replace(" ", "")
    is_fingerprint = len(plain) >= MIN_FINGERPRINT and set(plain) <= set("0123456789abcdef")
    rows: list[DeviceCertificate] = []
    certificates = DeviceCertificate.objects.signed().select_related("device")
    if not user.sees_every_tenant:
        certificates = certificates.of_current_tenant()
    if digits:
        rows += certificates.filter(serial_number=digits)[:PER_GROUP]
    if is_fingerprint:
        rows += certificates.filter(fingerprint__startswith=plain)[:PER_GROUP]
    yield Group(
        "Certificates",
        [
            Hit(row.serial_number, _joined(row.device.name, row.get_status_display()), _page(row))
            for row in rows[:PER_GROUP]
        ],
    )


def _alerts(user: User, text: str) -> Iterator[Group]:
    if not user.has_perm("monitoring.view_alert"):
        return
    alerts: Any = visible_to(user, Alert)
    found = alerts.open().filter(title__icontains=text).select_related("device")
    rows = list(found.order_by("-opened_at")[:PER_GROUP])
    yield Group(
        "Open alerts",
        [Hit(row.title, row.device.name if row.device else "", _page(row)) for row in rows],
    )


def _commands(user: User, text: str) -> Iterator[Group]:
    if not user.has_perm("remote_control.view_commandhistory"):
        return
    names = [name for name, type_ in TYPES.items() if text.casefold() in type_.label.casefold()]
    yield Group(
        "Commands",
        [
            Hit(
                TYPES[name].label,
                "Commands of this type",
                _list("remote_control_commandhistory", type__exact=name),
            )
            for name in names[:PER_GROUP]
        ],
    )


def _events(user: User, text: str) -> Iterator[Group]:
    if not user.has_perm("events.view_event"):
        return
    names = sorted(name for name in event_classes() if text.casefold() in name)
    yield Group(
        "Events",
        [
            Hit(name, "Events with this name", _list("events_event", name__icontains=name))
            for name in names[:PER_GROUP]
        ],
    )


def _state(device: Device) -> str:
    return device.state.replace("_", " ").capitalize()


def _joined(*parts: Any) -> str:
    return " · ".join(str(part) for part in parts if part)


def _page(row: Model) -> str:
    options = row._meta
    return reverse(f"admin:{options.app_label}_{options.model_name}_change", args=[row.pk])


def _list(name: str, **filters: str) -> str:
    return f"{reverse(f'admin:{name}_changelist')}?{urlencode(filters)}"
