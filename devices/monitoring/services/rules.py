"""What is done to rules and their overrides, and what holds for one device."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import Prefetch, Q

from devices.monitoring.conditions import HOLDS, Condition, OpeningHours
from devices.monitoring.errors import InvalidRule, NoSuchRule, RuleExists
from devices.monitoring.events import RuleCreated, RuleDeleted, RuleUpdated
from devices.monitoring.models import Alert, MonitoringRule, RuleOverride
from devices.monitoring.services import alert_closing
from devices.monitoring.services.rule_validation import NUMBERS, check_numbers, complete
from devices.registry.models import Device, DeviceTag
from events.domain_events import Changes
from events.services.outbox import record

OVERRIDABLE = ("threshold", "clear_threshold", "lasting_seconds", "severity")


@transaction.atomic
def create(*, now: datetime, **said: Any) -> MonitoringRule:
    """A new rule of the current tenant.

    Raises:
        InvalidRule: what it says cannot be.
        RuleExists: there is one of this name.
    """
    rule = MonitoringRule(created_at=now, **said)
    complete(rule)
    _save(rule, force_insert=True)
    record([RuleCreated(**_about(rule, now))])
    return rule


@transaction.atomic
def update(*, rule: MonitoringRule, now: datetime, **said: Any) -> MonitoringRule:
    """Change a rule; alerts of a rule that is switched off are closed.

    Raises:
        InvalidRule, RuleExists: as for a new one.
    """
    held = MonitoringRule.objects.select_for_update().filter(pk=rule.pk).first()
    if held is None:
        raise NoSuchRule
    before = {name: getattr(held, name) for name in said}
    for name, value in said.items():
        setattr(held, name, value)
    complete(held)
    _save(held)
    changes = _changes(before, {name: getattr(held, name) for name in said})
    if changes:
        record([RuleUpdated(**_about(held, now), changes=changes)])
    if not held.is_enabled and not held.overrides.filter(is_enabled=True).exists():
        unsettled = Alert.objects.unsettled().filter(rule=held)
        alert_closing.settle(unsettled, closing=Alert.Closing.NOT_WATCHED, now=now)
    return held


@transaction.atomic
def delete(*, rule: MonitoringRule, now: datetime) -> None:
    """Remove a rule with its alerts; the events tell of them further on."""
    unsettled = Alert.objects.unsettled().filter(rule=rule)
    alert_closing.settle(unsettled, closing=Alert.Closing.NOT_WATCHED, now=now)
    record([RuleDeleted(**_about(rule, now))])
    rule.delete()


@transaction.atomic
def override(
    *, rule: MonitoringRule, subject: Mapping[str, Any], now: datetime, **said: Any
) -> RuleOverride:
    """Say what is different for a tag or a device, in the place of what was said before.

    What is the same as in the rule is not kept, so that it follows the rule.

    Args:
        subject: a `tag` or a `device`; the other one is None.

    Raises:
        InvalidRule: what it says cannot be, or it says nothing.
    """
    if (subject["tag"] is None) == (subject["device"] is None):
        raise InvalidRule("For a tag, or for a device?", field="tag")
    if rule.kind != MonitoringRule.Kind.METRIC:
        said = {**said, "clear_threshold": None, "lasting_seconds": None}
    own = {name: _unlike(rule, name, said.get(name)) for name in OVERRIDABLE}
    own["is_enabled"] = _unlike(rule, "is_enabled", said.get("is_enabled"))
    if all(value in (None, "") for value in own.values()):
        raise InvalidRule("It says nothing that is different from the rule.")
    merged = {name: value for name, value in own.items() if value not in (None, "")}
    check_numbers({name: getattr(rule, name) for name in NUMBERS} | merged, rule)
    own["severity"] = own["severity"] or ""
    made: RuleOverride
    made, _ = RuleOverride.objects.update_or_create(rule=rule, **subject, defaults=own)
    record([RuleUpdated(**_about(rule, now), changes={"override": (None, str(made))})])
    return made


@transaction.atomic
def remove_override(*, override: RuleOverride, now: datetime) -> None:
    """Let the rule hold again for the tag or the device."""
    changes: Changes = {"override": (str(override), None)}
    record([RuleUpdated(**_about(override.rule, now), changes=changes)])
    override.delete()


@dataclass(frozen=True, slots=True)
class Effective:
    """What of a rule holds for one device, and who says so."""

    rule: MonitoringRule
    condition: Condition
    sources: dict[str, str]  # field: "rule", "tag hall" or "device"


def condition_of(rule: MonitoringRule, *overrides: RuleOverride) -> Condition:
    """The rule's, with the overrides that hold for a device; the first goes first."""
    values = {name: getattr(rule, name) for name in (*OVERRIDABLE, "is_enabled")}
    for own in reversed(overrides):
        for name in values:
            value = getattr(own, name)
            if value not in (None, ""):
                values[name] = value
    lasting = timedelta(seconds=values.pop("lasting_seconds"))
    return Condition(operator=rule.operator, lasting=lasting, **values)


