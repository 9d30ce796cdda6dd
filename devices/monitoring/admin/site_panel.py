"""The alerts panel of a site's portal page."""

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString

from devices.monitoring.models import Alert
from devices.registry.models import Device, Site

MAX_ALERTS = 10


def panel(request: HttpRequest, site: Site) -> SafeString | str:
    """Render the open alerts of the devices at a site, and at the sites in it."""
    if not request.user.has_perm("monitoring.view_alert"):
        return ""
    devices = Device.objects.at_site(str(site.pk))
    alerts = Alert.objects.open().filter(device__in=devices).select_related("device")
    rows = list(alerts.order_by("-opened_at")[: MAX_ALERTS + 1])
    context = {
        "alerts": rows[:MAX_ALERTS],
        "has_more": len(rows) > MAX_ALERTS,
        "list_url": f"{reverse('admin:monitoring_alert_changelist')}?state=open&site={site.pk}",
    }
    return render_to_string("portal/site_alerts.html", context)
