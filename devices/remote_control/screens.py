"""How large a device's screen is, as it shows its picture now."""

from devices.models import Device, DeviceHardware
from devices.remote_control.models import Screenshot


def size_of(device: Device) -> tuple[int, int] | None:
    """Width and height in pixels; None where nobody has said.

    The box says what its panel has; whether that is upright, its last picture shows.
    """
    hardware = DeviceHardware.objects.filter(device=device).first()
    shot = Screenshot.objects.filter(device=device).values("width", "height").first()
    if hardware is None or not (hardware.screen_width and hardware.screen_height):
        return (shot["width"], shot["height"]) if shot else None
    long, short = sorted((hardware.screen_width, hardware.screen_height))[::-1]
    if shot is None:
        return hardware.screen_width, hardware.screen_height
    return (long, short) if shot["width"] >= shot["height"] else (short, long)
