"""What a browser is told that it may do with our pages."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from tenants.middleware import comes_from_proxy

GetResponse = Callable[[HttpRequest], HttpResponse]

NOTHING = (
    "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
OURS = (
    "default-src 'none'; connect-src 'self'; font-src 'self'; img-src 'self' data:;"
    " style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none';"
    " form-action 'self'; script-src 'self'"
)
POLICIES = (
    ("/admin/", f"{OURS} 'unsafe-eval'"),  # Alpine.js, on which the portal stands
    ("/docs", OURS),
)
FEATURES = "camera=(), geolocation=(), microphone=(), payment=(), usb=()"


class ProxyHeadersMiddleware:
    """Takes a proxy's word that the caller came by TLS from trusted proxies only."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if "HTTP_X_FORWARDED_PROTO" in request.META and not comes_from_proxy(request):
            del request.META["HTTP_X_FORWARDED_PROTO"]
        return self.get_response(request)


class ContentPolicyMiddleware:
    """A content security policy on every answer; pages get what they need, JSON nothing."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers.setdefault(
            "Content-Security-Policy", policy_for(request.path_info)
        )
        response.headers.setdefault("Permissions-Policy", FEATURES)
        return response


def policy_for(path: str) -> str:
    for beginning, policy in POLICIES:
        if path.startswith(beginning):
            return policy
    return NOTHING
