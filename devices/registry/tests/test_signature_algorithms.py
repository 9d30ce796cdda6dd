"""A device says with which algorithms it can verify signatures."""

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from devices.registry.models import Device, DeviceHardware, EnrollmentToken

pytestmark = pytest.mark.django_db
ANDROID = {"android_id": "a1b2c3d4e5f60718"}


@pytest.fixture
def register(enrollment: Callable[..., tuple[EnrollmentToken, APIClient]]) -> Callable[..., Any]:
    """Return a function that registers a device and returns the response."""

    _, client = enrollment()

    def send(**fields: Any) -> Any:
        body = {"serial_number": "SN-123456", **fields}
        return client.post("/devices/auto-register", body).json()

    return send


@pytest.mark.parametrize(
    ("fields", "algorithm"),
    [
        ({}, "EdDSA"),
        ({"os_version": "9"}, "EdDSA"),  # nothing says that it is Android
        ({**ANDROID, "os_version": "9"}, "ES256"),
        ({**ANDROID, "os_version": "12.1"}, "ES256"),
        ({**ANDROID, "os_version": "Android 11"}, "ES256"),
        ({**ANDROID, "os_version": "13"}, "EdDSA"),
        ({**ANDROID, "os_version": "14"}, "EdDSA"),
        ({**ANDROID, "os_version": "unknown"}, "EdDSA"),
        ({**ANDROID, "os_version": "20240101"}, "EdDSA"),  # a date is no version
        ({**ANDROID, "os_version": "9", "signature_algorithms": ["EdDSA"]}, "EdDSA"),
        ({"signature_algorithms": ["ES256"]}, "ES256"),
        ({"signature_algorithms": ["ES256", "EdDSA"]}, "EdDSA"),
        ({"signature_algorithms": ["RS256", "ES256"]}, "ES256"),
        ({"signature_algorithms": ["RS256"]}, "EdDSA"),
        ({"signature_algorithms": "ES256"}, "ES256"),
        ({"signature_algorithms": 256}, "EdDSA"),
    ],
)
def test_the_algorithm_is_one_that_the_device_can_verify(
    register: Callable[..., Any], fields: dict[str, Any], algorithm: str
) -> None:
    assert register(**fields)["device"]["signature_algorithm"] == algorithm


def test_a_device_that_registers_again_keeps_its_algorithm_unless_it_says_otherwise(
    register: Callable[..., Any],
) -> None:
    register(signature_algorithms=["ES256"])

    assert register()["device"]["signature_algorithm"] == "ES256"
    again = register(signature_algorithms=["EdDSA"])
    assert again["device"]["signature_algorithm"] == "EdDSA"
    assert again["ignored"] == []


def test_a_device_entered_by_hand_gets_its_algorithm_when_it_registers_first(
    register: Callable[..., Any], member: Callable[..., APIClient]
) -> None:
    member().post("/devices", {"serial_number": "SN-123456"})

    register(**ANDROID, os_version="9")

    hardware = DeviceHardware.every_tenant.get(device=Device.every_tenant.get())
    assert hardware.signature_algorithm == "ES256"
