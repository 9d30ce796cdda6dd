"""Portal pages to upload, release and withdraw packages."""

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.urls import reverse
from django.views.decorators.http import require_http_methods, require_POST

from core import clock, uploads
from core.errors import DomainError
from devices.updates.api.package_views import store_uploaded_file
from devices.updates.models import Deployment, SoftwareUpdate
from devices.updates.services import packages, progress
from devices.updates.services.apk_checks import signer_warning
from tenants.admin.base import signed_in_user
from tenants.context import tenant_scope
from tenants.roles import visible_to

CHANGE = "updates.change_softwareupdate"
ROLL_OUT = "updates.add_deployment"
MAX_ROLLOUTS = 10  # on a package's page

State = SoftwareUpdate.State


@require_http_methods(["PUT"])
def upload(request: HttpRequest, package_id: UUID) -> HttpResponseBase:
    """Store the uploaded file of a draft package. The response is JSON for `upload.js`."""
    package = _package(request, package_id)
    with tenant_scope(package.tenant_id):
        try:
            uploaded = store_uploaded_file(request, package)
        except DomainError as error:
            return JsonResponse({"error": str(error)}, status=409)
    if uploaded is None:
        return uploads.admission_response(packages.max_package_size(), owner=package.tenant_id)
    return JsonResponse({"size": uploaded.size, "sha256": uploaded.sha256})


@require_POST
def act(request: HttpRequest, package_id: UUID) -> HttpResponse:
    """Release or withdraw a package."""
    package = _package(request, package_id)
    with tenant_scope(package.tenant_id):
        try:
            reason = _reason(request)
            if "release" in request.POST:
                sha256 = request.POST.get("sha256", "")
                packages.release(
                    package=package,
                    sha256=sha256,
                    confirm_signer="confirm_signer" in request.POST,
                    now=clock.now(),
                )
                messages.success(request, "The package was released. It can be rolled out now.")
            elif "withdraw" not in request.POST:
                raise Http404
            elif not reason:
                messages.error(request, "Enter the reason for the withdrawal.")
            else:
                packages.withdraw(package=package, reason=reason, now=clock.now())
                messages.success(request, "The package was withdrawn. Its rollouts were aborted.")
        except DomainError as error:
            messages.error(request, str(error))
    return redirect(change_url(package))


def page_context(request: HttpRequest, package: SoftwareUpdate) -> dict[str, Any]:
    """Return the template context of a package's page."""
    rollouts = Deployment.objects.filter(package=package).order_by("-created_at", "-id")
    may_change = request.user.has_perm(CHANGE)
    new = reverse("admin:updates_deployment_add")
    return {
        "package": package,
        "package_details": _file_details(package),
        "package_rollouts": [
            (
                rollout,
                progress.completed_text(rollout),
                reverse("admin:updates_deployment_change", args=[rollout.pk]),
            )
            for rollout in rollouts.prefetch_related("waves")[:MAX_ROLLOUTS]
        ],
        "may_upload": may_change and package.state == State.DRAFT,
        "may_release": may_change and package.state == State.DRAFT and bool(package.sha256),
        "signer_warning": signer_warning(package) if package.state == State.DRAFT else "",
        "may_withdraw": may_change and package.state == State.RELEASED,
        "may_roll_out": request.user.has_perm(ROLL_OUT) and package.state == State.RELEASED,
        "upload_url": reverse("admin:updates_package_file", args=[package.pk]),
        "action_url": reverse("admin:updates_package_act", args=[package.pk]),
        "rollout_url": f"{new}?package={package.pk}",
        "max_size": packages.max_package_size(),
        "max_size_text": size_text(packages.max_package_size()),
    }


def _reason(request: HttpRequest) -> str:
    return request.POST.get("reason", "").replace("\x00", "").strip()[:500]


def change_url(package: SoftwareUpdate) -> str:
    return reverse("admin:updates_softwareupdate_change", args=[package.pk])


def _package(request: HttpRequest, package_id: UUID) -> SoftwareUpdate:
    if not request.user.has_perm(CHANGE):
        raise PermissionDenied
    visible = visible_to(signed_in_user(request), SoftwareUpdate).select_related("product")
    return get_object_or_404(visible.filter(pk=package_id))


def _file_details(package: SoftwareUpdate) -> list[tuple[str, str]]:
    """Return labels and values that describe the file."""
    if not package.sha256:
        return []
    details = [("Size", size_text(package.size)), ("SHA-256", package.sha256)]
    apk = package.apk or {}
    if apk:
        code = apk["version_code"]
        if apk.get("application_label"):
            details.append(("App", apk["application_label"]))
        details.append(("Application id", apk["application_id"]))
        details.append(("Version code", str(code) if code is not None else "-"))
        if apk["minimum_sdk"]:
            details.append(("Minimum Android SDK", str(apk["minimum_sdk"])))
        details += [("Signer (SHA-256)", signer) for signer in apk.get("signers") or ()]
        if apk.get("signers") == []:
            details.append(("Signer", "not signed (scheme v2 or v3)"))
        if apk.get("abis"):
            details.append(("Processors (ABI)", ", ".join(apk["abis"])))
    return details


def size_text(size: int | None) -> str:
    if size is None:
        return "no file yet"
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= factor:
            return f"{size / factor:.1f} {unit}"
    return f"{size} bytes"
