"""API views of rules, back-tests, overrides and the overview."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock
from core.querysets import first_or_raise
from core.rest.bodies import validated_body
from core.rest.strict import RejectUnknownParameters
from devices.monitoring.api.alert_views import with_users
from devices.monitoring.api.serializers import (
    BackTestParametersSerializer,
    BackTestSerializer,
    DeviceMonitoringSerializer,
    OverrideFields,
    OverrideSerializer,
    OverviewSerializer,
    RuleFields,
    RuleSerializer,
    RuleUpdateSerializer,
)
from devices.monitoring.errors import InvalidRule, NoSuchRule, OverrideNotFound
from devices.monitoring.models import Alert, MonitoringRule, RuleOverride
from devices.monitoring.services import back_testing, overview, rules
from devices.registry.api.views import get_device
from devices.registry.models import Device, Tag
from devices.registry.services.sites import find_site


class RulesView(ListAPIView[MonitoringRule]):
    """List the tenant's rules, or create a rule."""

    serializer_class = RuleSerializer
    ordering = ("name", "id")
    filter_backends = (RejectUnknownParameters,)

    def get_queryset(self) -> QuerySet[MonitoringRule]:
        return with_overrides(MonitoringRule.objects.all())

    @extend_schema(request=RuleFields, responses={201: RuleSerializer})
    def post(self, request: Request) -> Response:
        fields = _validated_fields(RuleFields, request)
        rule = rules.create(now=clock.now(), **fields)
        return Response(rule_data(rule.pk), status.HTTP_201_CREATED)


class RuleView(APIView):
    """Read, change and delete a rule."""

    @extend_schema(responses=RuleSerializer)
    def get(self, request: Request, rule_id: UUID) -> Response:
        return Response(rule_data(rule_id))

    @extend_schema(request=RuleUpdateSerializer, responses=RuleSerializer)
    def patch(self, request: Request, rule_id: UUID) -> Response:
        rule = get_rule(rule_id)
        fields = _validated_fields(RuleUpdateSerializer, request)
        rules.update(rule=rule, now=clock.now(), **fields)
        return Response(rule_data(rule_id))

    @extend_schema(responses={204: None}, description="Delete the rule and close its alerts.")
    def delete(self, request: Request, rule_id: UUID) -> Response:
        rules.archive(rule=get_rule(rule_id), now=clock.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class BackTestView(APIView):
    """Count the alerts that a rule would have opened in the last days.

    The rule may be disabled.
    """

    @extend_schema(request=BackTestParametersSerializer, responses=BackTestSerializer)
    def post(self, request: Request, rule_id: UUID) -> Response:
        body = validated_body(BackTestParametersSerializer, request)
        result = back_testing.back_test(
            get_rule(rule_id), days=body.get("days", 7), now=clock.now()
        )
        data = {
            "days": result.days,
            "alerts": result.alerts,
            "devices": result.devices,
            "complete": result.complete,
            "by_day": [{"day": day, "alerts": count} for day, count in result.by_day.items()],
            "worst": [
                {"device_id": pk, "name": name, "alerts": count, "first_at": first}
                for pk, name, count, first in result.worst
            ],
        }
        return Response(BackTestSerializer(data).data)


class OverridesView(APIView):
    """Set the override of a rule for a site, tag or device. An existing override is replaced."""

    @extend_schema(request=OverrideFields, responses={201: OverrideSerializer})
    def post(self, request: Request, rule_id: UUID) -> Response:
        rule = get_rule(rule_id)
        fields = _validated_fields(OverrideFields, request)
        subject = {name: fields.pop(name, None) for name in ("site", "tag", "device")}
        override = rules.override(rule=rule, subject=subject, now=clock.now(), **fields)
        return Response(OverrideSerializer(override).data, status.HTTP_201_CREATED)


class OverrideView(APIView):
    """Delete an override, so that the rule itself applies to the site, tag or device."""

    @extend_schema(responses={204: None})
    def delete(self, request: Request, rule_id: UUID, override_id: UUID) -> Response:
        overrides = RuleOverride.objects.filter(rule=get_rule(rule_id), pk=override_id)
        override = first_or_raise(
            overrides.select_related("rule", "tag", "device", "site"), OverrideNotFound
        )
        rules.remove_override(override=override, now=clock.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class DeviceMonitoringView(APIView):
    """Return the rules that apply to a device, and the device's open alerts."""

    @extend_schema(responses=DeviceMonitoringSerializer)
    def get(self, request: Request, device_id: UUID) -> Response:
        device = get_device(device_id)
        device_rules = [
            {
                "rule_id": item.rule.pk,
                "name": item.rule.name,
                "kind": item.rule.kind,
                "measure": item.rule.measure,
                "operator": item.rule.operator,
                "threshold": item.condition.threshold,
                "clear_threshold": item.condition.clear_threshold,
                "lasting_seconds": int(item.condition.duration.total_seconds()),
                "severity": item.condition.severity,
                "is_enabled": item.condition.is_enabled,
                "sources": item.sources,
            }
            for item in rules.effective_rules(device)
        ]
        open_alerts = with_users(Alert.objects.open().filter(device=device))[:100]
        data = {"rules": device_rules, "alerts": open_alerts}
        return Response(DeviceMonitoringSerializer(data).data)


class OverviewView(APIView):
    """Return the numbers of devices and alerts of the tenant, and the newest alerts."""

    @extend_schema(responses=OverviewSerializer)
    def get(self, request: Request) -> Response:
        return Response(OverviewSerializer(overview.overview(now=clock.now())).data)


def get_rule(rule_id: UUID) -> MonitoringRule:
    return first_or_raise(MonitoringRule.objects.filter(pk=rule_id), NoSuchRule)


def with_overrides(queryset: QuerySet[MonitoringRule]) -> QuerySet[MonitoringRule]:
    return queryset.select_related("tag").prefetch_related("overrides__tag")


def rule_data(rule_id: UUID) -> dict[str, Any]:
    rule = first_or_raise(with_overrides(MonitoringRule.objects.filter(pk=rule_id)), NoSuchRule)
    return dict(RuleSerializer(rule).data)


def _validated_fields(serializer_class: Any, request: Request) -> dict[str, Any]:
    """Validate a request body. Return its fields, with model instances as subjects.

    Raises:
        InvalidRule, InvalidSite: the tenant has no such tag, device or site.
    """
    body = validated_body(serializer_class, request)
    fields: dict[str, Any] = dict(body)
    if fields.get("tag") is not None:
        fields["tag"] = Tag.objects.filter(name=fields["tag"]).first()
        if fields["tag"] is None:
            raise InvalidRule("There is no such tag.", field="tag")
    if fields.get("site") is not None:
        fields["site"] = find_site(fields["site"])
    if fields.get("device") is not None:
        fields["device"] = Device.objects.not_retired().filter(pk=fields["device"]).first()
        if fields["device"] is None:
            raise InvalidRule("There is no such device.", field="device")
    return fields