def effective(device: Device) -> list[Effective]:
    """Every rule that is about the device, with what holds for it."""
    tags = list(
        DeviceTag.objects.filter(device=device)
        .order_by("tag__name")
        .values_list("tag_id", "tag__name")
    )
    tag_ids = [tag_id for tag_id, _ in tags]
    found = []
    own = RuleOverride.objects.filter(Q(device=device) | Q(tag__in=tag_ids))
    those_for_it: Any = Prefetch("overrides", own)
    rules = MonitoringRule.objects.prefetch_related(those_for_it)
    for rule in rules:
        about_it = (
            rule.scope == rule.Scope.ALL
            or rule.tag_id in tag_ids
            or rule.device_id == device.pk
        )
        if about_it:
            held = _in_order(rule.overrides.all(), tag_ids)
            found.append(
                Effective(rule, condition_of(rule, *held), _sources(held, dict(tags)))
            )
    return found


class Conditions:
    """What of a rule holds for each device, looked up in memory."""

    def __init__(self, rule: MonitoringRule) -> None:
        self.rule = rule
        overrides = list(rule.overrides.select_related("tag").order_by("tag__name"))
        self._of_device = {own.device_id: own for own in overrides if own.device_id}
        of_tag = {own.tag_id: own for own in overrides if own.tag_id}
        self._of_tagged: dict[UUID, RuleOverride] = {}
        worn = DeviceTag.objects.filter(tag__in=of_tag).order_by("-tag__name")
        for device_id, tag_id in worn.values_list("device_id", "tag_id"):
            self._of_tagged[device_id] = of_tag[tag_id]  # the first by name stays

    def of(self, device_id: UUID) -> Condition:
        own = (self._of_device.get(device_id), self._of_tagged.get(device_id))
        return condition_of(self.rule, *(item for item in own if item is not None))

    def switched_off(self, device_id: UUID) -> bool:
        """Whether an override takes the device out, whatever the rule itself says."""
        own = (self._of_device.get(device_id), self._of_tagged.get(device_id))
        said = [item.is_enabled for item in own if item and item.is_enabled is not None]
        return bool(said) and not said[0]

    def loosest(self) -> float:
        """The threshold that is violated first."""
        own = [*self._of_device.values(), *self._of_tagged.values()]
        said = [item.threshold for item in own if item.threshold is not None]
        rising = HOLDS[self.rule.operator](1, 0)
        return (min if rising else max)([self.rule.threshold, *said])


def hours_of(rule: MonitoringRule) -> OpeningHours:
    return OpeningHours(
        weekdays=tuple(rule.weekdays),
        opens_at=rule.opens_at,
        closes_at=rule.closes_at,
        time_zone=rule.time_zone,
    )


def _in_order(
    overrides: Iterable[RuleOverride], tag_ids: list[Any]
) -> list[RuleOverride]:
    """A device's overrides of one rule: its own, then that of its first tag by name."""
    every = list(overrides)
    of_device = [own for own in every if own.tag_id is None]
    of_tags = [own for own in every if own.tag_id is not None]
    return of_device + sorted(of_tags, key=lambda own: tag_ids.index(own.tag_id))[:1]


def _sources(overrides: list[RuleOverride], tags: dict[Any, str]) -> dict[str, str]:
    sources = {}
    for name in (*OVERRIDABLE, "is_enabled"):
        sources[name] = "rule"
        for own in reversed(overrides):
            if getattr(own, name) not in (None, ""):
                by_tag = own.device_id is None
                sources[name] = f"tag {tags[own.tag_id]}" if by_tag else "device"
    return sources


def _unlike(rule: MonitoringRule, name: str, value: Any) -> Any:
    return None if value == getattr(rule, name) else value


def _save(rule: MonitoringRule, *, force_insert: bool = False) -> None:
    try:
        with transaction.atomic():
            rule.save(force_insert=force_insert)
    except IntegrityError as error:
        if "rule_once" not in str(error):
            raise
        raise RuleExists(
            f"There is a rule {rule.name!r} already.", field="name"
        ) from error


def _about(rule: MonitoringRule, now: datetime) -> dict[str, Any]:
    return {
        "tenant_id": rule.tenant_id,
        "at": now,
        "rule_id": str(rule.pk),
        "rule_name": rule.name,
    }


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changes:
    return {
        name: (_plain(before[name]), _plain(after[name]))
        for name in after
        if before[name] != after[name]
    }


def _plain(value: Any) -> Any:
    """As JSON has it; a row by its name."""
    known = value is None or isinstance(value, bool | int | float | str | list)
    return value if known else str(value)
