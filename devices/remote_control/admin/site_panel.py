"""The screens panel of a site's portal page."""

from urllib.parse import urlencode

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString

from devices.registry.models import Device, Site
from devices.remote_control.admin import screens_page
from devices.remote_control.admin.control_page import VIEW

MAX_SCREENS = 6


def panel(request: HttpRequest, site: Site) -> SafeString | str:
    """Render the last screenshots of the devices at a site, and at the sites in it."""
    if not request.user.has_perm(VIEW):
        return ""
    devices = Device.objects.at_site(str(site.pk))
    screens = screens_page.screens_of(devices, 0, MAX_SCREENS)
    if not screens:
        return ""
    query = urlencode({"site": site.name})
    context = {"screens": screens, "wall_url": f"{reverse('admin:screens')}?{query}"}
    return render_to_string("portal/site_screens.html", context)
