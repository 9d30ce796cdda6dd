"""Create, change and archive rules and overrides; resolve them for a device."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Prefetch, Q

from core.querysets import first_or_raise
from core.weekly_times import WeeklyHours, WeeklyTime
from devices.monitoring.conditions import COMPARE, Condition
from devices.monitoring.errors import InvalidRule, NoSuchRule, RuleExists
from devices.monitoring.events import RuleCreated, RuleDeleted, RuleUpdated
from devices.monitoring.models import Alert, MonitoringRule, RuleOverride
from devices.monitoring.services import alert_closing
from devices.monitoring.services.rule_validation import NUMBERS, check_numbers, complete
from devices.registry.models import Device, DeviceTag
from devices.registry.services.sites import require_site
from events.domain_events import Changes
from events.services.outbox import record

Scope = MonitoringRule.Scope
OVERRIDABLE = ("threshold", "clear_threshold", "lasting_seconds", "severity")


@transaction.atomic
def create(*, now: datetime, **fields: Any) -> MonitoringRule:
    """Create a rule of the current tenant.

    Args:
        fields: fields of `MonitoringRule`.

    Raises:
        InvalidRule: a field is invalid.
        RuleExists: the tenant has a rule with this name.
    """
    for name in ("site", "tag", "device"):
        if fields.get(name) is not None and fields.get("scope", Scope.ALL) != name:
            # Otherwise the rule would silently be about all devices.
            sentence = f"A {name} is only allowed with the scope {name}."
            raise InvalidRule(sentence, field=name)
    rule = MonitoringRule(created_at=now, **fields)
    complete(rule)
    _save(rule, force_insert=True)
    record([RuleCreated(**_event_fields(rule, now))])
    return rule


@transaction.atomic
def update(*, rule: MonitoringRule, now: datetime, **fields: Any) -> MonitoringRule:
    """Change a rule. If it is now disabled for all devices, close its alerts.

    Args:
        fields: the fields of `MonitoringRule` to change.

    Raises:
        InvalidRule: a field is invalid.
        RuleExists: the tenant has another rule with this name.
        NoSuchRule: the rule was archived in the meantime.
    """
    locked_rule: MonitoringRule = first_or_raise(
        MonitoringRule.objects.select_for_update().filter(pk=rule.pk), NoSuchRule
    )
    before = {name: getattr(locked_rule, name) for name in fields}
    for name, value in fields.items():
        setattr(locked_rule, name, value)
    complete(locked_rule)
    _save(locked_rule)
    changes = _changes(before, {name: getattr(locked_rule, name) for name in fields})
    if changes:
        record([RuleUpdated(**_event_fields(locked_rule, now), changes=changes)])
    if not locked_rule.is_enabled and not locked_rule.overrides.filter(is_enabled=True).exists():
        _settle_alerts(locked_rule, now)
    return locked_rule


@transaction.atomic
def archive(*, rule: MonitoringRule, now: datetime) -> None:
    """Archive a rule and close its alerts, which stay readable with their comments.

    The name can be used for another rule. A repeated call has no effect.
    """
    if MonitoringRule.objects.filter(pk=rule.pk).update(archived_at=now):
        _settle_alerts(rule, now)
        record([RuleDeleted(**_event_fields(rule, now))])


@transaction.atomic
def override(
    *, rule: MonitoringRule, subject: Mapping[str, Any], now: datetime, **fields: Any
) -> RuleOverride:
    """Set the override of a rule for a site, tag or device. An existing override is replaced.

    Values equal to those of the rule are not stored, so that later changes of the rule apply.

    Args:
        subject: the keys `site`, `tag` and `device`. Exactly one of the values is not None.
        fields: values of `RuleOverride`. For None or "", the value of the rule is used.

    Raises:
        InvalidRule: a value is invalid, or no value differs from the rule.
    """
    if sum(value is not None for value in subject.values()) != 1:
        message = "Enter one of a site, a tag or a device."
        raise InvalidRule(message, field="tag")
    if rule.kind != MonitoringRule.Kind.METRIC:
        fields = {**fields, "clear_threshold": None, "lasting_seconds": None}
    values = {
        name: _none_if_equal(rule, name, fields.get(name)) for name in (*OVERRIDABLE, "is_enabled")
    }
    if all(value in (None, "") for value in values.values()):
        raise InvalidRule("At least one value must differ from the rule.")
    overridden = {name: value for name, value in values.items() if value not in (None, "")}
    check_numbers({name: getattr(rule, name) for name in NUMBERS} | overridden, rule)
    values["severity"] = values["severity"] or ""
    require_site(subject.get("site"))
    result: RuleOverride
    result, _ = RuleOverride.objects.update_or_create(rule=rule, **subject, defaults=values)
    changes: Changes = {"override": (None, str(result))}
    record([RuleUpdated(**_event_fields(rule, now), changes=changes)])
    return result


@transaction.atomic
def remove_override(*, override: RuleOverride, now: datetime) -> None:
    """Delete an override, so that the rule itself applies to the site, tag or device."""
    changes: Changes = {"override": (str(override), None)}
    record([RuleUpdated(**_event_fields(override.rule, now), changes=changes)])
    override.delete()


@dataclass(frozen=True, slots=True)
class EffectiveRule:
    """A rule as it applies to one device, and the source of each value."""

    rule: MonitoringRule
    condition: Condition
    sources: dict[str, str]  # by field: "rule", "site Shop", "tag hall" or "device"


def condition_of(rule: MonitoringRule, *overrides: RuleOverride) -> Condition:
    """Return a rule's condition with overrides applied. Earlier overrides take precedence."""
    values = {name: getattr(rule, name) for name in (*OVERRIDABLE, "is_enabled")}
    for override in reversed(overrides):
        for name in values:
            value = getattr(override, name)
            if value not in (None, ""):
                values[name] = value
    duration = timedelta(seconds=values.pop("lasting_seconds"))
    return Condition(operator=rule.operator, duration=duration, **values)


