"""A simulated box's end of remote control: it obeys whom it can believe."""

import asyncio
import json
import math
from base64 import b64decode, urlsafe_b64decode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

import aiohttp
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from devices.simulation.screen import USUAL_WIDTH, Screen
from devices.simulation.tally import NETWORK, Tally

MINE = "/devices/me/commands"
QUIET = 60.0  # seconds without a sign after which a stream counts as broken
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before it comes again
REBOOTS_FOR, RESTARTS_FOR = 3.0, 1.0  # seconds
GESTURES = ("tap", "pinch", "rotate")

Call = Callable[..., Awaitable[tuple[int, Any]]]


class NotBelieved(Exception):
    """A command that the box cannot know to be for it, and new."""


class KeysUnknown(Exception):
    """Nobody could say just now by which keys commands are signed."""


@dataclass(slots=True)
class Commands:
    """What a box remembers of its commands, and how it carries them out."""

    call: Call
    tally: Tally
    random: Random
    now: Callable[[], float]  # seconds since 1970
    screen: Screen
    look_for_update: Callable[[], None]
    clumsiness: float = 0.0  # the chance that something goes wrong
    device_id: str = ""
    chain: str = ""  # PEM, as it came with the certificate
    last: int = 0  # the number of the last command it has believed
    heard: int = 0  # the number that the push channel has said last
    keys: dict[str, Ed25519PublicKey] = field(default_factory=dict)
    keys_until: float = 0.0  # seconds since 1970: then somebody has to vouch again
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def listen(
        self, http: aiohttp.ClientSession, url: str, token: Callable[[], str]
    ) -> None:
        """Hold the push channel, again and again, until this is cancelled."""
        pause = FIRST_PAUSE
        while True:
            begun = asyncio.get_running_loop().time()
            told = await self._hold(http, url, token())
            if asyncio.get_running_loop().time() - begun > LONGEST_PAUSE:
                pause = FIRST_PAUSE
            # Chance keeps a fleet from coming all at once.
            await asyncio.sleep(self.random.uniform(0.5, 1.5) * (told or pause))
            pause = min(LONGEST_PAUSE, 2 * pause)

    async def _hold(
        self, http: aiohttp.ClientSession, url: str, token: str
    ) -> float | None:
        """Until it breaks; how long the server says to wait then, if it does."""
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "text/event-stream",
            "Last-Event-ID": str(self.heard),
        }
        told, clock = None, asyncio.get_running_loop().time
        begun, is_open, is_of_command = clock(), False, True
        try:
            async with http.get(url, headers=headers) as answer:
                self.tally.note("stream", answer.status, clock() - begun)
                if answer.status != 200:
                    pause = answer.headers.get("Retry-After", "")
                    return float(pause) if pause.isdecimal() else None
                is_open = True
                self.tally.listen(1)
                async for line in answer.content:
                    name, _, said = line.decode().strip().partition(": ")
                    if name == "retry":
                        told = int(said) / 1000
                    if name == "id":
                        self.heard = int(said)
                    if name == "event" and said == "update":
                        self.look_for_update()
                        is_of_command = False
                    if name == "data" and is_of_command:
                        await self.fetch()
                    if not name:  # the end of an event
                        is_of_command = True
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            if not is_open:
                self.tally.note("stream", NETWORK, clock() - begun)
        except (KeyError, TypeError, AttributeError):  # not what was promised
            self.tally.note("not understood", NETWORK, 0)
        finally:
            self.tally.listen(-is_open)
        return told

    def forget(self) -> None:
        """It is another device now."""
        self.last = self.heard = 0
        self.keys = {}

    async def fetch(self) -> None:
        """Everything that waits, in its order; each is answered before the next."""
        async with self.turn:
            while True:
                path = f"{MINE}?after={self.last}"
                status, told = await self.call("commands", "GET", path)
                if status != 200:
                    return
                before = self.last
                try:
                    for command in told["results"]:
                        await self._carry_out(command["signed"])
                except KeysUnknown:
                    return  # none after it is begun before it; all come again
                if self.last == before:
                    return  # there was nothing, or nothing that can be believed

    async def _carry_out(self, signed: str) -> None:
        """Only a number that was signed counts as seen: anybody could write another.

        Raises:
            KeysUnknown: nobody can say just now whether it can be believed.
        """
        try:
            said = await self._believed(signed)
        except (NotBelieved, InvalidSignature, ValueError, KeyError):
            self.tally.note("not believed", NETWORK, 0)
            return
        self.last = said["sequence"]
        answer = await self._do(said)
        if answer is not None:
            await self._answer(said["jti"], answer)

    async def _believed(self, signed: str) -> dict[str, Any]:
        """What a JWS says (RFC 7515).

        Raises:
            NotBelieved, InvalidSignature: it is not for this box, not new, or by a key
                for which nobody vouches.
        """
        header, payload, signature = signed.split(".")
        named = json.loads(_decoded(header))
        if named["kid"] not in self.keys or self.keys_until <= self.now():
            await self._read_keys()
        if named["alg"] != "EdDSA" or named["kid"] not in self.keys:
            raise NotBelieved
        key = self.keys[named["kid"]]
        key.verify(_decoded(signature), f"{header}.{payload}".encode())
        said: dict[str, Any] = json.loads(_decoded(payload))
        is_for_us = said["aud"] == self.device_id
        if not is_for_us or said["sequence"] <= self.last or said["exp"] <= self.now():
            raise NotBelieved
        return said

    async def _read_keys(self) -> None:
        """The tenant's keys, if the CA that this box knows vouches for them to it.

        Raises:
            KeysUnknown: nobody could say, or nobody vouches.
        """
        status, told = await self.call("keys", "GET", "/devices/me/command-keys")
        if status != 200:
            raise KeysUnknown
        until = self._vouched_for_until(told) if self.chain else math.inf
        if until <= self.now():
            self.tally.note("keys not believed", NETWORK, 0)
            raise KeysUnknown
        self.keys_until = until
        self.keys = {
            key["kid"]: Ed25519PublicKey.from_public_bytes(_decoded(key["x"]))
            for key in told["keys"]
        }

    def _vouched_for_until(self, told: dict[str, Any]) -> float:
        """How long a CA of the chain vouches for these keys to this box; 0: not at all."""
        if not told["endorsement"]:
            return 0.0
        header, payload, signature = told["endorsement"].split(".")
        der = b64decode(json.loads(_decoded(header))["x5c"][0])
        named = x509.load_der_x509_certificate(der)
        known = x509.load_pem_x509_certificates(self.chain.encode())
        signer = next((one for one in known if one == named), None)
        text = f"{header}.{payload}".encode()
        if signer is None or not _has_signed(signer, text, _decoded(signature)):
            return 0.0
        said = json.loads(_decoded(payload))
        is_it = said["aud"] == self.device_id and said["keys"] == told["keys"]
        return float(said["exp"]) if is_it else 0.0

    async def _do(self, said: dict[str, Any]) -> dict[str, Any] | None:
        """Carry a command out; what is to be answered, if something still is."""
        type_, parameters = said["type"], said["parameters"]
        if self.random.random() < self.clumsiness and type_ not in GESTURES:
            return {"status": "failed", "reason": "The player did not respond."}
        if type_ == "screenshot":
            width = parameters.get("max_width", USUAL_WIDTH)
            picture = await asyncio.to_thread(self.screen.picture, width)
            status, _ = await self.call(
                "screenshot", "PUT", parameters["upload_url"], picture
            )
            failed = {"status": "failed", "reason": "The picture was not taken."}
            return None if status == 201 else failed
        if type_ in ("reboot", "restart"):
            await self._answer(said["jti"], {"status": "running"})
            await asyncio.sleep(REBOOTS_FOR if type_ == "reboot" else RESTARTS_FOR)
        if type_ == "install_update":
            self.look_for_update()
        self._apply(type_, parameters)
        return {"status": "succeeded"}

    def _apply(self, type_: str, parameters: dict[str, Any]) -> None:
        screen = self.screen
        match type_:
            case "tap" | "pinch" | "rotate":
                screen.touch(parameters)
            case "swipe":
                screen.touch(parameters["from"])
                screen.touch(parameters["to"])
            case "keypress":
                screen.press(parameters["key"])
            case "input":
                screen.typed += parameters["text"]
            case "set_volume":
                screen.volume = parameters["volume"]
            case "wake_up":
                screen.is_awake = True
            case "reload" | "restart" | "reboot":
                screen.loads += 1
                screen.typed, screen.last_key, screen.marks = "", "", []

    async def _answer(self, command_id: str, said: dict[str, Any]) -> None:
        """Until somebody has heard it, for a while."""
        pause = FIRST_PAUSE
        while pause < LONGEST_PAUSE:
            path = f"{MINE}/{command_id}/answer"
            status, _ = await self.call("answer", "POST", path, said)
            if status not in (NETWORK, 429, 500, 502, 503, 504):
                return
            await asyncio.sleep(pause)
            pause *= 2


def _decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _has_signed(signer: x509.Certificate, text: bytes, signature: bytes) -> bool:
    key = signer.public_key()
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, text, padding.PKCS1v15(), hashes.SHA256())
        elif isinstance(key, ec.EllipticCurvePublicKey):
            half = len(signature) // 2
            pair = (int.from_bytes(signature[:half]), int.from_bytes(signature[half:]))
            digest = hashes.SHA256() if key.curve.key_size == 256 else hashes.SHA384()
            key.verify(encode_dss_signature(*pair), text, ec.ECDSA(digest))
        else:
            return False
    except InvalidSignature:
        return False
    return True
