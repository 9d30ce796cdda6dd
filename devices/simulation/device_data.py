"""Generate plausible metrics of devices, with daily cycles and a few faulty devices."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

MODELS = ("X96", "X96-Max", "TX6", "H96-Pro")
APP_VERSIONS = ("2.0.4", "2.1.0", "2.1.0", "2.1.0", "2.2.0")
HEALTHY, HOT, LEAKING, WEAK_SIGNAL = "healthy", "hot", "leaking", "weak_signal"
FIXED_ORIENTATION = "fixed_orientation"  # the panel does not support portrait
CONDITIONS = (
    (HEALTHY,) * 92 + (HOT,) * 2 + (LEAKING,) * 2 + (WEAK_SIGNAL,) * 2 + (FIXED_ORIENTATION,) * 2
)
OPENING_HOUR, CLOSING_HOUR = 7, 22  # in local time


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """The fixed properties of one simulated device."""

    model: str
    app_version: str
    condition: str
    hours_ahead: int  # of UTC
    idle_load: float  # CPU usage in percent while the site is closed
    ram_total_mb: int
    storage_used_mb: int
    signal_strength: float  # dBm

    def is_open(self, at: datetime) -> bool:
        """Return True during the opening hours of the site."""
        local = at + timedelta(hours=self.hours_ahead)
        return OPENING_HOUR <= local.hour < CLOSING_HOUR


def random_profile(random: Random) -> DeviceProfile:
    """Choose the properties of a device. The same seed gives the same device."""
    condition = random.choice(CONDITIONS)
    return DeviceProfile(
        model=random.choice(MODELS),
        app_version=random.choice(APP_VERSIONS),
        condition=condition,
        hours_ahead=random.choice((0, 1, 1, 1, 2, 2)),
        idle_load=random.uniform(3, 9),
        ram_total_mb=random.choice((2048, 2048, 4096)),
        storage_used_mb=random.randint(2500, 6000),
        signal_strength=random.uniform(-85, -75)
        if condition == WEAK_SIGNAL
        else random.uniform(-66, -42),
    )


def sample(profile: DeviceProfile, at: datetime, random: Random) -> dict[str, Any]:
    """Generate one sample in the format of `POST /devices/metrics`.

    Args:
        profile: The properties of the device.
        at: The time of the sample.
        random: The source of the noise.
    """
    is_open = profile.is_open(at)
    hour = at.hour + at.minute / 60 + profile.hours_ahead
    daily_variation = math.sin((hour - 8) / 24 * 2 * math.pi)  # busiest in the afternoon
    cpu_usage = (
        profile.idle_load + (22 + 8 * daily_variation if is_open else 0) + random.gauss(0, 3)
    )
    ram_share = 0.38 + (0.08 if is_open else 0) + random.gauss(0, 0.01)
    if profile.condition == HOT:
        cpu_usage += 62 if is_open else 20
    if profile.condition == LEAKING:  # usage grows until the nightly restart
        ram_share += 0.5 * ((hour - 3) % 24) / 24
    cpu_usage = min(100.0, max(0.5, cpu_usage))
    return {
        "recorded_at": at.isoformat(),
        "cpu_usage": round(cpu_usage, 1),
        "ram_used_mb": round(profile.ram_total_mb * min(0.99, ram_share)),
        "ram_total_mb": profile.ram_total_mb,
        "storage_used_mb": profile.storage_used_mb + random.randint(0, 40),
        "storage_total_mb": 8192,
        "temperature": round(38 + cpu_usage * 0.4 + random.gauss(0, 1), 1),
        "network": {
            "type": "wifi",
            "ssid": "signage",
            "signal_strength": round(profile.signal_strength + random.gauss(0, 2)),
            "latency": round(max(4.0, random.lognormvariate(3, 0.5)), 1),
        },
        "running_apps": ["com.btmanagement.player"],
        "screen": {"is_on": is_open, "brightness": 200 if is_open else 0},
    }