def effective_rules(device: Device) -> list[EffectiveRule]:
    """Return every rule whose scope includes the device, with overrides applied."""
    device_tags = DeviceTag.objects.filter(device=device).order_by("tag__name")
    tag_ids = list(device_tags.values_list("tag_id", flat=True))
    path: list[UUID] = device.site.path if device.site else []
    of_device = Q(device=device) | Q(tag__in=tag_ids) | Q(site__in=path)
    device_overrides: Any = Prefetch(
        "overrides", RuleOverride.objects.filter(of_device).select_related("tag", "site")
    )
    results = []
    for rule in MonitoringRule.objects.prefetch_related(device_overrides):
        is_about_device = rule.tag_id in tag_ids or rule.device_id == device.pk
        if rule.scope == rule.Scope.ALL or is_about_device or rule.site_id in path:
            overrides = _by_precedence(rule.overrides.all(), tag_ids, path)
            condition = condition_of(rule, *overrides)
            results.append(EffectiveRule(rule, condition, _sources(overrides)))
    return results


class Conditions:
    """The condition of a rule for each device, with all overrides loaded in memory."""

    def __init__(self, rule: MonitoringRule) -> None:
        self.rule = rule
        overrides = list(rule.overrides.select_related("tag", "site").order_by("tag__name"))
        self._by_device = {item.device_id: item for item in overrides if item.device_id}
        by_tag = {item.tag_id: item for item in overrides if item.tag_id}
        self._by_tagged_device: dict[UUID, RuleOverride] = {}
        device_tags = DeviceTag.objects.filter(tag__in=by_tag).order_by("-tag__name")
        for device_id, tag_id in device_tags.values_list("device_id", "tag_id"):
            # The names are in descending order, so that the first tag by name is kept.
            self._by_tagged_device[device_id] = by_tag[tag_id]

        self._by_site = {item.site_id: item for item in overrides if item.site_id}
        at_sites = Device.objects.filter(site__path__overlap=list(self._by_site))
        self._paths: dict[UUID, list[UUID]] = (
            dict(at_sites.values_list("pk", "site__path")) if self._by_site else {}
        )

    def of(self, device_id: UUID) -> Condition:
        return condition_of(self.rule, *self._overrides(device_id))

    def is_disabled(self, device_id: UUID) -> bool:
        """Return True if an override disables the rule for the device.

        The setting of the rule itself is ignored.
        """
        for override in self._overrides(device_id):
            if override.is_enabled is not None:
                return not override.is_enabled
        return False

    def loosest_threshold(self) -> float:
        """Return the threshold that is easiest to violate, among the rule and its overrides."""
        overrides = [
            *self._by_device.values(),
            *self._by_tagged_device.values(),
            *self._by_site.values(),
        ]
        thresholds = [item.threshold for item in overrides if item.threshold is not None]
        opens_above = COMPARE[self.rule.operator](1, 0)
        return (min if opens_above else max)([self.rule.threshold, *thresholds])

    def _overrides(self, device_id: UUID) -> list[RuleOverride]:
        candidates = (
            self._by_device.get(device_id),
            self._by_tagged_device.get(device_id),
            *(self._by_site.get(site) for site in reversed(self._paths.get(device_id, []))),
        )
        return [item for item in candidates if item is not None]


