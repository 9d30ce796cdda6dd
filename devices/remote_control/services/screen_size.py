"""How large a device's screen is, as it shows its picture now."""

from devices.registry.models import Device, DeviceHardware
from devices.remote_control.models import Screenshot


def size_of(device: Device) -> tuple[int, int] | None:
    """Width and height in pixels; None where nobody has said.

    The box says what its panel has; whether that is upright, its last picture shows.
    """
    hardware = DeviceHardware.objects.filter(device=device).first()
    shots = Screenshot.objects.filter(device=device)
    if hardware is None or not (hardware.screen_width and hardware.screen_height):
        whole = shots.exclude(command__parameters__has_key="max_width")
        found = whole.values_list("width", "height").first()
        return found and (found[0], found[1])
    shot = shots.values("width", "height").first()
    long, short = sorted((hardware.screen_width, hardware.screen_height))[::-1]
    if shot is None:
        return hardware.screen_width, hardware.screen_height
    return (long, short) if shot["width"] >= shot["height"] else (short, long)
