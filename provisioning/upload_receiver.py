"""Receive the body of a file upload on the event loop, with a minimum rate and a tenant's share."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from django.conf import settings

from core import uploads
from provisioning.refusals import (
    BodyTooLarge,
    BodyTooSlow,
    UploadNotStored,
    UploadsBusy,
    UploadTruncated,
)

MIN_RATE = 50_000  # bytes per second received, on average over `UPLOAD_RATE_WINDOW_SECONDS`
MAX_UPLOADS = 4  # at a time, in one process
MAX_UPLOADS_OF_TENANT = 2
logger = logging.getLogger(__name__)


class UploadReceiver:
    """Counts the running uploads of one process by tenant, and writes their bodies to the disk.

    Args:
        files: the threads that write to the disk.
    """

    def __init__(self, files: ThreadPoolExecutor) -> None:
        self._files = files
        self._running: Counter[str] = Counter()

    @contextmanager
    def counted(self, tenant: str) -> Iterator[None]:
        """Count an upload. Raise a `Refusal` if all places, or those of the tenant, are taken."""
        if self._running.total() >= MAX_UPLOADS or self._running[tenant] >= MAX_UPLOADS_OF_TENANT:
            raise UploadsBusy
        self._running[tenant] += 1
        try:
            yield
        finally:
            self._running[tenant] -= 1
            if not self._running[tenant]:
                del self._running[tenant]

    async def receive(
        self, protocol: Any, spool: uploads.UploadWriter, length: int
    ) -> uploads.UploadedFile:
        """Write the body to the disk.

        Raises:
            Refusal: the client sends too slowly, too much, or less than `length` bytes; or the
                disk is full.
        """
        try:
            await self._write(protocol, spool)
        except TimeoutError:
            raise BodyTooSlow from None
        except uploads.TooLarge:
            raise BodyTooLarge from None
        except RuntimeError:
            raise UploadTruncated from None
        except OSError:
            logger.exception("An uploaded file could not be written")
            raise UploadNotStored from None
        if spool.size < length:
            raise UploadTruncated
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._files, spool.finish)

    async def _write(self, protocol: Any, spool: uploads.UploadWriter) -> None:
        """Write the chunks. Raise TimeoutError if the client sends too slowly."""
        loop, chunks, buffer = asyncio.get_running_loop(), aiter(protocol), bytearray()
        chunk: bytes | None = b""
        window_start, received = loop.time(), 0
        while chunk is not None:
            chunk = await _next(chunks)
            received += len(chunk or b"")
            if (seconds := loop.time() - window_start) > settings.UPLOAD_RATE_WINDOW_SECONDS:
                if received < MIN_RATE * seconds:
                    raise TimeoutError
                window_start, received = loop.time(), 0
            buffer += chunk or b""
            if chunk is None or len(buffer) >= uploads.CHUNK:
                await loop.run_in_executor(self._files, spool.write, bytes(buffer))
                buffer.clear()


async def _next(chunks: AsyncIterator[bytes]) -> bytes | None:
    """Return the next chunk, None at the end.

    The built-in `anext` with a default would crash here.
    """
    async with asyncio.timeout(settings.UPLOAD_RATE_WINDOW_SECONDS):
        try:
            return await chunks.__anext__()
        except StopAsyncIteration:
            return None