def opening_hours(rule: MonitoringRule) -> WeeklyHours:
    """Return the times at which a rule may open alerts."""
    hours = WeeklyTime.from_iso_weekdays(rule.weekdays, rule.opens_at, rule.closes_at)
    return WeeklyHours((hours,), rule.time_zone)


def _settle_alerts(rule: MonitoringRule, now: datetime) -> None:
    alerts = Alert.objects.unsettled().filter(rule=rule).values_list("pk", flat=True)
    closing = Alert.Closing.NOT_WATCHED
    alert_closing.settle_alerts(list(alerts), closing=closing, now=now)


def _by_precedence(
    overrides: Iterable[RuleOverride], tag_ids: list[Any], path: list[UUID]
) -> list[RuleOverride]:
    """Return the overrides of the device, of its first tag by name, and of its sites."""
    items = list(overrides)
    of_device = [item for item in items if item.device_id is not None]
    of_tags = [item for item in items if item.tag_id is not None]
    by_site = {item.site_id: item for item in items if item.site_id is not None}
    return [
        *of_device,
        *sorted(of_tags, key=lambda item: tag_ids.index(item.tag_id))[:1],
        *(by_site[site] for site in reversed(path) if site in by_site),
    ]


def _sources(overrides: list[RuleOverride]) -> dict[str, str]:
    sources = {}
    for name in (*OVERRIDABLE, "is_enabled"):
        sources[name] = "rule"
        for override in reversed(overrides):
            if getattr(override, name) not in (None, ""):
                sources[name] = _source(override)
    return sources


def _source(override: RuleOverride) -> str:
    if override.site is not None:
        return f"site {override.site}"
    return f"tag {override.tag}" if override.tag else "device"


def _none_if_equal(rule: MonitoringRule, name: str, value: Any) -> Any:
    return None if value == getattr(rule, name) else value


def _save(rule: MonitoringRule, *, force_insert: bool = False) -> None:
    require_site(rule.site)
    try:
        with transaction.atomic():
            rule.save(force_insert=force_insert)
    except IntegrityError as error:
        if "rule_once" not in str(error):
            raise
        message = f"A rule named {rule.name!r} already exists."
        raise RuleExists(message, field="name") from error


def _event_fields(rule: MonitoringRule, now: datetime) -> dict[str, Any]:
    return {"tenant_id": rule.tenant_id, "at": now, "rule_id": str(rule.pk), "rule_name": rule.name}


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    return {
        name: (_json_value(before[name]), _json_value(after[name]))
        for name in after
        if before[name] != after[name]
    }


def _json_value(value: Any) -> Any:
    """Return a value that JSON can represent; other values become strings."""
    is_json = value is None or isinstance(value, bool | int | float | str | list)
    return value if is_json else str(value)
