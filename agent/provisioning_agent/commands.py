"""Fetch, verify and execute commands, and answer them once."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from provisioning_agent.hooks import HookResult, Hooks
from provisioning_agent.http import NO_RESPONSE
from provisioning_agent.session import Backoff, Session
from provisioning_agent.signatures import (
    SignatureInvalid,
    UnknownKey,
    endorsed_until,
    verified_claims,
)

PATH = "/devices/me/commands"
KEYS_PATH = "/devices/me/command-keys"
UPLOAD_ATTEMPTS = 5
KEPT_SECONDS = 3600.0  # for keys that no CA has endorsed
REBOOT_SECONDS = 300.0  # after which a device that still runs has not restarted
INTERRUPTED = "The agent was interrupted while it executed the command."
NOT_RESTARTED = "The device did not restart."


class CommandRejected(Exception):
    """The command is not signed, has expired, is repeated, or is for another device."""


class KeysUnavailable(Exception):
    """The keys cannot be fetched, or no CA has endorsed them. Commands have to wait."""


class Commands:
    """The commands of a device.

    A command is executed once at most: it is noted before it is executed, and a command that a
    crash has interrupted is answered as failed.

    Args:
        check_update: starts a check for an update, for the command `install_update`.
        boot_id: returns the id of this start of the operating system.
    """

    def __init__(
        self,
        session: Session,
        hooks: Hooks,
        *,
        check_update: Callable[[], None],
        boot_id: Callable[[], str],
    ) -> None:
        self.session, self.hooks = session, hooks
        self.check_update, self.boot_id = check_update, boot_id
        self._fetching = asyncio.Lock()

    def recover(self) -> None:
        """Answer the command that was being executed when the agent or its task was stopped.

        The agent itself was restarted, so `restart` has succeeded.
        """
        command = self.session.state.command
        if command is None:
            return
        answer = {"status": "failed", "reason": INTERRUPTED}
        if command["type"] == "restart":
            answer = {"status": "succeeded"}
        elif command["type"] == "reboot":
            answer = self._reboot_answer(command["boot_id"])
        self._finish(command["id"], answer)

    def _reboot_answer(self, boot_id: str) -> dict[str, Any]:
        """Return the answer to a reboot that began with this id of the operating system."""
        if self.boot_id() != boot_id:
            return {"status": "succeeded"}
        return {"status": "failed", "reason": NOT_RESTARTED}

    async def fetch(self) -> None:
        """Fetch and execute all waiting commands, in the order of their sequence numbers."""
        async with self._fetching:
            self.recover()  # a command whose task was cancelled, for example by a quarantine
            while await self._fetch_some():
                pass

    async def _fetch_some(self) -> bool:
        """Return True if there may be more commands."""
        state = self.session.state
        before = state.last_sequence
        # The keys come with the commands, so that a device does not depend on a second request.
        keys = "" if self._has_keys() else "&keys=true"
        response = await self.session.call("commands", "GET", f"{PATH}?after={before}{keys}")
        if response.error_code == "sequence_ahead":  # the server has another record of the device
            state.last_sequence = 0
            self.session.save()
            return before != 0
        if response.status != 200:
            return False
        try:
            if response.body.get("keys"):
                self._keep_keys(response.body)
            for item in response.body["results"]:
                await self._accept(item["signed"])
        except KeysUnavailable:
            return False  # the next fetch returns these commands again
        return state.last_sequence != before

    async def _accept(self, signed: str) -> None:
        try:
            claims = await self._verified(signed)
        except CommandRejected:
            self.session.http.observe("command rejected", NO_RESPONSE, 0)
            return
        self._note(claims)
        answer = await self._execute(claims)
        self._finish(claims["jti"], answer)
        await self.session.flush()

    def _note(self, claims: dict[str, Any]) -> None:
        """Save that the command is being executed. If the disk is full, it is not executed."""
        state = self.session.state
        before = state.last_sequence
        state.last_sequence = claims["sequence"]
        command = {"id": claims["jti"], "type": claims["type"], "boot_id": self.boot_id()}
        state.command = command
        try:
            self.session.save()
        except OSError:
            state.last_sequence, state.command = before, None
            raise

    def _finish(self, command_id: str, answer: dict[str, Any] | None) -> None:
        """Note the answer together with the end of the command."""
        self.session.state.command = None
        if answer is not None:
            self.session.put("answer", f"{PATH}/{command_id}/answer", answer)
        self.session.save()

    async def _verified(self, signed: str) -> dict[str, Any]:
        """Return the claims of a command.

        Raises:
            CommandRejected: the device must not execute it.
            KeysUnavailable: it cannot be verified now.
        """
        state, now = self.session.state, self.session.server_time()
        if not self._has_keys():
            await self._fetch_keys()
        try:
            try:
                claims = verified_claims(signed, state.command_keys)
            except UnknownKey:
                await self._fetch_keys()
                claims = verified_claims(signed, state.command_keys)
            is_for_us = claims["aud"] == state.device_id
            is_new = claims["sequence"] > state.last_sequence
            if not (is_for_us and is_new and claims["exp"] > now):
                raise CommandRejected
        except (SignatureInvalid, KeyError, TypeError) as error:
            raise CommandRejected from error
        return claims

    async def _fetch_keys(self) -> None:
        """Fetch the keys that verify commands.

        Raises:
            KeysUnavailable: the keys cannot be fetched, or are not endorsed.
        """
        response = await self.session.call("keys", "GET", KEYS_PATH)
        if response.status != 200:
            raise KeysUnavailable
        self._keep_keys(response.body)

    def _has_keys(self) -> bool:
        """Return whether there are keys whose endorsement has not ended."""
        state = self.session.state
        return bool(state.command_keys) and state.command_keys_until > self.session.server_time()

    def _keep_keys(self, answer: dict[str, Any]) -> None:
        """Check the endorsement of `keys` in an answer, and keep them.

        A device without a certificate has to trust its TLS connection. A server without access
        to the key of its CA endorses nothing; then the device goes on with the keys it has.

        Raises:
            KeysUnavailable: the keys are not endorsed.
        """
        state = self.session.state
        keys, until = answer["keys"], self.session.server_time() + KEPT_SECONDS
        if answer["endorsement"] is None and state.command_keys:
            state.command_keys_until = self.session.server_time() + KEPT_SECONDS
            return
        if state.chain:
            try:
                until = endorsed_until(
                    answer["endorsement"], keys, chain=state.chain, device_id=state.device_id
                )
            except SignatureInvalid as error:
                self.session.http.observe("keys rejected", NO_RESPONSE, 0)
                raise KeysUnavailable from error
            if until <= self.session.server_time():
                raise KeysUnavailable
        state.command_keys, state.command_keys_until = keys, until
        self.session.save()

    async def _execute(self, claims: dict[str, Any]) -> dict[str, Any] | None:
        """Execute a command. Return the answer; None if an upload has answered it."""
        type_, parameters = claims["type"], claims.get("parameters") or {}
        if type_ == "install_update":
            self.check_update()
            return {"status": "succeeded"}
        if type_ == "screenshot":
            return await self._screenshot(parameters)
        if type_ in {"reboot", "restart"} and self.hooks.exists(f"command-{type_}"):
            path = f"{PATH}/{claims['jti']}/answer"
            await self.session.call("answer", "POST", path, {"status": "running"})
        before = self.boot_id()
        result = await self.hooks.run(f"command-{type_}", parameters)
        if type_ == "reboot" and result.ok:
            return await self._restarted(before)
        return _answer(result)

    async def _restarted(self, before: str) -> dict[str, Any]:
        """Wait for the restart, which usually ends this process. `recover` answers after it."""
        for _ in range(int(REBOOT_SECONDS)):
            if self.boot_id() != before:
                break
            await asyncio.sleep(1)
        return self._reboot_answer(before)

    async def _screenshot(self, parameters: dict[str, Any]) -> dict[str, Any] | None:
        """Let the hook write an image to `path`, or return it as `image`, and upload it."""
        with TemporaryDirectory(prefix="provisioning-agent-") as folder:
            path = Path(folder) / "screenshot"
            values = {"path": str(path), "max_width": parameters.get("max_width")}
            result = await self.hooks.run("command-screenshot", values)
            if not result.ok:
                return _answer(result)
            image = result.values.get("image")
            if not isinstance(image, bytes):
                try:
                    image = path.read_bytes()
                except OSError:
                    return {"status": "failed", "reason": "The hook has written no image."}
        return await self._upload(parameters["upload_url"], image)

    async def _upload(self, url: str, image: bytes) -> dict[str, Any] | None:
        backoff = Backoff(1.0, 30.0, self.session.random)
        for _ in range(UPLOAD_ATTEMPTS):
            response = await self.session.call("screenshot", "PUT", url, image)
            if not response.is_temporary:
                break
            await asyncio.sleep(backoff.pause())
        if response.is_success or response.status == 410:
            return None
        return {"status": "failed", "reason": "The server did not accept the screenshot."}


def _answer(result: HookResult) -> dict[str, Any]:
    if not result.ok:
        return {"status": "failed", "reason": result.reason}
    try:
        json.dumps(result.values, allow_nan=False)
    except (TypeError, ValueError):
        return {"status": "failed", "reason": "The result of the hook is no JSON."}
    return {"status": "succeeded", **({"result": result.values} if result.values else {})}
