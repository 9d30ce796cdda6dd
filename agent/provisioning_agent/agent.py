"""A device that enrolls, connects every minute, and does what the server says is next."""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

from provisioning_agent import certificates, configuration
from provisioning_agent.commands import Commands
from provisioning_agent.enrollment import Identity, register
from provisioning_agent.hooks import Hooks
from provisioning_agent.http import INVALID_RESPONSE, NO_RESPONSE, Http
from provisioning_agent.keys import DeviceKey, KeyUnavailable
from provisioning_agent.measurements import boot_id
from provisioning_agent.push import Push
from provisioning_agent.session import Backoff, Session
from provisioning_agent.spool import Spool
from provisioning_agent.state import MemoryStore
from provisioning_agent.updates import Updates

log = logging.getLogger(__name__)
JITTER = 0.1  # share of each pause, so that devices do not connect all at once
DEFAULT_INTERVAL = 60.0  # seconds, if the server names none
SAMPLE_INTERVAL = 300.0  # seconds
MAX_EARLY = 500  # samples that are kept in memory until the first connect
REFUSED_PAUSE = 300.0  # seconds after a registration that a member has to decide


@dataclass(slots=True, kw_only=True)
class Parts:
    """What an agent is made of. Simulations and tests use parts that keep nothing on a disk.

    Attributes:
        measure: returns the values of a sample.
        updates_folder: where files of updates are written; None keeps none.
        connect_interval: seconds between two connects; None takes the interval of the server.
        enrollment_token: registers the device; empty for a device that is already enrolled.
    """

    http: Http
    store: MemoryStore
    key: DeviceKey
    hooks: Hooks
    spool: Spool
    identity: Identity
    measure: Callable[[], dict[str, Any]]
    updates_folder: Path | None = None
    enrollment_token: str = ""
    use_push: bool = True
    sample_interval: float = SAMPLE_INTERVAL
    connect_interval: float | None = None
    boot_id: Callable[[], str] = boot_id
    now: Callable[[], float] = time.time
    random: Random


