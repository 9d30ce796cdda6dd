"""One simulated device: the agent with simulated hardware, on a bad network."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

from cryptography.hazmat.primitives.asymmetric import ec
from provisioning_agent.agent import Agent, Parts
from provisioning_agent.enrollment import Identity
from provisioning_agent.http import INVALID_RESPONSE
from provisioning_agent.keys import MemoryKey
from provisioning_agent.spool import MemorySpool
from provisioning_agent.state import MemoryStore

from devices.simulation.device_data import DeviceProfile, random_profile, sample
from devices.simulation.hardware import Hardware
from devices.simulation.network import Network, SimulatedHttp
from devices.simulation.run_statistics import NETWORK
from devices.simulation.screen import Screen

SAMPLE_INTERVAL = timedelta(minutes=5)  # between two samples of the history
INVALID_RESPONSE_PAUSE = 10.0  # seconds


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
    """The connections and settings that all devices of a fleet share."""

    network: Network
    enrollment_token: str
    seed: str
    pace: FleetTiming
    now: Callable[[], datetime]


@dataclass(slots=True)
class SimulatedDevice:
    """A device with its state. The same seed and number give the same device."""

    number: int
    context: FleetContext
    random: Random = field(init=False)
    profile: DeviceProfile = field(init=False)
    sample_random: Random = field(init=False)
    spool: MemorySpool = field(init=False)
    agent: Agent = field(init=False)
    state: str = ""

    def __post_init__(self) -> None:
        # Each purpose has its own generator, so that it always gets the same values.
        seed, pace = f"{self.context.seed}-{self.number}", self.context.pace
        self.random = Random(seed)
        self.sample_random = Random(f"{seed}-samples")
        self.profile = random_profile(self.random)
        scalar = self.random.getrandbits(250) + 1
        hardware = Hardware(
            profile=self.profile,
            screen=Screen(self.name, hue=self.number * 0.618 % 1),
            seed=seed,
            random=Random(f"{seed}-commands"),
            command_failure_probability=pace.command_failure_probability,
            update_failure_probability=pace.update_failure_probability,
            install_seconds=pace.install_seconds,
        )
        self.spool = MemorySpool()
        self.agent = Agent(
            Parts(
                http=SimulatedHttp(
                    self.context.network, Random(f"{seed}-network"), self._add_history
                ),
                store=MemoryStore(),
                key=MemoryKey(ec.derive_private_key(scalar, ec.SECP256R1())),
                hooks=hardware.hooks(),
                spool=self.spool,
                identity=self._identity(),
                measure=lambda: sample(self.profile, self.context.now(), self.sample_random),
                enrollment_token=self.context.enrollment_token,
                use_push=pace.use_push,
                sample_interval=pace.report_every,
                connect_interval=pace.connect_every,
                boot_id=lambda: f"{hardware.screen.name}-{hardware.boots}"[-36:],
                now=lambda: self.context.now().timestamp(),
                random=Random(f"{seed}-pauses"),
            )
        )

    @property
    def name(self) -> str:
        return f"SIM-{self.context.seed}-{self.number:06}"

    def _identity(self) -> Identity:
        return Identity(
            serial_number=self.name,
            manufacturer="Amlogic",
            model=self.profile.model,
            os_version="9",
            app_version=self.profile.app_version,
            screen_width=1920,
            screen_height=1080,
        )

    async def run(self) -> None:
        """Run the device until the task is cancelled."""
        pace = self.context.pace
        await asyncio.sleep(self.random.uniform(0, pace.start_within))
        try:
            while True:
                pause = await self._step()
                await asyncio.sleep(pause)
        finally:
            self.agent.stop()

    async def _step(self) -> float:
        """Let the agent do a step, or go silent. Return the seconds to the next step."""
        pace = self.context.pace
        if self.agent.is_enrolled and self.random.random() < pace.silence_probability:
            self.agent.stop()
            self._set_state("silent")
            return self.random.uniform(*pace.silence_seconds)
        if not self.agent.is_enrolled:
            self._set_state("registering")
        try:
            pause = await self.agent.step()
        except INVALID_RESPONSE:
            self.context.network.tally.count_request("invalid response", NETWORK, 0)
            pause = INVALID_RESPONSE_PAUSE
        self._set_state(self.agent.status)
        return pause

    def _add_history(self) -> None:
        """Add the samples of the past to the spool, the oldest first."""
        end = self.context.now().astimezone(UTC)
        for number in range(self.context.pace.history // SAMPLE_INTERVAL, 0, -1):
            at = end - number * SAMPLE_INTERVAL
            self.spool.add(sample(self.profile, at, self.sample_random))

    def _set_state(self, state: str) -> None:
        self.context.network.tally.move(self.state, state)
        self.state = state
