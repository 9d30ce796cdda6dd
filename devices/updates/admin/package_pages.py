"""The pages of packages: how a file comes in, and what it then is."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_POST

from core import uploads
from core.errors import DomainError
from devices.updates.api.package_views import store_uploaded_file
from devices.updates.models import Deployment, SoftwareUpdate
from devices.updates.services import packages, progress
from tenants.admin.base import person
from tenants.context import tenant_scope
from tenants.roles import visible_to

CHANGE = "updates.change_softwareupdate"
ROLL_OUT = "updates.add_deployment"
LAST_FEW = 10  # rollouts on a package's page

State = SoftwareUpdate.State


@require_http_methods(["PUT"])
def upload(request: HttpRequest, package_id: UUID) -> HttpResponseBase:
    """Take a draft's file; the answer is JSON for the page's script."""
    package = _package(request, package_id)
    with tenant_scope(package.tenant_id):
        try:
            told = store_uploaded_file(request, package)
        except DomainError as error:
            return JsonResponse({"error": str(error)}, status=409)
    if told is None:
        return uploads.admitted(packages.largest())
    return JsonResponse({"size": told.size, "sha256": told.sha256})


@require_POST
def act(request: HttpRequest, package_id: UUID) -> HttpResponse:
    """Release a package, or withdraw it."""
    package = _package(request, package_id)
    with tenant_scope(package.tenant_id):
        try:
            reason = _reason(request)
            if "release" in request.POST:
                seen = request.POST.get("sha256", "")
                packages.release(package=package, sha256=seen, now=timezone.now())
                messages.success(request, "Released: it can be rolled out now.")
            elif "withdraw" not in request.POST:
                raise Http404
            elif not reason:
                messages.error(request, "Say why it is withdrawn.")
            else:
                packages.withdraw(package=package, reason=reason, now=timezone.now())
                messages.success(request, "Withdrawn: nobody gets it any more.")
        except DomainError as error:
            messages.error(request, str(error))
    return redirect(change_url(package))


def page_context(request: HttpRequest, package: SoftwareUpdate) -> dict[str, Any]:
    """For the page of one."""
    rollouts = Deployment.objects.filter(package=package).order_by("-created_at", "-id")
    may_change = request.user.has_perm(CHANGE)
    new = reverse("admin:updates_deployment_add")
    return {
        "package": package,
        "package_facts": _facts(package),
        "package_rollouts": [
            (
                each,
                progress.completed_text(each),
                reverse("admin:updates_deployment_change", args=[each.pk]),
            )
            for each in rollouts.prefetch_related("waves")[:LAST_FEW]
        ],
        "may_upload": may_change and package.state == State.DRAFT,
        "may_release": may_change
        and package.state == State.DRAFT
        and bool(package.sha256),
        "may_withdraw": may_change and package.state == State.RELEASED,
        "may_roll_out": request.user.has_perm(ROLL_OUT)
        and package.state == State.RELEASED,
        "upload_address": reverse("admin:updates_package_file", args=[package.pk]),
        "act_address": reverse("admin:updates_package_act", args=[package.pk]),
        "rollout_address": f"{new}?package={package.pk}",
        "largest": packages.largest(),
        "largest_in_words": size_text(packages.largest()),
    }


def _reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "").replace("\x00", "").strip()[:500]


def change_url(package: SoftwareUpdate) -> str:
    return reverse("admin:updates_softwareupdate_change", args=[package.pk])


def _package(request: HttpRequest, package_id: UUID) -> SoftwareUpdate:
    if not request.user.has_perm(CHANGE):
        raise PermissionDenied
    rows = visible_to(person(request), SoftwareUpdate).select_related("product")
    package: SoftwareUpdate | None = rows.filter(pk=package_id).first()
    if package is None:
        raise Http404
    return package


def _facts(package: SoftwareUpdate) -> list[tuple[str, str]]:
    """What there is to say of the file."""
    if not package.sha256:
        return []
    facts = [("Size", size_text(package.size)), ("SHA-256", package.sha256)]
    apk = package.apk or {}
    if apk:
        code = apk["version_code"]
        facts.append(("Application", apk["application_id"]))
        facts.append(("Version code", str(code) if code is not None else "-"))
        if apk["minimum_sdk"]:
            facts.append(("From Android SDK", str(apk["minimum_sdk"])))
    return facts


def size_text(size: int | None) -> str:
    if size is None:
        return "no file yet"
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
