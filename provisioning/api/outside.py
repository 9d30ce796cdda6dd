"""Django's handlers for errors outside an endpoint. They use the API's error format."""

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views import defaults


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _in_portal(request):
        return defaults.bad_request(request, exception)
    return _error(400, "client_error", "bad_request", "The request is malformed.")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _in_portal(request):
        return defaults.permission_denied(request, exception)
    return _error(
        403, "client_error", "permission_denied", "You do not have permission to do this."
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if _in_portal(request):
        return defaults.page_not_found(request, exception)
    return _error(404, "client_error", "not_found", "This path does not exist.")


def server_error(request: HttpRequest) -> HttpResponse:
    if _in_portal(request):
        return defaults.server_error(request)
    return _error(
        500,
        "server_error",
        "error",
        "An internal error occurred. The server's log has the details.",
    )


def _in_portal(request: HttpRequest) -> bool:
    return request.path.startswith("/admin/")


def _error(status: int, kind: str, code: str, detail: str) -> JsonResponse:
    error = {"code": code, "detail": detail, "attr": None}
    return JsonResponse({"type": kind, "errors": [error]}, status=status)
