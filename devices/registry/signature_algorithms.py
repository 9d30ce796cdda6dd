"""With which algorithm the server signs what a device verifies: commands, orders and packages."""

import re

from devices.registry.device_report import DeviceReport
from devices.registry.models import Device, DeviceHardware

EDDSA, ES256 = "EdDSA", "ES256"  # RFC 8037 §3.1 with Ed25519, RFC 7518 §3.4 with P-256
ALGORITHMS = (EDDSA, ES256)  # the preferred one first
FIRST_ANDROID_WITH_ED25519 = 13


def choose(report: DeviceReport) -> str:
    """Return the algorithm for a device that registers.

    A device says which algorithms it can verify. Otherwise it is the one that its operating
    system has: Android has Ed25519 since version 13.
    """
    for algorithm in ALGORITHMS:
        if algorithm in report.signature_algorithms:
            return algorithm
    version = re.match(r"(?:Android )?(\d{1,3})(?!\d)", report.os_version, re.IGNORECASE)
    is_android = bool(report.android_id)
    if is_android and version and int(version[1]) < FIRST_ANDROID_WITH_ED25519:
        return ES256
    return EDDSA


def of_device(device: Device) -> str:
    """Return the algorithm for a device."""
    rows = DeviceHardware.objects.filter(device=device)
    return rows.values_list("signature_algorithm", flat=True).first() or EDDSA
