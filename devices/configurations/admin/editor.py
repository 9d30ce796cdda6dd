"""Portal views that edit, preview, compare, restore and order layers."""

import json
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.template.response import TemplateResponse
from django.views.decorators.http import require_POST

from core import clock
from core.errors import DomainError
from core.json_schema import SchemaError
from core.time_zones import time_zones
from devices.configurations.admin.edit_target import (
    EditTarget,
    may_manage,
    require_manage,
    resolve_target,
)
from devices.configurations.admin.editor_feedback import (
    format_changes,
    impact_context,
    parse_document,
    preview_context,
)
from devices.configurations.document_validation import SCHEMA, find_faults
from devices.configurations.documents import differences
from devices.configurations.errors import ConfigurationChanged, InvalidDocument
from devices.configurations.models import AnyLayer, DeviceConfiguration, Round, Scope
from devices.configurations.services import layer_comparison, layers
from devices.configurations.services.layers import MAX_NOTE_LENGTH
from devices.registry.models import Device

MAX_VERSIONS = 50


def edit(request: HttpRequest, scope: str, subject_id: str) -> HttpResponse:
    """Show the editor of a layer. POST saves the document or shows its errors."""
    target = resolve_target(request, scope, subject_id)
    if request.method != "POST":
        return _page(request, target, json.dumps(target.document, indent=2))
    require_manage(request, scope)
    text = request.POST.get("document", "")
    # `over` is the number of a newer version that the user saw and chose to overwrite.
    based_on = _parse_number(request.POST.get("over") or request.POST.get("based_on", ""))
    try:
        layer = _save(
            target,
            document=parse_document(text),
            note=request.POST.get("note", "").strip()[:MAX_NOTE_LENGTH],
            based_on=based_on,
            now=clock.now(),
        )
    except InvalidDocument as error:
        return _page(request, target, text, faults=list(error.faults), based_on=based_on)
    except ConfigurationChanged:
        return _conflict_page(request, scope, subject_id, text, based_on)
    except DomainError as error:
        faults = [SchemaError("", str(error))]
        return _page(request, target, text, faults=faults, based_on=based_on)
    if layer.number == target.number:
        messages.info(request, "Nothing was changed.")
    else:
        messages.success(request, f"Saved as version {layer.number}.")
    return redirect(target.url())


def _conflict_page(
    request: HttpRequest, scope: str, subject_id: str, text: str, based_on: int | None
) -> HttpResponse:
    """Show the editor with the user's document and the changes that were saved meanwhile."""
    target = resolve_target(request, scope, subject_id)
    with target.scope():
        versions = target.layer.versions if target.layer else None
        base = versions and versions.filter(number=based_on or 0).first()
        newest = versions and versions.filter(number=target.number).first()
        before = base.document if base else {}
        context = {
            "newest_version": newest,
            "concurrent_changes": format_changes(differences(before, target.document)),
        }
    return _page(request, target, text, based_on=based_on, status=409, context=context)


@require_POST
def show_preview(request: HttpRequest, scope: str, subject_id: str) -> HttpResponse:
    """Render the part of the editor that shows the effects of saving a document."""
    target = resolve_target(request, scope, subject_id)
    context = preview_context(target, request.POST.get("document", ""))
    return TemplateResponse(request, "portal/configuration_preview.html", context)


def version(request: HttpRequest, scope: str, subject_id: str, number: int) -> HttpResponse:
    """Show a version and compare it with another version. POST restores the shown version."""
    target = resolve_target(request, scope, subject_id)
    with target.scope():
        layer = target.layer
        chosen = layer.versions.filter(number=number).first() if layer else None
        if layer is None or chosen is None:
            raise Http404
        if request.method == "POST":
            require_manage(request, scope)
            return _restore(request, target, number)
        other_number = _parse_number(request.GET.get("against", "")) or target.number
        other = get_object_or_404(layer.versions.filter(number=other_number))
        numbers = _versions(target).values_list("number", flat=True)
        context = {
            **admin.site.each_context(request),
            "title": f"Version {number} of {layer_comparison.label(target.subject)}",
            "target": target,
            "back_url": target.url(),
            "version": chosen,
            "other": other,
            "numbers": list(numbers[:MAX_VERSIONS]),
            "differences": format_changes(differences(other.document, chosen.document)),
            "document": json.dumps(chosen.document, indent=2, ensure_ascii=False),
            "impact": impact_context(target, chosen.document)
            if not find_faults(chosen.document)
            else None,
            "may_manage": may_manage(request, scope),
        }
    return TemplateResponse(request, "portal/configuration_version.html", context)


