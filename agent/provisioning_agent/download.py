"""Download a file in parts. An interrupted download is resumed, also after a restart."""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from provisioning_agent.http import ConnectionLost
from provisioning_agent.session import Backoff, Session

MAX_FAILURES = 200  # of one file in a row, including busy servers
PROGRESS_EVERY = 30.0  # seconds between two reports
Progress = Callable[[int], Awaitable[object]]


class DownloadFailed(Exception):
    """The file cannot be downloaded. `code` groups the failures for members."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class DownloadEnded(Exception):
    """The server does not offer the file any more."""


class Download:
    """The download of one package.

    Args:
        folder: where the file is written; None only computes the hash, for simulations.
        package: `id`, `url`, `size` and `sha256` from the offer.
        progress: is called with the percentage.
    """

    def __init__(
        self, session: Session, folder: Path | None, package: dict[str, Any], progress: Progress
    ) -> None:
        self.session, self.package, self.progress = session, package, progress
        self.path = folder / f"{package['id']}.part" if folder else None
        self.digest, self.received, self.etag = hashlib.sha256(), 0, f'"{package["sha256"]}"'
        self._reported_at = -PROGRESS_EVERY

    async def run(self) -> Path | None:
        """Return the complete file.

        Raises:
            DownloadEnded: the server does not offer the file any more.
            DownloadFailed: its hash is wrong, or the disk is full.
        """
        self._continue_part()
        backoff = Backoff(1.0, 60.0, self.session.random)
        failures = 0
        while self.received < self.package["size"]:
            before = self.received
            pause = await self._receive()
            if self.received >= self.package["size"]:
                break
            failures = 0 if self.received > before else failures + 1
            if failures > MAX_FAILURES:
                raise DownloadFailed("download_failed", "The download was interrupted too often.")
            await asyncio.sleep(pause or backoff.pause())
        if self.digest.hexdigest() != self.package["sha256"]:
            self._remove_part()
            raise DownloadFailed("wrong_hash", "The SHA-256 hash of the file is wrong.")
        return self.path

    def _continue_part(self) -> None:
        """Continue with what an earlier process has received of this file."""
        if self.path is None:
            return
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for other in self.path.parent.glob("*.part"):
            if other != self.path:
                other.unlink()  # of an earlier update
        if self.path.exists():
            with self.path.open("rb") as stream:
                while part := stream.read(1 << 20):
                    self.digest.update(part)
                    self.received += len(part)

    def _remove_part(self) -> None:
        self.digest, self.received = hashlib.sha256(), 0
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    async def _receive(self) -> float:
        """Receive as much as possible. Return the seconds that the server wants to wait, or 0."""
        headers = {}
        if self.received:
            headers = {"Range": f"bytes={self.received}-", "If-Range": self.etag}
        try:
            async with self.session.http.stream(
                "download", self.package["url"], token=self.session.state.token, headers=headers
            ) as stream:
                if stream.status in {200, 206}:
                    if stream.status == 200:
                        self._remove_part()
                    await self._write(stream.parts())
                    return 0.0
                if stream.status == 416:
                    self._remove_part()  # longer than the file
                    return 0.0
                if stream.status in {429, 503} or stream.status >= 500:
                    text = stream.headers.get("retry-after", "")
                    return float(text) if text.isdecimal() else 0.0
        except ConnectionLost:
            return 0.0
        except OSError as error:
            self._remove_part()  # its space is needed for the state
            raise DownloadFailed("no_space", f"The file cannot be written: {error}") from error
        raise DownloadEnded

    async def _write(self, parts: Any) -> None:
        with self.path.open("ab") if self.path is not None else nullcontext() as stream:
            try:
                async for part in parts:
                    if stream is not None:
                        stream.write(part)
                    self.digest.update(part)
                    self.received += len(part)
                    if self.received > self.package["size"]:
                        return  # the hash will be wrong
                    await self._report()
            finally:
                if stream is not None:
                    stream.flush()
                    os.fsync(stream.fileno())

    async def _report(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._reported_at >= PROGRESS_EVERY:
            self._reported_at = now
            await self.progress(min(100, 100 * self.received // self.package["size"]))
