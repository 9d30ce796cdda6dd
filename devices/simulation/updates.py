"""A simulated box's end of software updates: it installs what it can believe."""

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

from devices.simulation.tally import NETWORK, Tally

MINE = "/devices/me/update"
MOST_TRIES = 200  # of one download: broken off, or not its turn
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before it goes on
BREAKS_OFF = 0.1  # the chance that a download does, in the middle
STEPS = 4  # words about a download
FAULTS = (
    ("no_space", "There is no room on the disk."),
    ("install_failed", "The installer stopped with code 12."),
    ("did_not_start", "The player did not start, the earlier version is back."),
)

Call = Callable[..., Awaitable[tuple[int, Any]]]


@dataclass(slots=True)
class Updates:
    """What a box remembers of its updates, and how it carries them out."""

    call: Call
    http: aiohttp.ClientSession
    token: Callable[[], str]
    url: str
    device_id: Callable[[], str]
    now: Callable[[], float]  # seconds since 1970, by the server's clock
    tally: Tally
    seed: str
    version: str  # of the app that runs
    come_back: Callable[[], Awaitable[object]]  # connect, after it was restarted
    configure: Callable[[], Awaitable[object]]  # fetch the configuration, with the keys
    faults: float = 0.0  # the chance that an update fails
    installs_for: tuple[float, float] = (2.0, 6.0)  # seconds
    keys: list[dict[str, str]] = field(default_factory=list)
    last: tuple[str, int] | None = None  # rollout and attempt that are done with
    working: asyncio.Task[None] | None = None

    def look(self) -> None:
        """See whether there is something to install, and do so beside all the rest."""
        if self.working is None or self.working.done():
            self.working = asyncio.create_task(self._look())

    def stop(self) -> None:
        if self.working is not None:
            self.working.cancel()

    async def _look(self) -> None:
        try:
            await self._update()
        except (KeyError, TypeError, AttributeError, ValueError):
            self.tally.note("not understood", NETWORK, 0)

    async def _update(self) -> None:
        status, offer = await self.call("update", "GET", MINE)
        if status != 200 or offer["not_before"] is not None:
            return  # nothing, or not yet: it looks again when it connects
        if not await self._is_ordered(offer):
            self.tally.note("update not believed", NETWORK, 0)
            return
        this = offer["rollout"], offer["attempt"]
        if this == self.last:
            return  # it has said all there is to say
        chance = Random(f"{self.seed}-{offer['version']}-{offer['attempt']}")
        # Decided at once, whatever else happens; the way back is on the disk already.
        fails = chance.random() < self.faults and not offer["rollback"]
        if offer["package"] is not None and not await self._fetch(offer, chance):
            return
        await self._say(offer, "installing", progress=10)
        await asyncio.sleep(chance.uniform(*self.installs_for))
        self.last = this
        if fails:
            code, sentence = chance.choice(FAULTS)
            await self._say(offer, "failed", error_code=code, error=sentence)
            return
        self.version = offer["version"]
        await self._say(offer, "installed")
        await self.come_back()

    async def _fetch(self, offer: dict[str, Any], chance: Random) -> bool:
        """Whether all of the file came, and is what its tenant has signed."""
        package = offer["package"]
        if not self._believes(package, offer["version"]):
            self.tally.note("update not believed", NETWORK, 0)
            return False
        sha256 = await self._download(offer, chance)
        if sha256 is None:
            return False
        if sha256 != package["sha256"]:
            sentence = "The file has another hash."
            await self._say(offer, "failed", error_code="wrong_hash", error=sentence)
        return bool(sha256 == package["sha256"])

    async def _is_ordered(self, offer: dict[str, Any]) -> bool:
        """Whether this box is told to do just this, now."""
        order = self._signed(offer["order"])
        if order is None:
            await self.configure()  # there may be a new key
            order = self._signed(offer["order"])
        if order is None or order["exp"] <= self.now():
            return False
        package = offer["package"] or {"sha256": None}
        said = {name: offer[name] for name in ("rollout", "attempt", "version")}
        said |= {"rollback": offer["rollback"], "sha256": package["sha256"]}
        return order["aud"] == self.device_id() and order.items() >= said.items()

    def _believes(self, package: dict[str, Any], version: str) -> bool:
        """Whether the tenant has signed just this package."""
        payload = self._signed(package["signature"]) or {}
        said = tuple(payload.get(name) for name in ("package", "version", "sha256"))
        return said == (package["id"], version, package["sha256"])

    def _signed(self, jws: str) -> dict[str, Any] | None:
        """What a JWS says (RFC 7515), if a key of the configuration has signed it."""
        text, _, signature = jws.rpartition(".")
        header, payload = (json.loads(_decoded(part)) for part in text.split("."))
        known = next((k for k in self.keys if k["kid"] == header["kid"]), None)
        if known is None or header["alg"] != "EdDSA":
            return None
        public = Ed25519PublicKey.from_public_bytes(_decoded(known["x"]))
        try:
            public.verify(_decoded(signature), text.encode())
        except InvalidSignature:
            return None
        return dict(payload)

    async def _download(self, offer: dict[str, Any], chance: Random) -> str | None:
        """The file's hash; it is gone on with where it broke off."""
        size, digest, got = offer["package"]["size"], hashlib.sha256(), 0
        path = f"/updates/packages/{offer['package']['id']}/file"
        said, etag, pause = 0, "", FIRST_PAUSE
        for _ in range(MOST_TRIES):
            headers = {"Authorization": f"Bearer {self.token()}"}
            if got:
                headers |= {"Range": f"bytes={got}-", "If-Range": etag}
            breaks = chance.random() < BREAKS_OFF
            try:
                async with self.http.get(
                    f"{self.url}{path}", headers=headers
                ) as answer:
                    self.tally.note("download", answer.status, 0)
                    if answer.status in (429, 503):
                        told = answer.headers.get("Retry-After", "")
                        pause = float(told) if told.isdecimal() else LONGEST_PAUSE
                    elif answer.status not in (200, 206):
                        return None
                    else:
                        pause, etag = FIRST_PAUSE, answer.headers.get("ETag", "")
                        if answer.status == 200:
                            digest, got = hashlib.sha256(), 0
                        async for piece in answer.content.iter_chunked(1 << 16):
                            digest.update(piece)
                            got += len(piece)
                            if got * STEPS // size > said:
                                said = got * STEPS // size
                                share = min(100, 100 * got // size)
                                await self._say(offer, "downloading", progress=share)
                            if breaks and got * 2 > size:
                                break
            except (aiohttp.ClientError, TimeoutError, OSError):
                self.tally.note("download", NETWORK, 0)
            if got >= size:
                return digest.hexdigest()
            await asyncio.sleep(chance.uniform(0.5, 1.5) * pause)
            pause = min(LONGEST_PAUSE, 2 * pause)
        return None

    async def _say(self, offer: dict[str, Any], status: str, **more: Any) -> None:
        """Until somebody has heard it, for a while."""
        path = f"/devices/me/updates/{offer['rollout']}/feedback"
        said = {"attempt": offer["attempt"], "status": status, **more}
        pause = FIRST_PAUSE
        while pause < LONGEST_PAUSE:
            answered, _ = await self.call("feedback", "POST", path, said)
            if answered not in (NETWORK, 429, 500, 502, 503, 504):
                return
            await asyncio.sleep(pause)
            pause *= 2


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
