"""Receive, verify and execute the remote control commands of a simulated device."""

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

from devices.simulation.run_statistics import NETWORK, RunStatistics
from devices.simulation.screen import DEFAULT_WIDTH, Screen

COMMANDS_PATH = "/devices/me/commands"
STREAM_TIMEOUT = 60.0  # seconds without data after which the stream counts as broken
FIRST_RETRY_DELAY, MAX_RETRY_DELAY = 1.0, 60.0  # seconds
REBOOT_SECONDS, RESTART_SECONDS = 3.0, 1.0
GESTURES = ("tap", "pinch", "rotate")

Call = Callable[..., Awaitable[tuple[int, Any]]]


class CommandRejected(Exception):
    """The command has expired, is repeated, is not properly signed, or is for another device."""


class KeysUnavailable(Exception):
    """The keys for verifying commands cannot be fetched or are not endorsed."""


@dataclass(slots=True)
class CommandClient:
    """The state of a device's remote control and the execution of its commands."""

    call: Call
    tally: RunStatistics
    random: Random
    now: Callable[[], float]  # seconds since 1970
    screen: Screen
    start_update_check: Callable[[], None]
    failure_probability: float = 0.0
    device_id: str = ""
    chain: str = ""  # PEM, from the response with the certificate
    last_sequence: int = 0  # of the last accepted command
    last_event_id: int = 0  # of the last event on the push connection
    keys: dict[str, Ed25519PublicKey] = field(default_factory=dict)
    keys_valid_until: float = 0.0  # seconds since 1970; end of the endorsement
    fetch_lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def listen(self, http: aiohttp.ClientSession, url: str, token: Callable[[], str]) -> None:
        """Keep the push connection open until the task is cancelled.

        Args:
            http: The session for push connections.
            url: The URL of the event stream.
            token: a function that returns the current device token.
        """
        pause = FIRST_RETRY_DELAY
        while True:
            started = asyncio.get_running_loop().time()
            retry_delay = await self._read_stream(http, url, token())
            if asyncio.get_running_loop().time() - started > MAX_RETRY_DELAY:
                pause = FIRST_RETRY_DELAY
            # Jitter keeps the devices from reconnecting all at once.
            await asyncio.sleep(self.random.uniform(0.5, 1.5) * (retry_delay or pause))
            pause = min(MAX_RETRY_DELAY, 2 * pause)

    async def _read_stream(self, http: aiohttp.ClientSession, url: str, token: str) -> float | None:
        """Read events until the connection breaks.

        Returns:
            The seconds to wait before reconnecting, if the server has set them.
        """
        headers = {
            "Authorization": f"Bearer {token}",
            "Accept": "text/event-stream",
            "Last-Event-ID": str(self.last_event_id),
        }
        retry_delay, clock = None, asyncio.get_running_loop().time
        started, is_open, is_command_event = clock(), False, True
        try:
            async with http.get(url, headers=headers) as response:
                self.tally.count_request("stream", response.status, clock() - started)
                if response.status != 200:
                    retry_after = response.headers.get("Retry-After", "")
                    return float(retry_after) if retry_after.isdecimal() else None
                is_open = True
                self.tally.listen(1)
                async for line in response.content:
                    name, _, value = line.decode().strip().partition(": ")
                    if name == "retry":
                        retry_delay = int(value) / 1000
                    if name == "id":
                        self.last_event_id = int(value)
                    if name == "event" and value == "update":
                        self.start_update_check()
                        is_command_event = False
                    if name == "data" and is_command_event:
                        await self.fetch()
                    if not name:  # an empty line ends the event
                        is_command_event = True
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            if not is_open:
                self.tally.count_request("stream", NETWORK, clock() - started)
        except (KeyError, TypeError, AttributeError):  # unexpected response
            self.tally.count_request("invalid response", NETWORK, 0)
        finally:
            self.tally.listen(-is_open)
        return retry_delay

    def reset(self) -> None:
        """Reset the sequence numbers and keys, because the server has a new device record."""
        self.last_sequence = self.last_event_id = 0
        self.keys = {}

    async def fetch(self) -> None:
        """Fetch and execute all waiting commands in order of their sequence number.

        Each command is answered before the next one starts.
        """
        async with self.fetch_lock:
            while True:
                path = f"{COMMANDS_PATH}?after={self.last_sequence}"
                status, response = await self.call("commands", "GET", path)
                if status != 200:
                    return
                previous_sequence = self.last_sequence
                try:
                    for command in response["results"]:
                        await self._execute(command["signed"])
                except KeysUnavailable:
                    return  # later commands must wait; the next fetch returns all of them
                if self.last_sequence == previous_sequence:
                    return  # no command was accepted

    async def _execute(self, signed: str) -> None:
        """Verify and execute a command and send the answer.

        Only the signed sequence number is stored, because an unsigned sequence number could
        be forged.

        Raises:
            KeysUnavailable: The command cannot be verified now.
        """
        try:
            claims = await self._verify(signed)
        except (CommandRejected, InvalidSignature, ValueError, KeyError):
            self.tally.count_request("command rejected", NETWORK, 0)
            return
        self.last_sequence = claims["sequence"]
        answer = await self._run(claims)
        if answer is not None:
            await self._send_answer(claims["jti"], answer)

    async def _verify(self, signed: str) -> dict[str, Any]:
        """Return the claims of a signed command (JWS, RFC 7515).

        Raises:
            CommandRejected, InvalidSignature: The command is for another device,
                expired, repeated, or signed by a key without endorsement.
        """
        header, payload, signature = signed.split(".")
        fields = json.loads(_base64url_decode(header))
        if fields["kid"] not in self.keys or self.keys_valid_until <= self.now():
            await self._fetch_keys()
        if fields["alg"] != "EdDSA" or fields["kid"] not in self.keys:
            raise CommandRejected
        key = self.keys[fields["kid"]]
        key.verify(_base64url_decode(signature), f"{header}.{payload}".encode())
        claims: dict[str, Any] = json.loads(_base64url_decode(payload))
        if (
            claims["aud"] != self.device_id
            or claims["sequence"] <= self.last_sequence
            or claims["exp"] <= self.now()
        ):
            raise CommandRejected
        return claims

    async def _fetch_keys(self) -> None:
        """Fetch the tenant's keys and check their endorsement by the device's CA.

        The endorsement is a JWS with the keys, the device id and an expiry time.

        Raises:
            KeysUnavailable: The keys cannot be fetched or are not endorsed.
        """
        status, response = await self.call("keys", "GET", "/devices/me/command-keys")
        if status != 200:
            raise KeysUnavailable
        until = self._endorsed_until(response) if self.chain else math.inf
        if until <= self.now():
            self.tally.count_request("keys rejected", NETWORK, 0)
            raise KeysUnavailable
        self.keys_valid_until = until
        self.keys = {
            key["kid"]: Ed25519PublicKey.from_public_bytes(_base64url_decode(key["x"]))
            for key in response["keys"]
        }

    def _endorsed_until(self, response: dict[str, Any]) -> float:
        """Return the expiry time of the endorsement of these keys for this device.

        Returns:
            Seconds since 1970, or 0 if no CA of the chain has endorsed them.
        """
        if not response["endorsement"]:
            return 0.0
        header, payload, signature = response["endorsement"].split(".")
        der = b64decode(json.loads(_base64url_decode(header))["x5c"][0])
        certificate = x509.load_der_x509_certificate(der)
        chain = x509.load_pem_x509_certificates(self.chain.encode())
        signed_text = f"{header}.{payload}".encode()
        if certificate not in chain or not _is_signature_valid(
            certificate, signed_text, _base64url_decode(signature)
        ):
            return 0.0
        claims = json.loads(_base64url_decode(payload))
        is_valid = claims["aud"] == self.device_id and claims["keys"] == response["keys"]
        return float(claims["exp"]) if is_valid else 0.0

    async def _run(self, claims: dict[str, Any]) -> dict[str, Any] | None:
        """Run a command. Return the answer to send, or None after uploading a screenshot."""
        type_, parameters = claims["type"], claims["parameters"]
        if self.random.random() < self.failure_probability and type_ not in GESTURES:
            return {"status": "failed", "reason": "The player did not respond."}
        if type_ == "screenshot":
            width = parameters.get("max_width", DEFAULT_WIDTH)
            picture = await asyncio.to_thread(self.screen.picture, width)
            status, _ = await self.call("screenshot", "PUT", parameters["upload_url"], picture)
            failure = {"status": "failed", "reason": "The server did not accept the screenshot."}
            return None if status == 201 else failure
        if type_ in ("reboot", "restart"):
            await self._send_answer(claims["jti"], {"status": "running"})
            await asyncio.sleep(REBOOT_SECONDS if type_ == "reboot" else RESTART_SECONDS)
        if type_ == "install_update":
            self.start_update_check()
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
                screen.typed, screen.last_key, screen.touches = "", "", []

    async def _send_answer(self, command_id: str, answer: dict[str, Any]) -> None:
        """Send an answer. Retry with growing pauses while the server is unavailable."""
        pause = FIRST_RETRY_DELAY
        while pause < MAX_RETRY_DELAY:
            path = f"{COMMANDS_PATH}/{command_id}/answer"
            status, _ = await self.call("answer", "POST", path, answer)
            if status not in (NETWORK, 429, 500, 502, 503, 504):
                return
            await asyncio.sleep(pause)
            pause *= 2


def _base64url_decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _is_signature_valid(signer: x509.Certificate, text: bytes, signature: bytes) -> bool:
    """Verify a JWS signature (RS256, ES256 or ES384) with the key of a certificate."""
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
