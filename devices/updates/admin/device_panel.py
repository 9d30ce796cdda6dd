"""The panel of software updates on a device's page."""

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString

from devices.registry.extension_points import on_tab
from devices.registry.models import Device
from devices.updates.models import UpdateStatus

VIEW = "updates.view_updatestatus"
MAX_UPDATES = 5  # on the device's page
COLOURS = {"completed": "good", "failed": "bad"}


@on_tab("updates")
def panel(request: HttpRequest, device: Device) -> SafeString | str:
    """Render the newest updates of a device.

    Return an empty string if the user may not view updates.
    """
    if not request.user.has_perm(VIEW):
        return ""
    rows = UpdateStatus.objects.filter(device=device).select_related("deployment")
    history = reverse("admin:updates_updatestatus_changelist")
    context = {
        "updates": [
            (
                row,
                COLOURS.get(row.status, ""),
                reverse("admin:updates_deployment_change", args=[row.deployment_id]),
            )
            for row in rows[:MAX_UPDATES]
        ],
        "history": f"{history}?device__id__exact={device.pk}",
    }
    return render_to_string("portal/device_updates.html", context)
