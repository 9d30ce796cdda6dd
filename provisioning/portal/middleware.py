"""The tenant in the address; sessions, authentication and messages for the portal only.

The API uses neither sessions nor cookies. Skipping this middleware for
API requests avoids an attack surface and saves a quarter of the time of a `connect` request.
"""

import math
import re
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import get_script_prefix, set_script_prefix

from accounts.middleware import TENANT_SLUG
from core.limits import Limit
from tenants.api.throttles import BY_ADDRESS
from tenants.context import caller_network

PORTAL = "/admin/"
BY_USER = Limit("portal")
PAGE_COST = 5  # of a page without a sign-in, compared with a request to the API
TOO_MANY = "Too many pages were requested in a short time."
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


class PageLimitMiddleware:
    """Limit the pages of each user, and of each address whose visitor has not signed in."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if not request.path_info.startswith(PORTAL):
            return self.get_response(request)
        has_session = settings.SESSION_COOKIE_NAME in request.COOKIES
        if has_session and request.user.is_authenticated:
            wait = BY_USER.spend(str(request.user.pk))
        else:
            wait = BY_ADDRESS.spend(caller_network(), PAGE_COST)
        if wait is None:
            return self.get_response(request)
        seconds = math.ceil(wait)
        context = {"title": "Too many requests", "text": TOO_MANY, "seconds": seconds}
        response = render(request, "portal/wait.html", context, status=429)
        response["Retry-After"] = str(seconds)
        return response
