"""Software updates on a device's page."""

from django.http import HttpRequest

from devices.models import Device


def panel(request: HttpRequest, device: Device) -> str:
    return ""
