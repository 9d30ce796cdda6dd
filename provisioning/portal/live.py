"""Notify open portal pages of changes, so that the pages refresh."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import DatabaseError, InterfaceError, close_old_connections
from django.http import HttpRequest, HttpResponse
from starlette.requests import Request

from core.push.admission import PUSH_ENVIRON, Admission, error, plain, stream_headers
from core.push.listeners import EventStream, Listener, Listeners
from tenants.admin.base import signed_in_user
from tenants.context import EVERY_TENANT, current_tenant_id, every_tenant_scope
from tenants.models import Membership, User

TOPIC_HEADER = "X-Live-Topic"  # tells the push server whose events the page gets, and the user
PATH = "/admin/live/"
TENANT_PATH = "/t/{slug}/admin/live/"
MAX_LISTENERS = 1000  # per process; further pages poll every 30 seconds
MAX_OF_USER = 50  # pages of one user in one process
MAX_SECONDS = 300.0  # per stream; then the browser reconnects and authenticates
RETRY_SECONDS = 3.0
MEMBER_EVENTS = {"member.removed", "member.role_changed"}
FALLBACK = "retry: 30000\n\n"  # ms until the browser retries if there is no push server
MAX_DEVICES = 200  # in one event; if there are more, every page refreshes
EVERYTHING: dict[str, Any] = {"names": ["*"], "devices": None}


def stream(request: HttpRequest) -> HttpResponse:
    """Authorise a page's event stream. The push server calls this view for each stream.

    The web server does not keep streams open. If the push server has its own port, the web
    server redirects the browser to this port.
    """
    if PUSH_ENVIRON not in request.META and (origin := push_server_origin(request)):
        response = HttpResponse(status=307)
        response["Location"] = f"{origin.strip()}{request.path}"
        response["Cache-Control"] = "no-store"
        return response
    user = signed_in_user(request)
    topic = EVERY_TENANT if user.sees_every_tenant else str(current_tenant_id() or "")
    response = HttpResponse(FALLBACK, content_type="text/event-stream")
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"  # nginx forwards each event at once
    if PUSH_ENVIRON in request.META:
        response[TOPIC_HEADER] = f"{topic} {user.pk}"
    return response


def push_server_origin(request: HttpRequest) -> str:
    """Return a space and the push server's origin. The host name is that of the request.

    Return "" if the portal has the same origin, for example behind a proxy.
    """
    url = urlsplit(settings.STREAM_URL)
    if url.netloc == urlsplit(settings.PUBLIC_URL).netloc:
        return ""
    host = urlsplit(f"//{request.META.get('HTTP_HOST', '')}").hostname or url.hostname
    return f" {url.scheme}://{f'[{host}]' if ':' in str(host) else host}:{url.port}"


class PageListener(Listener):
    """Track the events that happened since an open page was last notified."""

    def __init__(self, user: str) -> None:
        super().__init__(owner=user)
        self._names: set[str] = set()
        self._devices: set[str] | None = set()

    def notify(self, names: list[str], devices: list[str] | None) -> None:
        self._names.update(names)
        if devices is None or self._devices is None:
            self._devices = None
        else:
            self._devices.update(devices)
            if len(self._devices) > MAX_DEVICES:
                self._devices = None
        self.changed.set()

    def events(self) -> Iterator[dict[str, str]]:
        if not self._names:
            return
        devices = None if self._devices is None else sorted(self._devices)
        data = {"names": sorted(self._names), "devices": devices}
        self._names, self._devices = set(), set()
        yield {"data": json.dumps(data)}


class PagePush:
    """The portal pages connected to this process, by tenant."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.listeners: Listeners[PageListener] = Listeners(
            most=MAX_LISTENERS, most_of_owner=MAX_OF_USER
        )

    async def endpoint(self, request: Request) -> Any:
        if self.listeners.is_full:
            return error(503, "unavailable", "Too many pages are open.")
        try:
            status, headers, content = await self._admission.answer(request)
        except ValueError:
            return error(400, "bad_request", "The headers cannot be read.")
        place = dict(headers).get(TOPIC_HEADER)
        headers = [pair for pair in headers if pair[0] != TOPIC_HEADER]
        headers += _cross_origin_headers(request)
        if place is None:
            return plain(status, headers, content)
        topic, user = place.split(" ")
        if self.listeners.is_full_for(user):
            return error(503, "unavailable", "You have too many pages open.")
        listener = PageListener(user)
        listener.notify(**EVERYTHING)  # covers events during the connect
        self.listeners.add(topic, listener)
        return EventStream(
            listener,
            headers=stream_headers(headers),
            retry_seconds=RETRY_SECONDS,
            max_seconds=MAX_SECONDS,
            on_end=lambda: self.listeners.remove(topic, listener),
        )

    def on_message(self, data: bytes) -> None:
        """Notify pages of the changes in a message that `page_updates` has published."""
        message = json.loads(data)
        if not MEMBER_EVENTS.isdisjoint(message["names"]):
            self._rechecking = asyncio.ensure_future(self.recheck())
        for topic in (EVERY_TENANT, message["tenant"]):
            for listener in self.listeners.of(topic):
                listener.notify(message["names"], message["devices"])

    async def recheck(self) -> None:
        """End the streams of users who are no longer members of the tenant."""
        topics = self.listeners.keys()
        owners = {
            (topic, listener.owner) for topic in topics for listener in self.listeners.of(topic)
        }
        if not owners:
            return
        with suppress(DatabaseError, InterfaceError):
            for topic, user in owners - await asyncio.to_thread(_allowed, owners):
                for listener in self.listeners.of(topic):
                    if listener.owner == user:
                        listener.end()

    async def catch_up(self) -> None:
        for listener in self.listeners.all():
            listener.notify(**EVERYTHING)


def _allowed(owners: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Return the pairs of a topic and a user id that may have a stream."""
    close_old_connections()
    users = User.objects.filter(pk__in={user for _, user in owners}, is_active=True)
    superusers = users.filter(is_superuser=True).values_list("pk", flat=True)
    allowed = {(EVERY_TENANT, str(pk)) for pk in superusers}
    with every_tenant_scope():
        memberships = Membership.every_tenant.filter(user__in=users)
        allowed |= {(str(t), str(u)) for t, u in memberships.values_list("tenant_id", "user_id")}
    return owners & allowed


def _cross_origin_headers(request: Request) -> list[tuple[str, str]]:
    """Return CORS headers that let the portal read the stream on another port of its host."""
    origin = request.headers.get("origin", "")
    if urlsplit(origin).hostname != request.url.hostname:
        return []
    return [
        ("access-control-allow-origin", origin),
        ("access-control-allow-credentials", "true"),
        ("vary", "origin"),
    ]
