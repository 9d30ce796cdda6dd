"""The push server, which keeps connections to devices and portal pages open."""

import asyncio
import logging
import resource
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

from django.conf import settings
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.push.admission import Admission, Headers, error
from core.push.subscription import Subscription
from devices.remote_control.push.device_push import DevicePush
from devices.remote_control.services import push_notifications
from devices.remote_control.services.connect_response import PATH
from events import topics
from provisioning.fair_threads import MAX_WAITING_OF_TENANT, FairThreads
from provisioning.portal import live
from provisioning.refusals import Refusal

RECHECK_SECONDS = 15.0  # until the stream of a removed member or a quarantined device ends
SUBSCRIBED_WITHIN = 3.0  # seconds to wait for Redis; without Redis, the server polls

Answer = tuple[int, Headers, bytes]
logger = logging.getLogger(__name__)


def create(application: Callable[[dict[str, Any]], Answer]) -> Starlette:
    """Return the ASGI application.

    Args:
        application: function that handles a WSGI environment as the web server does.
    """
    threads = FairThreads(
        application, threads=settings.WEB_THREADS, most_waiting_of_caller=MAX_WAITING_OF_TENANT
    )

    async def answer(environ: dict[str, Any]) -> Answer:
        try:
            return await threads.answer(environ)
        except Refusal as refusal:
            return refusal.status, refusal.headers, refusal.body

    admission = Admission(answer)
    devices, pages = DevicePush(admission), live.PagePush(admission)

    def on_page_update(data: bytes) -> None:
        pages.on_message(data)
        devices.on_page_update(data)

    handlers = {
        push_notifications.topic(): devices.on_message,
        topics.page_updates_channel(): on_page_update,
    }

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        _allow_many_connections()
        subscription = Subscription(handlers, [devices.catch_up, pages.catch_up])
        reading = asyncio.create_task(subscription.run())
        checking = asyncio.create_task(_recheck([devices.recheck, pages.recheck]))
        with suppress(TimeoutError):
            await asyncio.wait_for(subscription.is_active.wait(), SUBSCRIBED_WITHIN)
        _call_on_shutdown([devices.listeners.end_all, pages.listeners.end_all])
        yield
        reading.cancel()
        checking.cancel()

    return Starlette(
        routes=[
            Route(PATH, devices.endpoint, methods=["GET"]),
            Route(live.PATH, pages.endpoint, methods=["GET"]),
            Route(live.TENANT_PATH, pages.endpoint, methods=["GET"]),
            Route("/health/live", _live, methods=["GET"]),
            Route("/health/ready", admission.pass_through, methods=["GET"]),
            Route("/metrics", admission.pass_through, methods=["GET"]),
        ],
        lifespan=lifespan,
        exception_handlers={404: _not_found, 405: _not_found},
    )


async def _recheck(checks: list[Callable[[], Awaitable[None]]]) -> None:
    """Check regularly whether the open streams are still allowed."""
    while True:
        await asyncio.sleep(RECHECK_SECONDS)
        for check in checks:
            try:
                await check()
            except Exception:  # the next check tries again
                logger.exception("Open streams could not be checked")


async def _live(request: Request) -> Response:
    """Return 200 while the event loop runs. The response needs no thread."""
    return JSONResponse({"status": "ok"})


async def _not_found(request: Request, exception: Exception) -> Response:
    return error(404, "not_found", "This server only has the push endpoints.")


def _call_on_shutdown(ends: list[Callable[[], None]]) -> None:
    """On SIGTERM and SIGINT, end the streams cleanly before the server closes connections."""
    loop = asyncio.get_running_loop()

    def act(then: Any, number: int, frame: Any) -> None:
        for end in ends:
            loop.call_soon_threadsafe(end)
        if callable(then):
            then(number, frame)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, partial(act, signal.getsignal(number)))


def _allow_many_connections() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
