"""What is watched of a device and what was found, on its page in the portal."""

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from devices.metrics.measures import MEASURE
from devices.monitoring.models import Alert, MonitoringRule
from devices.monitoring.services import rules
from devices.registry.models import Device

MAX_ALERTS = 10


def panel(request: HttpRequest, device: Device) -> SafeString | str:
    """The device's alerts, and each rule with where its threshold comes from."""
    if not request.user.has_perm("monitoring.view_alert"):
        return ""
    context = {
        "alerts": Alert.objects.filter(device=device)[:MAX_ALERTS],
        "rules": [
            {
                "rule": item.rule,
                "is_enabled": item.condition.is_enabled,
                "severity": item.condition.severity,
                "words": condition_in_words(item.rule, item.condition.threshold),
                "source": item.sources["threshold"],
            }
            for item in rules.effective(device)
        ],
    }
    return render_to_string("portal/device_monitoring.html", context)


def condition_in_words(rule: MonitoringRule, threshold: float) -> str:
    """`CPU above 90 %`."""
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
            return f"certificate ends within {threshold:g} days"
