"""What only people in the portal need; devices' requests pass it by untouched.

The API knows no sessions and no cookies, so this is a door less, and a quarter of the
time of a `connect`.
"""

from typing import Any

from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest

PORTAL = "/admin/"


class PortalOnly:
    """Makes a middleware do its work under the portal's path alone."""

    get_response: Any

    def __call__(self, request: HttpRequest) -> Any:
        if request.path_info.startswith(PORTAL):
            return super().__call__(request)  # type: ignore[misc] # the middleware's
        return self.get_response(request)


class SessionMiddleware(PortalOnly, sessions.SessionMiddleware):
    pass


class AuthenticationMiddleware(PortalOnly, auth.AuthenticationMiddleware):
    pass


class MessageMiddleware(PortalOnly, messages.MessageMiddleware):
    pass
