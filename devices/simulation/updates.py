"""Download, verify and install the software updates of a simulated device."""

import asyncio
import hashlib
import json
from base64 import urlsafe_b64decode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from devices.simulation.run_statistics import NETWORK, RunStatistics

UPDATE_PATH = "/devices/me/update"
MAX_DOWNLOAD_ATTEMPTS = 200  # per file, including interrupted and throttled ones
FIRST_RETRY_DELAY, MAX_RETRY_DELAY = 1.0, 60.0  # seconds
INTERRUPTION_PROBABILITY = 0.1  # of each download attempt
PROGRESS_STEPS = 4  # progress reports per download
INSTALL_ERRORS = (
    ("no_space", "Not enough free disk space."),
    ("install_failed", "The installer exited with code 12."),
    ("did_not_start", "The player did not start. The previous version was restored."),
)

Call = Callable[..., Awaitable[tuple[int, Any]]]


@dataclass(slots=True)
class UpdateClient:
    """The state of a device's software updates and their installation."""

    call: Call
    http: aiohttp.ClientSession
    token: Callable[[], str]
    url: str
    device_id: Callable[[], str]
    now: Callable[[], float]  # seconds since 1970, by the server's clock
    tally: RunStatistics
    seed: str
    version: str  # of the installed app
    connect: Callable[[], Awaitable[object]]  # called after the restart of the app
    fetch_configuration: Callable[[], Awaitable[object]]  # includes the update keys
    failure_probability: float = 0.0  # of an installation
    install_seconds: tuple[float, float] = (2.0, 6.0)  # shortest, longest
    keys: list[dict[str, str]] = field(default_factory=list)
    last_attempt: tuple[str, int] | None = None  # rollout and attempt that finished last
    task: asyncio.Task[None] | None = None

    def start_check(self) -> None:
        """Start a task that installs an offered update, unless one is running."""
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._check())

    def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()

    async def _check(self) -> None:
        try:
            await self._update()
        except (KeyError, TypeError, AttributeError, ValueError):  # unexpected response
            self.tally.count_request("invalid response", NETWORK, 0)

    async def _update(self) -> None:
        status, offer = await self.call("update", "GET", UPDATE_PATH)
        if status != 200 or offer["not_before"] is not None:
            return  # there is no update now; the next connect checks again
        if not await self._is_ordered(offer):
            self.tally.count_request("update rejected", NETWORK, 0)
            return
        attempt = offer["rollout"], offer["attempt"]
        if attempt == self.last_attempt:
            return  # the outcome of this attempt was already reported
        random = Random(f"{self.seed}-{offer['version']}-{offer['attempt']}")
        # The first random number decides the outcome, so that it does not depend on the
        # download. A rollback never fails, because the old version is on the disk.
        fails = random.random() < self.failure_probability and not offer["rollback"]
        if offer["package"] is not None and not await self._fetch(offer, random):
            return
        await self._report(offer, "installing", progress=10)
        await asyncio.sleep(random.uniform(*self.install_seconds))
        self.last_attempt = attempt
        if fails:
            code, message = random.choice(INSTALL_ERRORS)
            await self._report(offer, "failed", error_code=code, error=message)
            return
        self.version = offer["version"]
        await self._report(offer, "installed")
        await self.connect()

    async def _fetch(self, offer: dict[str, Any], random: Random) -> bool:
        """Download the package. Return True if it is signed and its hash is correct."""
        package = offer["package"]
        if not self._is_package_signed(package, offer["version"]):
            self.tally.count_request("update rejected", NETWORK, 0)
            return False
        sha256 = await self._download(offer, random)
        if sha256 is None:
            return False
        if sha256 != package["sha256"]:
            message = "The SHA-256 hash of the file differs from the package."
            await self._report(offer, "failed", error_code="wrong_hash", error=message)
        return bool(sha256 == package["sha256"])

    async def _is_ordered(self, offer: dict[str, Any]) -> bool:
        """Return True if the offer has a valid signed install order for this device."""
        order = self._verify(offer["order"])
        if order is None:
            await self.fetch_configuration()  # the tenant may have a new key
            order = self._verify(offer["order"])
        if order is None or order["exp"] <= self.now():
            return False
        package = offer["package"] or {"sha256": None}
        expected = {name: offer[name] for name in ("rollout", "attempt", "version")}
        expected |= {"rollback": offer["rollback"], "sha256": package["sha256"]}
        return order["aud"] == self.device_id() and order.items() >= expected.items()

    def _is_package_signed(self, package: dict[str, Any], version: str) -> bool:
        """Return True if the tenant has signed this package with this version."""
        payload = self._verify(package["signature"]) or {}
        signed = tuple(payload.get(name) for name in ("package", "version", "sha256"))
        return signed == (package["id"], version, package["sha256"])

    def _verify(self, jws: str) -> dict[str, Any] | None:
        """Return the payload of a JWS (RFC 7515).

        Returns:
            The payload, or None if the signature is not valid for any update key of the
            configuration.
        """
        text, _, signature = jws.rpartition(".")
        header, payload = (json.loads(_base64url_decode(part)) for part in text.split("."))
        jwk = next((key for key in self.keys if key["kid"] == header["kid"]), None)
        if jwk is None or header["alg"] != "EdDSA":
            return None
        public_key = Ed25519PublicKey.from_public_bytes(_base64url_decode(jwk["x"]))
        try:
            public_key.verify(_base64url_decode(signature), text.encode())
        except InvalidSignature:
            return None
        return dict(payload)

    async def _download(self, offer: dict[str, Any], random: Random) -> str | None:
        """Download the file and resume after interruptions.

        Returns:
            The SHA-256 hash, or None if the download failed.
        """
        size, digest, received = offer["package"]["size"], hashlib.sha256(), 0
        path = f"/updates/packages/{offer['package']['id']}/file"
        reported_step, etag, pause = 0, "", FIRST_RETRY_DELAY
        for _ in range(MAX_DOWNLOAD_ATTEMPTS):
            headers = {"Authorization": f"Bearer {self.token()}"}
            if received:
                headers |= {"Range": f"bytes={received}-", "If-Range": etag}
            is_interrupted = random.random() < INTERRUPTION_PROBABILITY
            try:
                async with self.http.get(f"{self.url}{path}", headers=headers) as response:
                    self.tally.count_request("download", response.status, 0)
                    if response.status in (429, 503):
                        value = response.headers.get("Retry-After", "")
                        pause = float(value) if value.isdecimal() else MAX_RETRY_DELAY
                    elif response.status not in (200, 206):
                        return None
                    else:
                        pause = FIRST_RETRY_DELAY
                        etag = response.headers.get("ETag", "")
                        if response.status == 200:
                            digest, received = hashlib.sha256(), 0
                        async for chunk in response.content.iter_chunked(1 << 16):
                            digest.update(chunk)
                            received += len(chunk)
                            step = received * PROGRESS_STEPS // size
                            if step > reported_step:
                                reported_step = step
                                percent = min(100, 100 * received // size)
                                await self._report(offer, "downloading", progress=percent)
                            if is_interrupted and received * 2 > size:
                                break
            except (aiohttp.ClientError, TimeoutError, OSError):
                self.tally.count_request("download", NETWORK, 0)
            if received >= size:
                return digest.hexdigest()
            await asyncio.sleep(random.uniform(0.5, 1.5) * pause)
            pause = min(MAX_RETRY_DELAY, 2 * pause)
        return None

    async def _report(self, offer: dict[str, Any], status: str, **fields: Any) -> None:
        """Report the status. Retry with growing pauses while the server is unavailable.

        Args:
            offer: The offered update.
            status: The new status.
            fields: Additional fields of the report.
        """
        path = f"/devices/me/updates/{offer['rollout']}/feedback"
        body = {"attempt": offer["attempt"], "status": status, **fields}
        pause = FIRST_RETRY_DELAY
        while pause < MAX_RETRY_DELAY:
            response_status, _ = await self.call("feedback", "POST", path, body)
            if response_status not in (NETWORK, 429, 500, 502, 503, 504):
                return
            await asyncio.sleep(pause)
            pause *= 2


def _base64url_decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
