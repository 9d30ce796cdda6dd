"""Database expressions for the values of a rule after its overrides are applied."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db.models import BooleanField, Case, Exists, F, OuterRef, Subquery, Value, When
from django.db.models.functions import Coalesce, NullIf
from django.db.models.lookups import Exact

from devices.monitoring.models import MonitoringRule, RuleOverride
from devices.registry.models import Device
from devices.registry.services.sites import ids_below


class OverrideExpressions:
    """The values of a rule for each device.

    The override of the device takes precedence over the override of its first tag by name,
    which takes precedence over the override of its nearest site, and then over the rule.
    """

    def __init__(self, rule: MonitoringRule) -> None:
        self.rule = rule
        self.has_overrides = rule.overrides.exists()

    def value(self, name: str, field: Any, *, device: str = "subject_id") -> Any:
        """Return an expression for the value of a rule's field.

        Args:
            name: name of the field.
            field: the output field of the expression.
            device: the column of the query that has the device's id.
        """
        rule_value = Value(getattr(self.rule, name), output_field=field)
        if not self.has_overrides:
            return rule_value
        value = NullIf(F(name), Value("")) if name == "severity" else F(name)
        overrides = RuleOverride.objects.filter(rule=self.rule).annotate(value=value)
        of_device = overrides.filter(device_id=OuterRef(device))
        of_tags = overrides.filter(tag__device_tags__device_id=OuterRef(device)).order_by(
            "tag__name"
        )
        return Coalesce(
            Subquery(of_device.values("value")[:1]),
            Subquery(of_tags.values("value")[:1]),
            *self._of_sites(name, field, device),
            rule_value,
        )

    def is_enabled(self, *, device: str) -> "Exact[Any]":
        """Return the condition that the rule is enabled for a device."""
        enabled = self.value("is_enabled", BooleanField(), device=device)
        return Exact(enabled, Value(True))

    def _of_sites(self, name: str, field: Any, device: str) -> Sequence[Case]:
        cases = []
        for site_ids, override in self._site_overrides:
            if (value := getattr(override, name)) not in (None, ""):
                devices = Device.objects.filter(pk=OuterRef(device), site__in=site_ids)
                cases.append(When(Exists(devices), then=Value(value, output_field=field)))
        return [Case(*cases, default=None, output_field=field)] if cases else []

    @cached_property
    def _site_overrides(self) -> list[tuple[list[UUID], RuleOverride]]:
        """The overrides for sites, the lowest level first, each with the sites it is for."""
        overrides = self.rule.overrides.filter(site__isnull=False).select_related("site")
        by_level = sorted(overrides, key=lambda item: -len(item.site.path if item.site else ()))
        return [(ids_below(item.site_id), item) for item in by_level if item.site_id]
