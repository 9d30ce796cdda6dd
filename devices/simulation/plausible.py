"""What a box in the field would report at a moment: days, nights, a few sick ones. Pure."""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Any

MODELS = ("X96", "X96-Max", "TX6", "H96-Pro")
APP_VERSIONS = ("2.0.4", "2.1.0", "2.1.0", "2.1.0", "2.2.0")
HEALTHY, HOT, LEAKING, FAR_AWAY = "healthy", "hot", "leaking", "far_away"
STUBBORN = "stubborn"  # its panel cannot be turned
AILMENTS = (
    *((HEALTHY,) * 92 + (HOT,) * 2 + (LEAKING,) * 2),
    *((FAR_AWAY,) * 2 + (STUBBORN,) * 2),
)
OPENS, CLOSES = 7, 22  # hours, by the clock on its wall


@dataclass(frozen=True, slots=True)
class Temper:
    """What is particular about one box, and stays so."""

    model: str
    app_version: str
    ailment: str
    hours_ahead: int  # of UTC
    idle: float  # % of its processor
    ram_total_mb: int
    storage_used_mb: int
    signal: float  # dBm

    def is_open(self, at: datetime) -> bool:
        local = at + timedelta(hours=self.hours_ahead)
        return OPENS <= local.hour < CLOSES


def temper(random: Random) -> Temper:
    ailment = random.choice(AILMENTS)
    return Temper(
        model=random.choice(MODELS),
        app_version=random.choice(APP_VERSIONS),
        ailment=ailment,
        hours_ahead=random.choice((0, 1, 1, 1, 2, 2)),
        idle=random.uniform(3, 9),
        ram_total_mb=random.choice((2048, 2048, 4096)),
        storage_used_mb=random.randint(2500, 6000),
        signal=random.uniform(-85, -75)
        if ailment == FAR_AWAY
        else random.uniform(-66, -42),
    )


def sample(temper: Temper, at: datetime, random: Random) -> dict[str, Any]:
    """A sample as `POST /devices/metrics` takes it."""
    works = temper.is_open(at)
    hour = at.hour + at.minute / 60 + temper.hours_ahead
    swing = math.sin((hour - 8) / 24 * 2 * math.pi)  # busiest in the afternoon
    processor = temper.idle + (22 + 8 * swing if works else 0) + random.gauss(0, 3)
    memory = 0.38 + (0.08 if works else 0) + random.gauss(0, 0.01)
    if temper.ailment == HOT:
        processor += 62 if works else 20
    if temper.ailment == LEAKING:  # until it is started again, each night
        memory += 0.5 * ((hour - 3) % 24) / 24
    processor = min(100.0, max(0.5, processor))
    return {
        "recorded_at": at.isoformat(),
        "cpu_usage": round(processor, 1),
        "ram_used_mb": round(temper.ram_total_mb * min(0.99, memory)),
        "ram_total_mb": temper.ram_total_mb,
        "storage_used_mb": temper.storage_used_mb + random.randint(0, 40),
        "storage_total_mb": 8192,
        "temperature": round(38 + processor * 0.4 + random.gauss(0, 1), 1),
        "network": {
            "type": "wifi",
            "ssid": "signage",
            "signal_strength": round(temper.signal + random.gauss(0, 2)),
            "latency": round(max(4.0, random.lognormvariate(3, 0.5)), 1),
        },
        "running_apps": ["com.btmanagement.player"],
        "screen": {"is_on": works, "brightness": 200 if works else 0},
    }
