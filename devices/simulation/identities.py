"""Simulated devices, honest and cloned, that try the clone detection.

The simulation has no network and no database. It calls a `Server`, which is the rules alone in a
test, and the services with their database in `./run bench clones`.
"""

import heapq
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

MINUTE = timedelta(minutes=1)
Action = Callable[["Server", datetime], timedelta]  # returns the time until it is repeated


class Server(Protocol):
    """The server that the simulated devices call."""

    def register(self, identity: str, key: str, now: datetime) -> str:
        """Register a device, whose token is returned. The previous token ends."""

    def connect(
        self, token: str, now: datetime, *, boot_id: str | None, report_number: int | None
    ) -> bool:
        """Return False if the token is not valid."""

    def open_connection(self, identity: str, now: datetime) -> None:
        """Open a push connection, which replaces the earlier one of the identity."""

    def close_connection(self, identity: str) -> None:
        """Close the push connection of an identity."""


@dataclass(slots=True)
class SimulatedDevice:
    """A device that restarts, changes its line, and loses requests and responses.

    Args:
        identity: its hardware identifiers. Clones have the same.
        key: the key of its certificate; "" for none.
        sends: what it sends with a connect.
        keeps_storage: False for a device that registers after each start.
        interval: time between its connects.
        line: mean time until it changes its line and opens a new push connection.
        uptime: mean time until it restarts.
        loss: share of the requests, and of the responses, that are lost.
    """

    identity: str
    seed: int
    key: str = ""
    sends: str = "nothing"  # or "boot id", "number"
    keeps_storage: bool = True
    interval: timedelta = MINUTE
    line: timedelta = timedelta(minutes=20)
    uptime: timedelta = timedelta(hours=12)
    loss: float = 0.05
    number: int = 0
    token: str = field(default="", init=False)
    _random: random.Random = field(init=False)
    _boot_id: str = field(default="", init=False)
    _storage: str = field(default="", init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def store(self, token: str) -> None:
        """Put a token onto the device's disk."""
        self._storage = token

    def start(self, server: Server, now: datetime) -> timedelta:
        """Start the operating system. Return the time until the next start."""
        self._boot_id = f"{self._random.getrandbits(128):032x}"
        self.token = self._storage if self.keeps_storage else ""
        if self.sends == "number" and not self.keeps_storage:
            self.number = 0
        return self._after(self.uptime)

    def connect(self, server: Server, now: datetime) -> timedelta:
        """Connect, registering first if necessary. Return the time until the next connect."""
        while not self.token:
            token = server.register(self.identity, self.key, now)
            now += timedelta(milliseconds=200)
            if not self._is_lost():
                self.token = self._storage = token
        self.number += 1
        for _ in range(3):  # it repeats a request without an answer
            if self._is_lost():
                continue
            is_valid = server.connect(
                self.token,
                now,
                boot_id=self._boot_id if self.sends == "boot id" else None,
                report_number=self.number if self.sends == "number" else None,
            )
            if self._is_lost():
                continue
            if not is_valid:
                self.token = ""
            break
        return self.interval * self._random.uniform(0.9, 1.1)

    def change_line(self, server: Server, now: datetime) -> timedelta:
        """Open a push connection over another line. The server may not have seen the end."""
        if self._random.random() < 0.5:
            server.close_connection(self.identity)
        server.open_connection(self.identity, now)
        return self._after(self.line)

    def _after(self, mean: timedelta) -> timedelta:
        return timedelta(seconds=self._random.expovariate(1 / mean.total_seconds()))

    def _is_lost(self) -> bool:
        return self._random.random() < self.loss


class CopiedPush(SimulatedDevice):
    """One of two devices whose push connections displace each other."""

    def change_line(self, server: Server, now: datetime) -> timedelta:
        server.open_connection(self.identity, now)
        return timedelta(seconds=self._random.uniform(1, 15) * self._random.uniform(0.5, 1.5))


def run(
    devices: Iterable[SimulatedDevice], server: Server, start: datetime, duration: timedelta
) -> None:
    """Let devices act in the order of time."""
    queue: list[tuple[datetime, int, Action]] = []
    for place, device in enumerate(devices):
        actions: tuple[Action, ...] = (device.start, device.connect, device.change_line)
        for delay, action in enumerate(actions):
            at = start + timedelta(seconds=7 * place + delay)
            queue.append((at, len(queue), action))
    heapq.heapify(queue)
    while queue and queue[0][0] < start + duration:
        at, order, action = queue[0]
        heapq.heapreplace(queue, (at + action(server, at), order, action))


def honest_devices(count: int, *, interval: timedelta = MINUTE) -> list[SimulatedDevice]:
    """Return honest devices of all kinds, a few of which restart or change lines constantly."""
    rng, devices = random.Random(19), []
    for seed in range(count):
        devices.append(
            SimulatedDevice(
                identity=f"honest-{seed}",
                seed=seed,
                key=f"key-{seed}" if rng.random() < 0.5 else "",
                sends=rng.choice(("nothing", "boot id", "number")),
                keeps_storage=rng.random() < 0.9,
                interval=interval,
                line=timedelta(minutes=1.5 if rng.random() < 0.02 else rng.uniform(10, 600)),
                uptime=timedelta(minutes=5) if rng.random() < 0.02 else timedelta(hours=12),
                loss=rng.choice((0.01, 0.05, 0.2)),
            )
        )
    return devices


def cloned_pairs(count: int) -> list[tuple[SimulatedDevice, SimulatedDevice]]:
    """Return pairs of devices with one identity.

    The first half have equal hardware identifiers and register both. Those of the second half
    have the same disk: the same key and the same token.
    """
    return [(_clone(seed, 0, count), _clone(seed, 1, count)) for seed in range(count)]


def _clone(seed: int, place: int, count: int) -> SimulatedDevice:
    is_copied, kind = seed >= count // 2, seed % 3
    device_class = CopiedPush if is_copied and kind == 2 else SimulatedDevice
    key = "" if kind == 0 else f"key-{seed}-{place}"
    return device_class(
        identity=f"clone-{seed}",
        seed=1000 + 2 * seed + place,
        key=f"key-{seed}" if is_copied else key,
        sends=("boot id", "number", "nothing")[kind] if is_copied else "nothing",
        number=500 * place,
    )
