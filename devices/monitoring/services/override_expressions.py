"""Database expressions for the values of a rule after its overrides are applied."""

from functools import cached_property
from typing import Any

from django.db.models import (
    BooleanField,
    F,
    Func,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Value,
)
from django.db.models.functions import Coalesce, NullIf
from django.db.models.lookups import Exact

from devices.monitoring.models import MonitoringRule, RuleOverride
from devices.registry.models import Device


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
        queries = [of_device, of_tags]
        if self._has_site_overrides:
            queries.append(_of_sites(overrides, device))
        return Coalesce(*(Subquery(query.values("value")[:1]) for query in queries), rule_value)

    def is_enabled(self, *, device: str) -> "Exact[Any]":
        """Return the condition that the rule is enabled for a device."""
        enabled = self.value("is_enabled", BooleanField(), device=device)
        return Exact(enabled, Value(True))

    @cached_property
    def _has_site_overrides(self) -> bool:
        return self.has_overrides and self.rule.overrides.filter(site__isnull=False).exists()


def _of_sites(overrides: QuerySet[RuleOverride], device: str) -> QuerySet[Any]:
    """Return the overrides that set a value for the site of a device, the nearest site first."""
    path = Device.objects.filter(pk=OuterRef(OuterRef(device))).values("site__path")[:1]
    level = Func(
        Subquery(path), F("site_id"), function="array_position", output_field=IntegerField()
    )
    with_value: QuerySet[Any] = overrides.filter(~Q(value=None), site__isnull=False)
    with_level = with_value.annotate(level=level)
    nearest_first: QuerySet[Any] = with_level.filter(level__isnull=False).order_by("-level")
    return nearest_first
