"""The portal's editor of a layer: fields from the schema, a preview, versions, restore."""

import json
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone
from django.views.decorators.http import require_POST

from core.errors import DomainError
from devices.configurations.admin.edit_target import (
    Edited,
    found,
    may_manage,
    refuse_viewers,
)
from devices.configurations.admin.editor_feedback import (
    in_words,
    parsed,
    previewed,
    told,
)
from devices.configurations.document_validation import SCHEMA, Fault, faults, time_zones
from devices.configurations.documents import differences
from devices.configurations.errors import ConfigurationChanged, InvalidDocument
from devices.configurations.models import (
    AnyLayer,
    DeviceConfiguration,
    Round,
    Scope,
)
from devices.configurations.services import layer_comparison, layers
from devices.configurations.services.layers import LONGEST_NOTE
from devices.registry.models import Device

MOST_VERSIONS = 50


def edit(request: HttpRequest, scope: str, subject_id: str) -> HttpResponse:
    """The editor; what is posted is saved, or comes back with what is wrong with it."""
    edited = found(request, scope, subject_id)
    if request.method != "POST":
        return _page(request, edited, json.dumps(edited.document, indent=2))
    refuse_viewers(request, scope)
    text = request.POST.get("document", "")
    said: dict[str, Any] = {
        "note": request.POST.get("note", "").strip()[:LONGEST_NOTE],
        # Whoever was told what somebody else has saved may save over that.
        "based_on": _number(
            request.POST.get("over") or request.POST.get("based_on", "")
        ),
        "now": timezone.now(),
    }
    try:
        saved = _saved(edited, document=parsed(text), **said)
    except InvalidDocument as error:
        wrong = list(error.faults)
        return _page(request, edited, text, wrong=wrong, based_on=said["based_on"])
    except ConfigurationChanged:
        return _overtaken(request, scope, subject_id, text, said["based_on"])
    except DomainError as error:
        wrong = [Fault("", str(error))]
        return _page(request, edited, text, wrong=wrong, based_on=said["based_on"])
    if saved.number == edited.number:
        messages.info(request, "Nothing was changed.")
    else:
        messages.success(request, f"Saved as version {saved.number}.")
    return redirect(edited.address())


def _overtaken(
    request: HttpRequest, scope: str, subject_id: str, text: str, based_on: int | None
) -> HttpResponse:
    """The page once more, with what somebody else has saved meanwhile."""
    edited = found(request, scope, subject_id)
    with edited.scope():
        versions = edited.layer.versions if edited.layer else None
        seen = versions and versions.filter(number=based_on or 0).first()
        newest = versions and versions.filter(number=edited.number).first()
        before = seen.document if seen else {}
        context = {
            "overtaken_by": newest,
            "theirs": in_words(differences(before, edited.document)),
        }
    return _page(request, edited, text, based_on=based_on, status=409, context=context)


@require_POST
def show_preview(request: HttpRequest, scope: str, subject_id: str) -> HttpResponse:
    """The part of the page that says what a document would do."""
    edited = found(request, scope, subject_id)
    context = previewed(edited, request.POST.get("document", ""))
    return TemplateResponse(request, "portal/configuration_preview.html", context)


def version(
    request: HttpRequest, scope: str, subject_id: str, number: int
) -> HttpResponse:
    """A version against the present one, and what it would do to restore it."""
    edited = found(request, scope, subject_id)
    with edited.scope():
        chosen = edited.layer and edited.layer.versions.filter(number=number).first()
        if not chosen:
            raise Http404
        if request.method == "POST":
            refuse_viewers(request, scope)
            return _restored(request, edited, number)
        against = _number(request.GET.get("against", "")) or edited.number
        other = edited.layer.versions.filter(number=against).first()  # type: ignore[union-attr] # it has this one
        if other is None:
            raise Http404
        numbers = _versions(edited).values_list("number", flat=True)
        context = {
            **admin.site.each_context(request),
            "title": f"Version {number} of {layer_comparison.label(edited.subject)}",
            "edited": edited,
            "back": edited.address(),
            "version": chosen,
            "against": other,
            "numbers": list(numbers[:MOST_VERSIONS]),
            "differences": in_words(differences(other.document, chosen.document)),
            "document": json.dumps(chosen.document, indent=2, ensure_ascii=False),
            "told": told(edited, chosen.document)
            if not faults(chosen.document)
            else None,
            "may_manage": may_manage(request, scope),
        }
    return TemplateResponse(request, "portal/configuration_version.html", context)


