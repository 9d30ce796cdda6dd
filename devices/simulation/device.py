"""One simulated device that registers, enrolls, connects and reports over HTTP."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

import aiohttp
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devices.simulation.commands import CommandClient
from devices.simulation.device_data import FIXED_ORIENTATION, DeviceProfile, random_profile, sample
from devices.simulation.http_requests import send_request
from devices.simulation.run_statistics import NETWORK, RunStatistics
from devices.simulation.screen import Screen
from devices.simulation.updates import UpdateClient

JITTER = 0.1  # share of each pause, so that the devices do not connect all at once
MAX_SAMPLES_PER_REPORT = 500
SAMPLE_INTERVAL = timedelta(minutes=5)  # between two samples of the history
FIRST_RETRY_DELAY = 5.0  # seconds, doubled with each failure
MAX_RETRY_DELAY = 60.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetTiming:
    """Intervals and failure probabilities of the simulated devices."""

    connect_every: float | None = None  # seconds; None uses the server's interval
    report_every: float = 300.0  # seconds between two metrics reports
    start_within: float = 10.0  # seconds over which the starts are spread
    silence_probability: float = 0.002  # probability, at each connect, of going silent
    silence_seconds: tuple[float, float] = (360.0, 1200.0)  # shortest, longest, in seconds
    history: timedelta = timedelta(0)  # of metrics, reported after the registration
    use_push: bool = True  # open the push connection if the server offers one
    command_failure_probability: float = 0.01  # probability that a command fails
    update_failure_probability: float = 0.02  # probability that an update fails
    install_seconds: tuple[float, float] = (2.0, 6.0)  # shortest, longest, in seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetContext:
    """The objects and settings that all devices of a fleet share."""

    http: aiohttp.ClientSession
    streams: aiohttp.ClientSession
    url: str
    enrollment_token: str
    seed: str
    pace: FleetTiming
    tally: RunStatistics
    now: Callable[[], datetime]


@dataclass(slots=True)
class SimulatedDevice:
    """A device with its state. The same seed and number give the same device."""

    number: int
    context: FleetContext
    random: Random = field(init=False)
    profile: DeviceProfile = field(init=False)
    state: str = ""
    token: str = ""
    serial_number: str | None = None  # of its certificate
    configuration_version: str | None = None
    orientation: str = ""
    settings_version: str | None = None
    reported_at: float = 0.0
    key: ec.EllipticCurvePrivateKey = field(init=False)
    commands: CommandClient = field(init=False)
    updates: UpdateClient = field(init=False)
    listener: asyncio.Task[None] | None = None
    failures: int = 0  # consecutive
    clock_is_behind: float = 0.0  # seconds behind the server's clock
    has_history: bool = False
    sample_random: Random = field(init=False)
    pause_random: Random = field(init=False)

    def __post_init__(self) -> None:
        # Each purpose has its own generator, so that it always gets the same values.
        seed = f"{self.context.seed}-{self.number}"
        self.random = Random(seed)
        self.sample_random = Random(f"{seed}-samples")
        self.pause_random = Random(f"{seed}-pauses")
        self.profile = random_profile(self.random)
        scalar = self.random.getrandbits(250) + 1
        self.key = ec.derive_private_key(scalar, ec.SECP256R1())
        self.commands = CommandClient(
            call=self._call,
            tally=self.context.tally,
            random=Random(f"{seed}-commands"),
            now=self._server_timestamp,
            failure_probability=self.context.pace.command_failure_probability,
            screen=Screen(self.name, hue=self.number * 0.618 % 1),
            start_update_check=self._start_update_check,
        )
        self.updates = UpdateClient(
            call=self._call,
            http=self.context.http,
            token=lambda: self.token,
            url=self.context.url,
            device_id=lambda: self.commands.device_id,
            now=self._server_timestamp,
            tally=self.context.tally,
            seed=seed,
            version=self.profile.app_version,
            connect=self._connect,
            fetch_configuration=self._fetch_configuration,
            failure_probability=self.context.pace.update_failure_probability,
            install_seconds=self.context.pace.install_seconds,
        )

    @property
    def name(self) -> str:
        return f"SIM-{self.context.seed}-{self.number:06}"

    async def run(self) -> None:
        """Run the device until the task is cancelled."""
        pace = self.context.pace
        await asyncio.sleep(self.random.uniform(0, pace.start_within))
        try:
            while True:
                try:
                    pause = await self._run_due_steps()
                except (KeyError, TypeError, AttributeError):  # unexpected response
                    self.context.tally.count_request("invalid response", NETWORK, 0)
                    pause = self._retry_delay()
                await asyncio.sleep(pause)
        finally:
            self._close_stream()
            self.updates.stop()

    async def _run_due_steps(self) -> float:
        """Register, connect or report if due. Return the seconds to the next step."""
        pace = self.context.pace
        if not self.token and not await self._register():
            return self._retry_delay()
        if self.random.random() < pace.silence_probability:
            self._set_state("silent")
            self._close_stream()
            self.updates.stop()
            return self.random.uniform(*pace.silence_seconds)
        pause = await self._connect()
        if pause is None:
            return self._retry_delay()
        self.failures = 0
        if not self.has_history and pace.history:
            self.has_history = await self._report_history()
        if self.state == "online" and self._is_report_due():
            await self._report([self.context.now()])
        return self._with_jitter(pause)

    async def _register(self) -> bool:
        self._set_state("registering")
        status, response = await self._call(
            "register",
            "POST",
            "/devices/auto-register",
            {
                "serial_number": self.name,
                "manufacturer": "Amlogic",
                "model": self.profile.model,
                "os_version": "9",
                "app_version": self.updates.version,
                "screen_width": 1920,
                "screen_height": 1080,
                "csr": self._csr(),
            },
            token=self.context.enrollment_token,
        )
        if status not in (200, 201):
            return False
        self.token = response["token"]
        certificate = response.get("certificate") or {}
        self.serial_number = certificate.get("serial_number")
        self.commands.chain = certificate.get("chain", "")
        if status == 201:  # a new device, which starts without commands and keys
            self.commands.reset()
        else:
            self.has_history = True
        return True

    async def _connect(self) -> float | None:
        """Connect and run the next steps of the response.

        Returns:
            The seconds to the next connect, or None if the connect failed.
        """
        body = {"app_version": self.updates.version, "os_version": "9"}
        status, response = await self._call("connect", "POST", "/devices/connect", body)
        if status != 200:
            self._set_state("unreachable")
            return None
        server_time = datetime.fromisoformat(response["server_time"])
        self.clock_is_behind = (server_time - self.context.now()).total_seconds()
        self._set_state("quarantined" if response["quarantined"] else "online")
        steps = response["next_steps"]
        self.commands.device_id = response["device_id"]
        if response["quarantined"]:
            self._close_stream()
        else:
            await self._run_next_steps(steps)
        return float(self.context.pace.connect_every or response["next_connect_in"])

    async def _run_next_steps(self, steps: dict[str, Any]) -> None:
        if steps["command_stream"] and self.context.pace.use_push:
            self._open_stream(steps["command_stream"])
        if steps["commands_waiting"]:
            await self.commands.fetch()
        if steps["update_waiting"]:
            self.updates.start_check()
        version = steps["configuration_version"]
        if version is not None and (
            version != self.configuration_version or steps["configuration_waiting"]
        ):
            await self._fetch_configuration()
        version = steps["settings_version"]
        if version is not None and version != self.settings_version:
            await self._fetch_settings()
        if steps["certificate_renewal_due"]:
            await self._renew_certificate()
        elif steps["certificate_serial_number"] != self.serial_number:
            if steps["certificate_serial_number"] is None:  # the certificate was revoked
                await self._renew_certificate()
            else:
                await self._fetch_certificate()

    async def _fetch_configuration(self) -> None:
        """Fetch and apply the configuration, and report the outcome."""
        path = "/devices/me/configuration"
        headers = {"If-None-Match": f'"{self.configuration_version}"'}
        status, response = await self._call("configuration", "GET", path, headers=headers)
        if status == 200:
            self.configuration_version = response["version"]
            configuration = response["configuration"]
            self.orientation = configuration.get("orientation", "")
            self.updates.keys = configuration.get("update_keys", [])
            self.commands.screen.volume = configuration.get("volume", 30)
        if status not in (200, 304):
            return
        report: dict[str, Any] = {"version": self.configuration_version, "outcome": "applied"}
        is_portrait = self.orientation.endswith("portrait")
        if self.profile.condition == FIXED_ORIENTATION and is_portrait:
            report |= {
                "outcome": "failed",
                "reason": "The panel does not support portrait orientation.",
                "failed_keys": ["orientation"],
            }
        else:
            self.commands.screen.is_upright = is_portrait
        await self._call("reported", "POST", f"{path}/reported", report)

    def _start_update_check(self) -> None:
        # This is a method, because `commands` is created before `updates`.
        self.updates.start_check()

    def _server_timestamp(self) -> float:
        return self.context.now().timestamp() + self.clock_is_behind

    async def _fetch_settings(self) -> None:
        status, response = await self._call("settings", "GET", "/devices/me/settings")
        if status == 200:
            self.settings_version = response["version"]

    def _open_stream(self, url: str) -> None:
        if self.listener is None or self.listener.done():
            self.listener = asyncio.create_task(
                self.commands.listen(self.context.streams, url, lambda: self.token)
            )

    def _close_stream(self) -> None:
        if self.listener is not None:
            self.listener.cancel()
            self.listener = None

    async def _renew_certificate(self) -> None:
        body = {"csr": self._csr()}
        path = "/devices/me/certificate"
        status, response = await self._call("renew", "POST", path, body)
        if status in (200, 201):
            self.commands.chain = response.get("chain", self.commands.chain)
            await self._acknowledge(response["serial_number"])

    async def _fetch_certificate(self) -> None:
        path = "/devices/me/certificate"
        status, response = await self._call("certificate", "GET", path)
        if status == 200:
            self.commands.chain = response.get("chain", self.commands.chain)
            await self._acknowledge(response["serial_number"])

    async def _acknowledge(self, serial_number: str) -> None:
        self.serial_number = serial_number
        path = "/devices/me/certificate/acknowledge"
        await self._call("acknowledge", "POST", path, {"serial_number": serial_number})

    def _is_report_due(self) -> bool:
        """Return True if a metrics report is due, and start the next interval."""
        now = asyncio.get_running_loop().time()
        due = now - self.reported_at >= self.context.pace.report_every
        if due:
            self.reported_at = now
        return due

    async def _report_history(self) -> bool:
        """Report the samples of the past, the oldest first. Return True on success."""
        end = self.context.now()
        steps = self.context.pace.history // SAMPLE_INTERVAL
        times = [end - number * SAMPLE_INTERVAL for number in range(steps, 0, -1)]
        for start in range(0, len(times), MAX_SAMPLES_PER_REPORT):
            batch = times[start : start + MAX_SAMPLES_PER_REPORT]
            if not await self._report(batch, kind="history"):
                return False
        return True

    async def _report(self, times: list[datetime], kind: str = "metrics") -> bool:
        samples = [sample(self.profile, at, self.sample_random) for at in times]
        body = {"sent_at": self.context.now().isoformat(), "samples": samples}
        status, _ = await self._call(kind, "POST", "/devices/metrics", body)
        return status == 200

    async def _call(
        self,
        kind: str,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Send a request. Then wait as long as the server requires with `Retry-After`.

        Args:
            kind: The name of the request in the statistics.
            method: The HTTP method.
            path: A path of the server, or an absolute URL.
            body: A PNG image as bytes, a JSON value, or None.
            token: The bearer token. None uses the token of the device.
            headers: Additional headers.

        Returns:
            The status and the decoded body. Without a response, the status is `NETWORK`.
        """
        url = path if path.startswith("http") else f"{self.context.url}{path}"
        status, response, pause = await send_request(
            self.context.http,
            self.context.tally,
            kind,
            method,
            url,
            body,
            token=self.token if token is None else token,
            headers=headers,
        )
        if status == 401 and token is None:
            self.token = ""  # the token was revoked, so the device registers again
        if pause:
            await asyncio.sleep(min(pause, MAX_RETRY_DELAY))
        return status, response

    def _csr(self) -> str:
        """Return a CSR for the key. The server ignores the names in the CSR."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        builder = x509.CertificateSigningRequestBuilder().subject_name(name)
        csr = builder.sign(self.key, hashes.SHA256())
        return csr.public_bytes(serialization.Encoding.PEM).decode()

    def _retry_delay(self) -> float:
        """Count a failure. Return the seconds to the next attempt."""
        self.failures += 1
        delay = FIRST_RETRY_DELAY * 2 ** (self.failures - 1)
        return self._with_jitter(min(MAX_RETRY_DELAY, delay))

    def _with_jitter(self, seconds: float) -> float:
        return seconds * self.pause_random.uniform(1 - JITTER, 1 + JITTER)

    def _set_state(self, state: str) -> None:
        self.context.tally.move(self.state, state)
        self.state = state
