"""The one error shape for what fails before or outside an endpoint."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _in_portal(request):
        return defaults.bad_request(request, exception)
    return _answer(400, "client_error", "bad_request", "The request is malformed.")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _in_portal(request):
        return defaults.permission_denied(request, exception)
    return _answer(403, "client_error", "permission_denied", "You may not do this.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _in_portal(request):
        return defaults.page_not_found(request, exception)
    return _answer(
        404, "client_error", "not_found", "There is nothing at this address."
    )


def server_error(request: HttpRequest) -> HttpResponse:
    if _in_portal(request):
        return defaults.server_error(request)
    return _answer(500, "server_error", "error", "The server failed; it is in its log.")


def _in_portal(request: HttpRequest) -> bool:
    return request.path.startswith("/admin/")


def _answer(status: int, kind: str, code: str, detail: str) -> JsonResponse:
    error = {"code": code, "detail": detail, "attr": None}
    return JsonResponse({"type": kind, "errors": [error]}, status=status)
