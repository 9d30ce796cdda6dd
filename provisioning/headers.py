"""Middleware for security headers and for the headers that proxies set."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.middleware.gzip import GZipMiddleware

from provisioning.portal.live import push_server_origin
from tenants.middleware import is_from_trusted_proxy

GetResponse = Callable[[HttpRequest], HttpResponse]

API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
PAGE_POLICY = (
    "default-src 'none'; connect-src 'self'; font-src 'self'; img-src 'self' data:;"
    " style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none';"
    " form-action 'self'; script-src 'self'"
)
PAGE_POLICIES = (
    ("/admin/", f"{PAGE_POLICY} 'unsafe-eval'"),  # Alpine.js evaluates expressions
    ("/docs", PAGE_POLICY),
)
COMPRESSED_PATHS = ("/admin/", "/static/", "/docs", "/schema")
COMPRESSIBLE = {
    "application/json",
    "application/vnd.oai.openapi+json",
    "application/javascript",
    "image/svg+xml",
    "text/css",
    "text/csv",
    "text/html",
    "text/javascript",
}
PERMISSIONS_POLICY = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"


class ProxyHeadersMiddleware:
    """Remove `X-Forwarded-Proto` from requests that do not come from a trusted proxy."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "HTTP_X_FORWARDED_PROTO" in request.META and not is_from_trusted_proxy(request):
            del request.META["HTTP_X_FORWARDED_PROTO"]
        return self.get_response(request)


class RedirectStatusMiddleware:
    """Redirect to HTTPS with 308, so that a client repeats a POST as a POST (RFC 9110)."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        location = response.headers.get("Location", "")
        if response.status_code == 301 and location.startswith("https://"):
            response.status_code = 308
        return response


class ContentPolicyMiddleware:
    """Set `Content-Security-Policy` and `Permissions-Policy`, and let nobody cache the API.

    The policy of pages allows the portal's own resources. All other responses are JSON
    and load nothing.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        policy = policy_for(request)
        response.headers.setdefault("Content-Security-Policy", policy)
        if policy == API_POLICY:  # the response may contain a token
            response.headers.setdefault("Cache-Control", "no-store")
        response.headers.setdefault("Permissions-Policy", PERMISSIONS_POLICY)
        return response


class CompressionMiddleware(GZipMiddleware):
    """Compress pages, static files and API documentation, also without nginx.

    Responses of the API stay as they are: most are small, and devices ask for them very often.
    """

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> Any:
        content_type = response.headers.get("Content-Type", "").partition(";")[0]
        if content_type in COMPRESSIBLE and request.path_info.startswith(COMPRESSED_PATHS):
            return super().process_response(request, response)
        return response


def _tiles_origin() -> str:
    """Return the origin of the server of map tiles with a space before it, or nothing."""
    address = urlsplit(settings.MAP_TILES_URL)
    return f" {address.scheme}://{address.netloc}" if address.netloc else ""


def policy_for(request: HttpRequest) -> str:
    """Return the content security policy for a request's path."""
    for prefix, policy in PAGE_POLICIES:
        if request.path_info.startswith(prefix):
            stream, tiles = push_server_origin(request), _tiles_origin()
            return policy.replace("connect-src 'self'", f"connect-src 'self'{stream}").replace(
                "img-src 'self'", f"img-src 'self'{tiles}"
            )
    return API_POLICY