@require_POST
def put_in_order(request: HttpRequest, tenant_id: UUID) -> HttpResponse:
    """Move a tag's layer up or down among the others."""
    edited = found(request, Scope.TENANT, str(tenant_id))
    refuse_viewers(request, Scope.TENANT)
    with edited.scope():
        ordered = DeviceConfiguration.objects.of_tags()
        tags = list(ordered.values_list("tag__name", flat=True))
        name, step = request.POST.get("tag", ""), request.POST.get("step", "")
        if name in tags and step in ("-1", "1"):
            here = tags.index(name)
            there = min(max(here + int(step), 0), len(tags) - 1)
            other = tags[there]
            tags.insert(there, tags.pop(here))
            try:
                layers.put_in_order(tags=tags, now=timezone.now())
            except DomainError as error:
                messages.error(request, str(error))
            else:
                both = Device.objects.living().tagged(name).tagged(other).count()
                word = "stronger" if step == "1" else "weaker"
                messages.success(
                    request,
                    f"{name} is {word} than {other} now; that concerns {both} device"
                    f"{'' if both == 1 else 's'} with both tags.",
                )
    return redirect("admin:configurations_deviceconfiguration_changelist")


def _saved(edited: Edited, **said: Any) -> AnyLayer:
    with edited.scope():
        if edited.subject.scope == Scope.PLATFORM:
            return layers.save_platform(**said)
        return layers.save(subject=edited.subject, **said)


def _restored(request: HttpRequest, edited: Edited, number: int) -> HttpResponse:
    assert edited.layer is not None
    try:
        restored = layers.restore(
            layer=edited.layer,
            number=number,
            based_on=_number(request.POST.get("based_on", "")),
            now=timezone.now(),
        )
    except DomainError as error:
        messages.error(request, str(error))
        return redirect(edited.address("version", number))
    messages.success(
        request, f"Version {number} is back, as version {restored.number}."
    )
    return redirect(edited.address())


def _page(
    request: HttpRequest,
    edited: Edited,
    text: str,
    wrong: list[Fault] | None = None,
    based_on: int | None = None,
    status: int = 200,
    context: dict[str, Any] | None = None,
) -> HttpResponse:
    scope = edited.subject.scope
    if wrong:
        number = len(wrong)
        things = "one thing is" if number == 1 else f"{number} things are"
        messages.error(request, f"Not saved: {things} wrong, as said below.")
        status = 400
    with edited.scope():
        context = {
            **(context or {}),
            **admin.site.each_context(request),
            **previewed(edited, text, wrong=wrong),
            "title": f"Configuration: {layer_comparison.label(edited.subject)}",
            "edited": edited,
            "text": text,
            "based_on": edited.number if request.method == "GET" else based_on,
            "note": request.POST.get("note", ""),
            "longest_note": LONGEST_NOTE,
            "schema": SCHEMA,
            "time_zones": sorted(time_zones()),
            "inherited": layer_comparison.inherited(
                layer_comparison.columns(edited.subject, {})
            ),
            "versions": list(_versions(edited)[:MOST_VERSIONS]),
            "may_manage": may_manage(request, scope),
            "round": _round(edited),
            "preview_address": edited.address("preview"),
        }
    return TemplateResponse(
        request, "portal/configuration_editor.html", context, status=status
    )


def _versions(edited: Edited) -> Any:
    return edited.layer.versions.all() if edited.layer else Round.objects.none()


def _round(edited: Edited) -> Round | None:
    """What is being worked out for the devices of the layer, if it still is."""
    if edited.tenant_id is None:
        return None
    rounds = Round.objects.filter(Q(tag=edited.subject.tag) | Q(tag__isnull=True))
    under_way: Round | None = rounds.first()
    return under_way


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
