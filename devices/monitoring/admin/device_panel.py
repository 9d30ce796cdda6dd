"""The monitoring panel of a device's portal page: its alerts and rules."""

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from devices.metrics.measures import MEASURE
from devices.monitoring.models import Alert, MonitoringRule
from devices.monitoring.services import rules
from devices.registry.extension_points import on_tab
from devices.registry.models import Device

MAX_ALERTS = 10


@on_tab("alerts")
def panel(request: HttpRequest, device: Device) -> SafeString | str:
    """Render the device's alerts and rules, with the source of each threshold."""
    if not request.user.has_perm("monitoring.view_alert"):
        return ""
    context = {
        "alerts": Alert.objects.filter(device=device)[:MAX_ALERTS],
        "rules": [
            {
                "rule": item.rule,
                "is_enabled": item.condition.is_enabled,
                "severity": item.condition.severity,
                "condition": condition_text(item.rule, item.condition.threshold),
                "source": item.sources["threshold"],
            }
            for item in rules.effective_rules(device)
        ],
    }
    return render_to_string("portal/device_monitoring.html", context)


def condition_text(rule: MonitoringRule, threshold: float) -> str:
    """Return a rule's condition as text, such as `CPU above 90 %`."""
    match rule.kind:
        case MonitoringRule.Kind.METRIC:
            measure = MEASURE[rule.measure]
            operator = rule.get_operator_display()
            return f"{measure.label} {operator} {threshold:g} {measure.unit}".strip()
        case MonitoringRule.Kind.SILENCE:
            return f"silent for {threshold:g} min"
        case MonitoringRule.Kind.DRIFT:
            return f"configuration not applied for {threshold:g} min"
        case _:
            return f"certificate expires within {threshold:g} days"


def device_header(request: HttpRequest, device: Device) -> SafeString | str:
    """Render how many alerts of a device are open, if any."""
    if not request.user.has_perm("monitoring.view_alert"):
        return ""
    count = Alert.objects.open().filter(device=device).count()
    if not count:
        return ""
    url = f"{reverse('admin:devices_device_change', args=[device.pk])}?tab=alerts"
    text = f"{count} open alert{'s' if count > 1 else ''}"
    return format_html('<a class="portal-severity critical" href="{}">{}</a>', url, text)
