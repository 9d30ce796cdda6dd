"""The certificates of a device, on its portal page."""

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from certificates.models import DeviceCertificate
from devices.registry.extension_points import on_tab
from devices.registry.models import Device

MAX_CERTIFICATES = 50  # newest first


@on_tab("certificates")
def panel(request: HttpRequest, device: Device) -> SafeString | str:
    """Render the certificates of a device with their downloads."""
    if not request.user.has_perm("certificates.view_devicecertificate"):
        return ""
    rows = DeviceCertificate.objects.signed().of_device(device.pk).order_by("-reserved_at")
    context = {
        "certificates": list(rows[:MAX_CERTIFICATES]),
        "device": device,
        "may_issue": request.user.has_perm("devices.change_device")
        and device.status != Device.Status.RETIRED,
    }
    return render_to_string("portal/device_certificates.html", context)