@require_POST
def put_in_order(request: HttpRequest, tenant_id: UUID) -> HttpResponse:
    """Move a tag's layer up or down in the order of the tags' layers."""
    target = resolve_target(request, Scope.TENANT, str(tenant_id))
    require_manage(request, Scope.TENANT)
    with target.scope():
        ordered = DeviceConfiguration.objects.of_tags()
        tags = list(ordered.values_list("tag__name", flat=True))
        name, step = request.POST.get("tag", ""), request.POST.get("step", "")
        if name in tags and step in ("-1", "1"):
            old_index = tags.index(name)
            new_index = min(max(old_index + int(step), 0), len(tags) - 1)
            other = tags[new_index]
            tags.insert(new_index, tags.pop(old_index))
            try:
                layers.put_in_order(tags=tags, now=clock.now())
            except DomainError as error:
                messages.error(request, str(error))
            else:
                both = Device.objects.not_retired().with_tag(name).with_tag(other).count()
                relation = "stronger" if step == "1" else "weaker"
                messages.success(
                    request,
                    f"The layer of tag {name} is now {relation} than the layer of tag "
                    f"{other}. {both} device{' has' if both == 1 else 's have'} both "
                    "tags.",
                )
    return redirect("admin:configurations_deviceconfiguration_changelist")


def _save(target: EditTarget, **values: Any) -> AnyLayer:
    with target.scope():
        if target.subject.scope == Scope.PLATFORM:
            return layers.save_platform(**values)
        return layers.save(subject=target.subject, **values)


def _restore(request: HttpRequest, target: EditTarget, number: int) -> HttpResponse:
    assert target.layer is not None
    try:
        layer = layers.restore(
            layer=target.layer,
            number=number,
            based_on=_parse_number(request.POST.get("based_on", "")),
            now=clock.now(),
        )
    except DomainError as error:
        messages.error(request, str(error))
        return redirect(target.url("version", number))
    messages.success(request, f"Restored version {number}. It is now version {layer.number}.")
    return redirect(target.url())


def _page(
    request: HttpRequest,
    target: EditTarget,
    text: str,
    faults: list[SchemaError] | None = None,
    based_on: int | None = None,
    status: int = 200,
    context: dict[str, Any] | None = None,
) -> HttpResponse:
    scope = target.subject.scope
    if faults:
        count = len(faults)
        messages.error(
            request,
            f"Not saved: the configuration has {count} error{'' if count == 1 else 's'}"
            ", listed below.",
        )
        status = 400
    with target.scope():
        context = {
            **(context or {}),
            **admin.site.each_context(request),
            **preview_context(target, text, faults=faults),
            "title": f"Configuration: {layer_comparison.label(target.subject)}",
            "target": target,
            "text": text,
            "based_on": target.number if request.method == "GET" else based_on,
            "note": request.POST.get("note", ""),
            "max_note_length": MAX_NOTE_LENGTH,
            "schema": SCHEMA,
            "time_zones": sorted(time_zones()),
            "inherited": layer_comparison.inherited(layer_comparison.columns(target.subject, {})),
            "versions": list(_versions(target)[:MAX_VERSIONS]),
            "may_manage": may_manage(request, scope),
            "round": _round(target),
            "preview_url": target.url("preview"),
        }
    return TemplateResponse(request, "portal/configuration_editor.html", context, status=status)


def _versions(target: EditTarget) -> Any:
    return target.layer.versions.all() if target.layer else Round.objects.none()


def _round(target: EditTarget) -> Round | None:
    """Return the recalculation of the layer's devices that is in progress, otherwise None."""
    if target.tenant_id is None:
        return None
    subject = Q(tag=target.subject.tag, site=target.subject.site)
    rounds = Round.objects.filter(subject | Q(tag__isnull=True, site__isnull=True))
    return rounds.first()


def _parse_number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
