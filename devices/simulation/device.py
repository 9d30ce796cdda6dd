"""One simulated box: it registers, enrolls, connects, reports and obeys, over real HTTP."""

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

from devices.simulation.commands import Commands
from devices.simulation.plausible import STUBBORN, Temper, sample, temper
from devices.simulation.screen import Screen
from devices.simulation.tally import NETWORK, Tally
from devices.simulation.updates import Updates
from devices.simulation.wire import asked

JITTER = 0.1  # of each pause, so that a fleet does not knock at once
MOST_SAMPLES = 500  # in one report
USUAL = timedelta(minutes=5)  # between two samples of the past
AGAIN = 5.0  # seconds after which a box tries again that nobody answered, then twice
LONGEST_PAUSE = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How the time goes by for a fleet; None is as the server says, or as boxes do."""

    connect_every: float | None = None  # seconds
    report_every: float = 300.0  # seconds
    start_within: float = 10.0  # seconds in which all of them begin
    silence: float = 0.002  # the chance, at each connect, to go silent
    silent_for: tuple[float, float] = (360.0, 1200.0)  # seconds
    history: timedelta = timedelta(0)  # that is reported at the beginning
    listens: bool = True  # on the push channel, where there is one
    clumsiness: float = 0.01  # the chance that a command fails
    faults: float = 0.02  # the chance that an update fails
    installs_for: tuple[float, float] = (2.0, 6.0)  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """Where the boxes are: what they share."""

    http: aiohttp.ClientSession
    streams: aiohttp.ClientSession
    url: str
    enrollment_token: str
    seed: str
    pace: Pace
    tally: Tally
    now: Callable[[], datetime]


@dataclass(slots=True)
class SimulatedDevice:
    """A box with what it remembers. The same seed and number are the same box."""

    number: int
    around: Surroundings
    random: Random = field(init=False)
    temper: Temper = field(init=False)
    state: str = ""
    token: str = ""
    serial_number: str | None = None  # of its certificate
    configuration_version: str | None = None
    orientation: str = ""
    settings_version: str | None = None
    reported_at: float = 0.0
    key: ec.EllipticCurvePrivateKey = field(init=False)
    commands: Commands = field(init=False)
    updates: Updates = field(init=False)
    listening: asyncio.Task[None] | None = None
    failures: int = 0  # one after the other
    clock_is_behind: float = 0.0  # seconds, against the server's
    has_history: bool = False
    samples: Random = field(init=False)
    pauses: Random = field(init=False)

    def __post_init__(self) -> None:
        # One for each purpose: what happens on the way to one changes no other.
        self.random = Random(f"{self.around.seed}-{self.number}")
        self.samples = Random(f"{self.around.seed}-{self.number}-samples")
        self.pauses = Random(f"{self.around.seed}-{self.number}-pauses")
        self.temper = temper(self.random)
        scalar = self.random.getrandbits(250) + 1
        self.key = ec.derive_private_key(scalar, ec.SECP256R1())
        self.commands = Commands(
            call=self._call,
            tally=self.around.tally,
            random=Random(f"{self.around.seed}-{self.number}-commands"),
            now=lambda: self.around.now().timestamp() + self.clock_is_behind,
            clumsiness=self.around.pace.clumsiness,
            screen=Screen(self.name, hue=self.number * 0.618 % 1),
            look_for_update=self._look_for_update,
        )
        self.updates = Updates(
            call=self._call,
            http=self.around.http,
            token=lambda: self.token,
            url=self.around.url,
            device_id=lambda: self.commands.device_id,
            now=lambda: self.around.now().timestamp() + self.clock_is_behind,
            tally=self.around.tally,
            seed=f"{self.around.seed}-{self.number}",
            version=self.temper.app_version,
            come_back=self._connect,
            configure=self._configure,
            faults=self.around.pace.faults,
            installs_for=self.around.pace.installs_for,
        )

    @property
    def name(self) -> str:
        return f"SIM-{self.around.seed}-{self.number:06}"

    async def live(self) -> None:
        """Until it is cancelled."""
        pace = self.around.pace
        await asyncio.sleep(self.random.uniform(0, pace.start_within))
        try:
            while True:
                try:
                    wait = await self._turn()
                except (KeyError, TypeError, AttributeError):  # not what was promised
                    self.around.tally.note("not understood", NETWORK, 0)
                    wait = self._again()
                await asyncio.sleep(wait)
        finally:
            self._hang_up()
            self.updates.stop()

    async def _turn(self) -> float:
        """Do what is due; for how many seconds nothing is."""
        pace = self.around.pace
        if not self.token and not await self._register():
            return self._again()
        if self.random.random() < pace.silence:
            self._be("silent")
            self._hang_up()
            self.updates.stop()
            return self.random.uniform(*pace.silent_for)
        wait = await self._connect()
        if wait is None:
            return self._again()
        self.failures = 0
        if not self.has_history and pace.history:
            self.has_history = await self._report_history()
        if self.state == "online" and self._is_time_to_report():
            await self._report([self.around.now()])
        return self._about(wait)

    async def _register(self) -> bool:
        self._be("registering")
        status, told = await self._call(
            "register",
            "POST",
            "/devices/auto-register",
            {
                "serial_number": self.name,
                "manufacturer": "Amlogic",
                "model": self.temper.model,
                "os_version": "9",
                "app_version": self.updates.version,
                "screen_width": 1920,
                "screen_height": 1080,
                "csr": self._request(),
            },
            token=self.around.enrollment_token,
        )
        if status not in (200, 201):
            return False
        self.token = told["token"]
        certificate = told.get("certificate") or {}
        self.serial_number = certificate.get("serial_number")
        self.commands.chain = certificate.get("chain", "")
        if status == 201:  # it is a new device: nobody has told it anything
            self.commands.forget()
        else:
            self.has_history = True
        return True

    async def _connect(self) -> float | None:
        """A sign of life, and what the answer says is to be done; seconds to the next."""
        said = {"app_version": self.updates.version, "os_version": "9"}
        status, told = await self._call("connect", "POST", "/devices/connect", said)
        if status != 200:
            self._be("unreachable")
            return None
        at_server = datetime.fromisoformat(told["server_time"])
        self.clock_is_behind = (at_server - self.around.now()).total_seconds()
        self._be("quarantined" if told["quarantined"] else "online")
        steps = told["next_steps"]
        self.commands.device_id = told["device_id"]
        if told["quarantined"]:
            self._hang_up()
        else:
            await self._obey(steps)
        return float(self.around.pace.connect_every or told["next_connect_in"])

    async def _obey(self, steps: dict[str, Any]) -> None:
        if steps["command_stream"] and self.around.pace.listens:
            self._listen(steps["command_stream"])
        if steps["commands_waiting"]:
            await self.commands.fetch()
        if steps["update_waiting"]:
            self.updates.look()
        version = steps["configuration_version"]
        if version is not None and (
            version != self.configuration_version or steps["configuration_waiting"]
        ):
            await self._configure()
        version = steps["settings_version"]
        if version is not None and version != self.settings_version:
            await self._read_settings()
        if steps["certificate_renewal_due"]:
            await self._renew()
        elif steps["certificate_serial_number"] != self.serial_number:
            if steps["certificate_serial_number"] is None:  # it was revoked
                await self._renew()
            else:
                await self._fetch_certificate()

    async def _configure(self) -> None:
        """Fetch what it should have, and say what came of it."""
        path = "/devices/me/configuration"
        had = {"If-None-Match": f'"{self.configuration_version}"'}
        status, told = await self._call("configuration", "GET", path, more=had)
        if status == 200:
            self.configuration_version = told["version"]
            self.orientation = told["configuration"].get("orientation", "")
            self.updates.keys = told["configuration"].get("update_keys", [])
            self.commands.screen.volume = told["configuration"].get("volume", 30)
        if status not in (200, 304):
            return
        said: dict[str, Any] = {
            "version": self.configuration_version,
            "outcome": "applied",
        }
        if self.temper.ailment == STUBBORN and self.orientation.endswith("portrait"):
            said |= {
                "outcome": "failed",
                "reason": "The panel cannot be turned.",
                "failed_keys": ["orientation"],
            }
        else:
            self.commands.screen.is_upright = self.orientation.endswith("portrait")
        await self._call("reported", "POST", f"{path}/reported", said)

    def _look_for_update(self) -> None:
        self.updates.look()

    async def _read_settings(self) -> None:
        status, told = await self._call("settings", "GET", "/devices/me/settings")
        if status == 200:
            self.settings_version = told["version"]

    def _listen(self, url: str) -> None:
        if self.listening is None or self.listening.done():
            holding = self.commands.listen(self.around.streams, url, lambda: self.token)
            self.listening = asyncio.create_task(holding)

    def _hang_up(self) -> None:
        if self.listening is not None:
            self.listening.cancel()
            self.listening = None

    async def _renew(self) -> None:
        said = {"csr": self._request()}
        path = "/devices/me/certificate"
        status, told = await self._call("renew", "POST", path, said)
        if status in (200, 201):
            self.commands.chain = told.get("chain", self.commands.chain)
            await self._acknowledge(told["serial_number"])

    async def _fetch_certificate(self) -> None:
        path = "/devices/me/certificate"
        status, told = await self._call("certificate", "GET", path)
        if status == 200:
            self.commands.chain = told.get("chain", self.commands.chain)
            await self._acknowledge(told["serial_number"])

    async def _acknowledge(self, serial_number: str) -> None:
        self.serial_number = serial_number
        path = "/devices/me/certificate/acknowledge"
        await self._call("acknowledge", "POST", path, {"serial_number": serial_number})

    def _is_time_to_report(self) -> bool:
        now = asyncio.get_running_loop().time()
        due = now - self.reported_at >= self.around.pace.report_every
        if due:
            self.reported_at = now
        return due

    async def _report_history(self) -> bool:
        """The samples of the past that it would have sent, the oldest first."""
        end = self.around.now()
        steps = self.around.pace.history // USUAL
        moments = [end - number * USUAL for number in range(steps, 0, -1)]
        for start in range(0, len(moments), MOST_SAMPLES):
            part = moments[start : start + MOST_SAMPLES]
            if not await self._report(part, kind="history"):
                return False
        return True

    async def _report(self, moments: list[datetime], kind: str = "metrics") -> bool:
        samples = [sample(self.temper, at, self.samples) for at in moments]
        said = {"sent_at": self.around.now().isoformat(), "samples": samples}
        status, _ = await self._call(kind, "POST", "/devices/metrics", said)
        return status == 200

    async def _call(
        self, kind: str, method: str, path: str, body: Any = None, **more: Any
    ) -> tuple[int, Any]:
        """One request; its status, 0 without an answer, and what it says."""
        mine = "token" not in more
        token = more.pop("token", self.token)
        around = self.around
        url = path if path.startswith("http") else f"{around.url}{path}"
        status, told, pause = await asked(
            around.http, around.tally, kind, (method, url), body, token=token, **more
        )
        if status == 401 and mine:
            self.token = ""  # it is void: register again
        if pause:
            await asyncio.sleep(min(pause, LONGEST_PAUSE))
        return status, told

    def _request(self) -> str:
        """A CSR for its key; the names in it are not looked at."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.name)])
        builder = x509.CertificateSigningRequestBuilder().subject_name(name)
        signed = builder.sign(self.key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM).decode()

    def _again(self) -> float:
        """Seconds until it tries again: longer each time."""
        self.failures += 1
        return self._about(min(LONGEST_PAUSE, AGAIN * 2 ** (self.failures - 1)))

    def _about(self, seconds: float) -> float:
        return seconds * self.pauses.uniform(1 - JITTER, 1 + JITTER)

    def _be(self, state: str) -> None:
        self.around.tally.move(self.state, state)
        self.state = state
