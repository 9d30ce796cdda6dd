"""The panel of what a device sends over the hawkBit API, on the device's page."""

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from devices.hawkbit.models import HawkbitAction, HawkbitTarget
from devices.registry.extension_points import on_tab
from devices.registry.models import Device

VIEW = "updates.view_updatestatus"


@on_tab("updates")
def panel(request: HttpRequest, device: Device) -> SafeString | str:
    """Render the attributes of a device and its messages about the newest update, if any."""
    if not request.user.has_perm(VIEW):
        return ""
    target = HawkbitTarget.objects.filter(device=device).first()
    action = HawkbitAction.objects.filter(device=device).order_by("-id").first()
    attributes = sorted(target.attributes.items()) if target else []
    messages = action.messages if action else []
    if not attributes and not messages:
        return ""
    context = {"target": target, "attributes": attributes, "messages": messages}
    return render_to_string("portal/device_hawkbit.html", context)
