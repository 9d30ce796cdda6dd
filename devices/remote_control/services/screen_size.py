"""The size of a device's screen in its current orientation."""

from devices.registry.models import Device, DeviceHardware
from devices.remote_control.models import Screenshot


def size_of(device: Device) -> tuple[int, int] | None:
    """Return the width and height of the screen in pixels, or None if they are unknown.

    The device reports the size of its panel. The last screenshot shows whether the
    panel is mounted upright. If the device has not reported a size, the
    size is that of the last screenshot of full size.
    """
    hardware = DeviceHardware.objects.filter(device=device).first()
    screenshots = Screenshot.objects.filter(device=device)
    if hardware is None or not (hardware.screen_width and hardware.screen_height):
        full_size = screenshots.exclude(command__parameters__has_key="max_width")
        size = full_size.values_list("width", "height").first()
        return size and (size[0], size[1])
    last = screenshots.values("width", "height").first()
    long, short = sorted((hardware.screen_width, hardware.screen_height))[::-1]
    if last is None:
        return hardware.screen_width, hardware.screen_height
    return (long, short) if last["width"] >= last["height"] else (short, long)
