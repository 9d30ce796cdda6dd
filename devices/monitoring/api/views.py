"""The doors of rules and of the overview: parse, one verb, render."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.rest.pagination import CursorPages
from core.rest.strict import KnownParameters
from devices.monitoring.api.alert_views import with_people
from devices.monitoring.api.serializers import (
    BackTestRequestSerializer,
    BackTestSerializer,
    DeviceMonitoringSerializer,
    OverrideFields,
    OverrideSerializer,
    OverviewSerializer,
    RuleFields,
    RuleSerializer,
    RuleUpdateSerializer,
)
from devices.monitoring.errors import (
    InvalidRule,
    NoSuchOverride,
    NoSuchRule,
)
from devices.monitoring.models import Alert, MonitoringRule, RuleOverride
from devices.monitoring.services import back_testing, overview, rules
from devices.registry.api.views import found
from devices.registry.models import Device, Tag


class RulePages(CursorPages):
    def get_ordering(self, request: Request, queryset: Any, view: Any) -> Any:
        return ("name", "id")


class RulesView(ListAPIView[MonitoringRule]):
    """The tenant's rules, and one more."""

    serializer_class = RuleSerializer
    pagination_class = RulePages
    filter_backends = (KnownParameters,)

    def get_queryset(self) -> QuerySet[MonitoringRule]:
        return with_overrides(MonitoringRule.objects.all())

    @extend_schema(request=RuleFields, responses={201: RuleSerializer})
    def post(self, request: Request) -> Response:
        rule = rules.create(now=timezone.now(), **_said(RuleFields, request))
        return Response(shown(rule.pk), status.HTTP_201_CREATED)


class RuleView(APIView):
    """One rule of the tenant."""

    @extend_schema(responses=RuleSerializer)
    def get(self, request: Request, rule_id: UUID) -> Response:
        return Response(shown(rule_id))

    @extend_schema(request=RuleUpdateSerializer, responses=RuleSerializer)
    def patch(self, request: Request, rule_id: UUID) -> Response:
        rule = rule_of(rule_id)
        said = _said(RuleUpdateSerializer, request)
        rules.update(rule=rule, now=timezone.now(), **said)
        return Response(shown(rule_id))

    @extend_schema(
        responses={204: None}, description="Remove the rule and its alerts with it."
    )
    def delete(self, request: Request, rule_id: UUID) -> Response:
        rules.delete(rule=rule_of(rule_id), now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class BackTestView(APIView):
    """How often a rule would have fired on the last days; it need not be switched on."""

    @extend_schema(request=BackTestRequestSerializer, responses=BackTestSerializer)
    def post(self, request: Request, rule_id: UUID) -> Response:
        body = BackTestRequestSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        told = back_testing.back_test(
            rule_of(rule_id),
            days=body.validated_data.get("days", 7),
            now=timezone.now(),
        )
        answer = {
            "days": told.days,
            "alerts": told.alerts,
            "devices": told.devices,
            "complete": told.complete,
            "by_day": [
                {"day": day, "alerts": count} for day, count in told.by_day.items()
            ],
            "worst": [
                {"device_id": pk, "name": name, "alerts": count, "first_at": first}
                for pk, name, count, first in told.worst
            ],
        }
        return Response(BackTestSerializer(answer).data)


class OverridesView(APIView):
    """What is different for a tag or a device, in the place of what was said before."""

    @extend_schema(request=OverrideFields, responses={201: OverrideSerializer})
    def post(self, request: Request, rule_id: UUID) -> Response:
        rule = rule_of(rule_id)
        said = _said(OverrideFields, request)
        subject = {"tag": said.pop("tag", None), "device": said.pop("device", None)}
        made = rules.override(rule=rule, subject=subject, now=timezone.now(), **said)
        return Response(OverrideSerializer(made).data, status.HTTP_201_CREATED)


class OverrideView(APIView):
    """Let the rule hold again for a tag or a device."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, rule_id: UUID, override_id: UUID) -> Response:
        overrides = RuleOverride.objects.filter(rule=rule_of(rule_id), pk=override_id)
        override = overrides.select_related("rule", "tag", "device").first()
        if override is None:
            raise NoSuchOverride
        rules.remove_override(override=override, now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class DeviceMonitoringView(APIView):
    """Which rules hold for a device, with what from where, and its open alerts."""

    @extend_schema(responses=DeviceMonitoringSerializer)
    def get(self, request: Request, device_id: UUID) -> Response:
        device = found(device_id)
        held = [
            {
                "rule_id": item.rule.pk,
                "name": item.rule.name,
                "kind": item.rule.kind,
                "measure": item.rule.measure,
                "operator": item.rule.operator,
                "threshold": item.condition.threshold,
                "clear_threshold": item.condition.clear_threshold,
                "lasting_seconds": int(item.condition.lasting.total_seconds()),
                "severity": item.condition.severity,
                "is_enabled": item.condition.is_enabled,
                "sources": item.sources,
            }
            for item in rules.effective(device)
        ]
        unclosed = with_people(Alert.objects.open().filter(device=device))[:100]
        answer = {"rules": held, "alerts": unclosed}
        return Response(DeviceMonitoringSerializer(answer).data)


class OverviewView(APIView):
    """The fleet in figures."""

    @extend_schema(responses=OverviewSerializer)
    def get(self, request: Request) -> Response:
        return Response(OverviewSerializer(overview.overview(now=timezone.now())).data)


def rule_of(rule_id: UUID) -> MonitoringRule:
    rule: MonitoringRule | None = MonitoringRule.objects.filter(pk=rule_id).first()
    if rule is None:
        raise NoSuchRule
    return rule


def with_overrides(chosen: QuerySet[MonitoringRule]) -> QuerySet[MonitoringRule]:
    return chosen.select_related("tag").prefetch_related("overrides__tag")


def shown(rule_id: UUID) -> dict[str, Any]:
    rule = with_overrides(MonitoringRule.objects.filter(pk=rule_id)).first()
    if rule is None:
        raise NoSuchRule
    return dict(RuleSerializer(rule).data)


def _said(kind: Any, request: Request) -> dict[str, Any]:
    """What a body says, with the tag and the device that it names looked up.

    Raises:
        InvalidRule: there is no such tag or device in this tenant.
    """
    body = kind(data=request.data)
    body.is_valid(raise_exception=True)
    said: dict[str, Any] = dict(body.validated_data)
    if said.get("tag") is not None:
        said["tag"] = Tag.objects.filter(name=said["tag"]).first()
        if said["tag"] is None:
            raise InvalidRule("There is no such tag.", field="tag")
    if said.get("device") is not None:
        said["device"] = Device.objects.living().filter(pk=said["device"]).first()
        if said["device"] is None:
            raise InvalidRule("There is no such device.", field="device")
    return said
