"""The tenant in the address; sessions, authentication and messages for the portal only.

The API uses neither sessions nor cookies. Skipping this middleware for
API requests avoids an attack surface and saves a quarter of the time of a `connect` request.
"""

import re
from collections.abc import Callable
from typing import Any

from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest, HttpResponse
from django.urls import get_script_prefix, set_script_prefix

from accounts.middleware import TENANT_SLUG

PORTAL = "/admin/"
ADDRESS = re.compile(r"(/t/([-\w]{1,64}))(/admin(?:/.*)?)", re.DOTALL)


class TenantAddressMiddleware:
    """Serve `/t/<slug>/admin/…` as the portal of one tenant.

    `/t/<slug>` becomes the script prefix, so that every address that a page contains is one of
    the same tenant. Two tabs with two tenants therefore never act in each other's tenant.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        match = ADDRESS.fullmatch(request.path_info)
        if match is None:
            return self.get_response(request)
        prefix, request.META[TENANT_SLUG], request.path_info = match.groups()
        before = get_script_prefix()
        set_script_prefix(f"{prefix}/")
        try:
            return self.get_response(request)
        finally:
            set_script_prefix(before)


class PortalOnly:
    """Mixin that restricts a middleware to the portal's paths."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith(PORTAL):
            return super().__call__(request)  # type: ignore[misc] # of the middleware
        return self.get_response(request)


class SessionMiddleware(PortalOnly, sessions.SessionMiddleware):
    pass


class AuthenticationMiddleware(PortalOnly, auth.AuthenticationMiddleware):
    pass


class MessageMiddleware(PortalOnly, messages.MessageMiddleware):
    pass
