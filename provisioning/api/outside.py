"""Django's handlers for errors outside an endpoint. They use the API's error format."""

import math
import sys

from django.contrib import admin
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views import defaults

from core.database_errors import is_unavailable
from core.errors import random_retry_after
from tenants.api.throttles import count_rejected_request

DATABASE_UNAVAILABLE = "The database is not available now. Send the request again later."

PAGE_UNAVAILABLE = (
    "The database does not answer now. Nothing was changed by your last request unless it had"
    " already been completed."
)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _in_portal(request):
        return defaults.bad_request(request, exception)
    return _error(400, "client_error", "bad_request", "The request is malformed.")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _in_portal(request):
        return _page(
            request,
            403,
            "You may not do this",
            "Your role in this tenant does not permit it. An admin or an owner of the tenant can"
            " change your role under Settings, Members.",
        ) or defaults.permission_denied(request, exception)
    return _error(
        403, "client_error", "permission_denied", "You do not have permission to do this."
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Return 404 for a path that does not exist, or 429 after too many of them."""
    if wait := count_rejected_request():
        response = _error(429, "client_error", "throttled", "Too many requests were rejected.")
        response["Retry-After"] = str(math.ceil(wait))
        return response
    if _in_portal(request):
        return _page(
            request,
            404,
            "This page does not exist",
            "It may have been deleted, or belong to another tenant. Press Ctrl+K to search.",
        ) or defaults.page_not_found(request, exception)
    return _error(404, "client_error", "not_found", "This path does not exist.")


def _page(request: HttpRequest, status: int, title: str, text: str) -> HttpResponse | None:
    """Return a page with the menu of the portal; None if nobody is signed in."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated or not admin.site.has_permission(request):
        return None
    context = {**admin.site.each_context(request), "title": title, "text": text}
    return render(request, "portal/error.html", context, status=status)


def server_error(request: HttpRequest) -> HttpResponse:
    """Return 503 if the database is unavailable, else 500. Called while handling the error."""
    if is_unavailable(sys.exc_info()[1]):
        return _unavailable(request)
    if _in_portal(request):
        return defaults.server_error(request)
    return _error(
        500,
        "server_error",
        "error",
        "An internal error occurred. The server's log has the details.",
    )


def _unavailable(request: HttpRequest) -> HttpResponse:
    if _in_portal(request):
        context = {"title": "Temporarily unavailable", "text": PAGE_UNAVAILABLE, "seconds": 15}
        response = render(request, "portal/wait.html", context, status=503)
    else:
        response = _error(503, "server_error", "unavailable", DATABASE_UNAVAILABLE)
    response["Retry-After"] = str(random_retry_after())
    return response


def _in_portal(request: HttpRequest) -> bool:
    return request.path_info.startswith("/admin/")


def _error(status: int, kind: str, code: str, detail: str) -> HttpResponse:
    error = {"code": code, "detail": detail, "attr": None}
    return JsonResponse({"type": kind, "errors": [error]}, status=status)
