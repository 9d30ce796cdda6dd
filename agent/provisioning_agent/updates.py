"""Install the update that the server offers, and report how it ended."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from provisioning_agent.download import Download, DownloadEnded, DownloadFailed
from provisioning_agent.hooks import HookResult, Hooks
from provisioning_agent.http import INVALID_RESPONSE, NO_RESPONSE
from provisioning_agent.session import Session
from provisioning_agent.signatures import SignatureInvalid, UnknownKey, verified_claims

PATH = "/devices/me/update"


class UpdateRejected(Exception):
    """The offer is not signed for this device, or its parts do not fit together."""


class Updates:
    """The updates of a device. An installation is noted before it begins, so it runs once.

    Args:
        folder: for the files; None keeps no file, for simulations.
        running_version: returns the version of the app that runs now.
        fetch_configuration: fetches the configuration, which has the keys of the tenant.
        connect: connects with the new version.
    """

    def __init__(
        self,
        session: Session,
        hooks: Hooks,
        folder: Path | None,
        *,
        running_version: Callable[[], Awaitable[str]],
        fetch_configuration: Callable[[], Awaitable[object]],
        connect: Callable[[], Awaitable[object]],
    ) -> None:
        self.session, self.hooks, self.folder = session, hooks, folder
        self.running_version, self.connect = running_version, connect
        self.fetch_configuration = fetch_configuration
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    def start_check(self) -> None:
        """Start a task that installs an offered update, unless one is running."""
        if not self.is_running:
            self._task = asyncio.create_task(self._check())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def recover(self) -> None:
        """Report the installation that was under way when the agent stopped."""
        update = self.session.state.update
        if update is None:
            return
        if await self.running_version() == update["version"]:
            self._finish(update, "installed")
        else:
            reason = "The agent was interrupted during the installation."
            self._finish(update, "failed", error_code="interrupted", error=reason)

    async def _check(self) -> None:
        response = await self.session.call("update", "GET", PATH)
        if response.status != 200 or response.body.get("not_before") is not None:
            return  # the next connect says when there is an update
        offer = response.body
        try:
            await self._require_order(offer)
            if [offer["rollout"], offer["attempt"]] == self.session.state.finished_attempt:
                return  # this attempt has ended; its report may still be in the outbox
            await self._install(offer)
        except UpdateRejected:
            self.session.http.observe("update rejected", NO_RESPONSE, 0)
        except INVALID_RESPONSE:
            self.session.http.observe("invalid response", NO_RESPONSE, 0)
        except DownloadEnded:
            return

    async def _require_order(self, offer: dict[str, Any]) -> None:
        """Check the update order and the signature of the package.

        Raises:
            UpdateRejected: the device must not install the update.
        """
        order = await self._claims(offer["order"])
        package = offer["package"]
        names = ("rollout", "attempt", "product", "version", "rollback")
        expected = {name: offer[name] for name in names}
        expected["sha256"] = package["sha256"] if package else None
        is_ours = order["aud"] == self.session.state.device_id
        is_current = order["exp"] > self.session.server_time()
        if not (is_ours and is_current and order.items() >= expected.items()):
            raise UpdateRejected
        if package is None:
            return
        signed = await self._claims(package["signature"])
        wanted = {"package": package["id"], "product": offer["product"]}
        wanted |= {"version": offer["version"], "size": package["size"]}
        wanted |= {"sha256": package["sha256"]}
        if not signed.items() >= wanted.items():
            raise UpdateRejected

    async def _claims(self, signed: str) -> dict[str, Any]:
        try:
            try:
                return verified_claims(signed, self.session.state.update_keys)
            except UnknownKey:
                await self.fetch_configuration()  # the tenant may have a new key
                return verified_claims(signed, self.session.state.update_keys)
        except SignatureInvalid as error:
            raise UpdateRejected from error

    async def _install(self, offer: dict[str, Any]) -> None:
        path = None
        update = {name: offer[name] for name in ("rollout", "attempt", "version")}
        if offer["package"] is not None:
            try:
                path = await self._download(offer)
            except DownloadFailed as error:
                self._finish(update, "failed", error_code=error.code, error=str(error))
                await self.session.flush()
                return
        if await self._report(offer, "installing") == 410:
            return  # the update has ended
        self.session.state.update = update
        self.session.save()
        result = await self._run_hook(offer, path)
        if result.ok:
            self._finish(update, "installed")
        else:
            code = str(result.values.get("error_code", "install_failed"))
            self._finish(update, "failed", error_code=code, error=result.reason)
        if path is not None:
            path.unlink(missing_ok=True)
        await self.session.flush()
        if result.ok:
            await self.connect()

    async def _download(self, offer: dict[str, Any]) -> Path | None:
        async def progress(percent: int) -> None:
            response = await self._report(offer, "downloading", progress=percent)
            if response == 410:
                raise DownloadEnded

        return await Download(self.session, self.folder, offer["package"], progress).run()

    async def _run_hook(self, offer: dict[str, Any], path: Path | None) -> HookResult:
        package = offer["package"] or {}
        values = {"path": str(path) if path else None, "rollback": offer["rollback"]}
        values |= {name: offer[name] for name in ("product", "version", "attempt")}
        values |= {name: package.get(name) for name in ("sha256", "platform")}
        return await self.hooks.run("install", values)

    async def _report(self, offer: dict[str, Any], status: str, **fields: Any) -> int:
        """Report the progress. It is not repeated, because the end of the update counts."""
        body = {"attempt": offer["attempt"], "status": status, **fields}
        path = f"/devices/me/updates/{offer['rollout']}/feedback"
        return (await self.session.call("feedback", "POST", path, body)).status

    def _finish(self, update: dict[str, Any], status: str, **fields: Any) -> None:
        """Note the end of an attempt together with its report."""
        state = self.session.state
        state.update = None
        state.finished_attempt = [update["rollout"], update["attempt"]]
        if status == "installed":
            state.installed_version = update["version"]
        body = {"attempt": update["attempt"], "status": status, **fields}
        self.session.put("feedback", f"/devices/me/updates/{update['rollout']}/feedback", body)
        self.session.save()