class Agent:
    """A device. `run` does not end; `enroll` and `step` are its parts.

    Whatever must survive a crash is saved before the agent acts on it.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts, self.hooks = parts, parts.hooks
        self.session = Session(parts.http, parts.store, now=parts.now, random=parts.random)
        self.updates = Updates(
            self.session,
            parts.hooks,
            parts.updates_folder,
            running_version=self.running_version,
            fetch_configuration=self._apply_configuration,
            connect=self.connect,
        )
        self.commands = Commands(
            self.session, parts.hooks, check_update=self.updates.start_check, boot_id=parts.boot_id
        )
        self.push = Push(
            self.session, fetch=self.commands.fetch, check_update=self.updates.start_check
        )
        self._backoff = Backoff(5.0, 60.0, parts.random)
        self._measured_at = -parts.sample_interval
        self._connecting, self._configuring = asyncio.Lock(), asyncio.Lock()
        self._early: list[tuple[float, dict[str, Any]]] = []  # samples before the first connect
        self._knows_time = False  # that of the server
        self.status = "new"  # then registering, online, quarantined or unreachable

    @property
    def is_enrolled(self) -> bool:
        return bool(self.session.state.token)

    async def run(self) -> None:
        """Run until the task is cancelled."""
        self.commands.recover()
        await self.updates.recover()
        try:
            while True:
                try:
                    pause = await self.step()
                except (*INVALID_RESPONSE, OSError, KeyUnavailable) as error:
                    # A full disk or a token that is gone for a moment does not end the agent.
                    log.warning("%s: %s", type(error).__name__, error)
                    self.parts.http.observe("failed step", NO_RESPONSE, 0)
                    pause = self._backoff.pause()
                await asyncio.sleep(pause)
        finally:
            self.stop()

    def stop(self) -> None:
        """End the background tasks. They continue after the next start."""
        self.push.stop()
        self.updates.stop()

    async def step(self) -> float:
        """Enroll if necessary, connect, and do what is next. Return the seconds to the next step."""
        self._measure()
        if not self.is_enrolled and (pause := await self.enroll()):
            return pause
        interval = await self.connect()
        if interval is None:
            return self._backoff.pause()
        self._backoff.reset()
        if self.status == "online":
            await self.session.flush()
            await self._send_samples()
        return interval * self.parts.random.uniform(1 - JITTER, 1 + JITTER)

    async def enroll(self) -> float:
        """Register the device. Return 0 if it is enrolled, or else the seconds to wait.

        Raises:
            KeyUnavailable: see `DeviceKey`.
        """
        self.status = "registering"
        identity = await self.current_identity()
        response = await register(
            self.session, self.parts.key, identity, enrollment_token=self.parts.enrollment_token
        )
        if response.is_success:
            return 0.0
        if response.error_code == certificates.KEY_IN_USE:
            self.parts.key.replace()
        self.push.stop()
        if response.is_temporary:
            return max(response.retry_after, self._backoff.pause())
        return REFUSED_PAUSE * self.parts.random.uniform(1 - JITTER, 1 + JITTER)

    async def connect(self) -> float | None:
        """Connect, and do what the response says. Return the seconds to the next connect.

        Returns:
            None if there was no usable response.
        """
        async with self._connecting:
            return await self._connect()

    async def _connect(self) -> float | None:
        versions = await self._versions()
        body = {name: value for name, value in versions.items() if value}
        if boot := self.parts.boot_id():
            body["boot_id"] = boot[:36]
        response = await self.session.call("connect", "POST", "/devices/connect", body)
        if response.status != 200 or not isinstance(response.body, dict):
            self.status = "unreachable"
            return None
        answer = response.body
        server_time = datetime.fromisoformat(answer["server_time"].replace("Z", "+00:00"))
        self.session.clock_offset = server_time.timestamp() - self.parts.now()
        self._knows_time = True
        self._store_early()
        self.status = "quarantined" if answer["quarantined"] else "online"
        if answer["quarantined"]:
            self.push.stop()
        else:
            await self._do_next_steps(answer["next_steps"])
        interval = self.parts.connect_interval or answer.get("next_connect_in")
        return float(interval or DEFAULT_INTERVAL)

    async def _do_next_steps(self, steps: dict[str, Any]) -> None:
        state = self.session.state
        if self.parts.use_push and steps.get("command_stream"):
            self.push.start(steps["command_stream"])
        name = self.parts.identity.common_name
        await certificates.follow(self.session, self.parts.key, steps, name)
        version = steps.get("configuration_version")
        is_new = version != state.configuration_version
        if version and (is_new or steps.get("configuration_waiting")):
            await self._apply_configuration()
        version = steps.get("settings_version")
        if version and version != state.settings_version:
            await configuration.apply_settings(self.session, self.hooks)
        if steps.get("commands_waiting"):
            await self.commands.fetch()
        if steps.get("update_waiting"):
            self.updates.start_check()

    async def change_setting(self, key: str, value: Any) -> None:
        """Change a setting at the device, see `configuration.change_setting`."""
        await configuration.change_setting(self.session, key, value)

    async def _apply_configuration(self) -> None:
        async with self._configuring:  # an update may need the keys in it, too
            await configuration.apply_configuration(self.session, self.hooks)

    async def current_identity(self) -> Identity:
        """Return the identity with the versions that run now."""
        versions = await self._versions()
        values = {**self.parts.identity.message(), **{k: v for k, v in versions.items() if v}}
        return Identity(**values)

    async def running_version(self) -> str:
        return (await self._versions())["app_version"]

    async def _versions(self) -> dict[str, str]:
        """Return the running versions, from the hook `version` if there is one."""
        identity, state = self.parts.identity, self.session.state
        values = {"app_version": state.installed_version or identity.app_version}
        values["os_version"] = identity.os_version
        if self.hooks.exists("version"):
            result = await self.hooks.run("version", {})
            values |= {name: str(result.values[name]) for name in values if name in result.values}
        return values

    def _measure(self) -> None:
        """Add a sample to the spool, if one is due."""
        now = self.parts.now()
        if 0 <= now - self._measured_at < self.parts.sample_interval:
            return
        self._measured_at = now
        if values := self.parts.measure():
            self._early = [*self._early[-MAX_EARLY:], (now, values)]
        self._store_early()

    def _store_early(self) -> None:
        """Store samples with the time of the server. Before the first connect it is not known."""
        while self._knows_time and self._early:
            at, values = self._early[0]
            recorded_at = _utc_text(at + self.session.clock_offset)
            self.parts.spool.add({"recorded_at": recorded_at, **values})
            del self._early[0]

    async def _send_samples(self) -> None:
        """Send all samples of the spool. They are removed when the server has stored them."""
        while samples := self.parts.spool.oldest():
            sent_at = _utc_text(self.session.server_time())
            body = {"sent_at": sent_at, "samples": samples}
            response = await self.session.call("metrics", "POST", "/devices/metrics", body)
            if not response.is_final:
                return
            self.parts.spool.remove_oldest()


def _utc_text(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
