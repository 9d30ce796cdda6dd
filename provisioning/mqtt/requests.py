"""Answer messages of devices in this process, as the web server answers requests."""

import asyncio
import io
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.conf import settings
from django.db import close_old_connections

from core import clock
from core.fast_requests import FastRequest
from devices.registry.api.authentication import BRIDGED_DEVICE
from devices.registry.services import presence
from provisioning.fair_threads import FairThreads
from provisioning.fast_path import FastPath
from provisioning.mqtt.known_devices import KnownDevice
from provisioning.mqtt.topics import Message
from provisioning.refusals import Refusal
from provisioning.rsgi import FAST_KINDS, Answer, run_django
from tenants.context import SYSTEM, caller_scope, tenant_scope

HOST = "localhost"  # Django accepts no request without one
HEADERS = {"content-type": "application/json"}


class DeviceRequests:
    """The requests of devices. It is used by one event loop."""

    def __init__(self) -> None:
        self._threads: FairThreads[Answer] = FairThreads(run_django, threads=settings.WEB_THREADS)
        self._fast = FastPath([kind() for kind in FAST_KINDS], self._threads)
        # Thousands of devices may lose their connections at once.
        self._hints = ThreadPoolExecutor(1, thread_name_prefix="hint")

    async def answer(self, device: KnownDevice, message: Message) -> tuple[int, bytes]:
        """Return the status and the body of the answer."""
        if device.token_digest and not message.query:
            request = FastRequest("", device.token_digest, None, message.body, HEADERS.get)
            fast = await self._fast.ask(message.method, message.path, request)
            if fast is not None:
                return fast
        # The threads take turns by credential and tenant.
        credential = f"Bridge {device.id}"
        self._threads.note_fast_answer(credential, str(device.tenant_id))
        try:
            status, _, content = await self._threads.answer(_environ(device, message, credential))
        except Refusal as refusal:
            return refusal.status, refusal.body
        return status, content if isinstance(content, bytes) else b""

    async def note_disconnection(self, device: KnownDevice) -> None:
        """Use the last will of a device as a hint that it is offline."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._hints, _note_disconnection, device)


def _note_disconnection(device: KnownDevice) -> None:
    close_old_connections()
    with tenant_scope(device.tenant_id), caller_scope(SYSTEM):
        presence.note_disconnection(device_id=device.id, now=clock.now())


def _environ(device: KnownDevice, message: Message, credential: str) -> dict[str, Any]:
    """Return the message as a WSGI environment (PEP 3333)."""
    return {
        "REQUEST_METHOD": message.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": message.path,
        "QUERY_STRING": message.query,
        "SERVER_NAME": HOST,
        "SERVER_PORT": str(settings.PORT),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "",
        "HTTP_HOST": HOST,
        "HTTP_AUTHORIZATION": credential,
        # The broker's side is as safe as HTTPS, or is not: no redirect would help a device.
        "wsgi.url_scheme": "https" if settings.PUBLIC_URL.startswith("https:") else "http",
        "CONTENT_TYPE": HEADERS["content-type"],
        "CONTENT_LENGTH": str(len(message.body)),
        "wsgi.version": (1, 0),
        "wsgi.input": io.BytesIO(message.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        BRIDGED_DEVICE: device.id,
    }
