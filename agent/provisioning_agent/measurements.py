"""Measure a Linux device: the fields of a sample (docs/devices.md, Report metrics)."""

import os
from pathlib import Path
from typing import Any

MB = 1 << 20


class LinuxMeasurements:
    """Read the values of one device from `/proc` and `/sys`. What does not exist is left out.

    Args:
        root: folder that contains `proc` and `sys`.
        storage: path on the file system whose use is reported.
    """

    def __init__(self, root: Path = Path("/"), storage: Path = Path("/")) -> None:
        self.root, self.storage = root, storage
        self._cpu_times = self._read_cpu_times()

    def sample(self) -> dict[str, Any]:
        """Return the present values, without a time."""
        return {**self._cpu(), **self._memory(), **self._storage(), **self._temperature()}

    def _cpu(self) -> dict[str, float]:
        """Return the CPU usage since the last call in percent."""
        before, self._cpu_times = self._cpu_times, self._read_cpu_times()
        if before is None or self._cpu_times is None:
            return {}
        total, idle = (now - then for now, then in zip(self._cpu_times, before, strict=True))
        return {"cpu_usage": round(100 * (1 - idle / total), 1)} if total > 0 else {}

    def _read_cpu_times(self) -> tuple[int, int] | None:
        """Return the total and the idle time since the start, in ticks (proc(5))."""
        try:
            words = (self.root / "proc/stat").read_text().splitlines()[0].split()[1:9]
            ticks = [int(word) for word in words]
            return sum(ticks), ticks[3] + ticks[4]
        except (OSError, ValueError, IndexError):
            return None

    def _memory(self) -> dict[str, int]:
        try:
            lines = (self.root / "proc/meminfo").read_text().splitlines()
            kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
            total, available = kilobytes["MemTotal"], kilobytes["MemAvailable"]
        except (OSError, ValueError, IndexError, KeyError):
            return {}
        return {"ram_total_mb": total // 1024, "ram_used_mb": (total - available) // 1024}

    def _storage(self) -> dict[str, int]:
        try:
            values = os.statvfs(self.storage)
        except OSError:
            return {}
        total = values.f_blocks * values.f_frsize
        used = total - values.f_bfree * values.f_frsize
        return {"storage_total_mb": total // MB, "storage_used_mb": used // MB}

    def _temperature(self) -> dict[str, float]:
        for path in sorted((self.root / "sys/class/thermal").glob("thermal_zone*/temp")):
            try:
                return {"temperature": round(int(path.read_text()) / 1000, 1)}
            except (OSError, ValueError):
                continue
        return {}


def boot_id(root: Path = Path("/")) -> str:
    """Return the id of this start of the operating system, or an empty string."""
    try:
        return (root / "proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
