"""Endpoints that list identifier conflicts and decide them."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock
from core.rest.bodies import validated_body
from core.rest.strict import RejectUnknownParameters, StrictSerializer
from devices.registry.models import DeviceIdentifier, IdentifierConflict
from devices.registry.services import conflicts


class ConflictingDeviceSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()


class IdentifierConflictSerializer(serializers.Serializer[Any]):
    """An identifier that one device holds and others report."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=DeviceIdentifier.Kind.choices)
    value = serializers.CharField()
    holder = ConflictingDeviceSerializer(help_text="The device that has the identifier.")
    others = serializers.SerializerMethodField(
        help_text="Registered devices that report the identifier too, the newest first. At most 20."
    )
    waiting = serializers.SerializerMethodField(
        help_text="Identifiers of a device that is registered only after the decision."
    )
    first_seen_at = serializers.DateTimeField()
    last_seen_at = serializers.DateTimeField()
    decision = serializers.ChoiceField(
        choices=IdentifierConflict.Decision.choices, allow_blank=True, help_text="Blank if open."
    )
    decided_at = serializers.DateTimeField(allow_null=True)

    def get_others(self, row: IdentifierConflict) -> list[dict[str, Any]]:
        return [ConflictingDeviceSerializer(other.device).data for other in row.newest_others]

    def get_waiting(self, row: IdentifierConflict) -> list[str]:
        return [f"{item.kind}:{item.value}" for item in row.waiting_identifiers()]


class ConflictDecisionSerializer(StrictSerializer):
    decision = serializers.ChoiceField(choices=IdentifierConflict.Decision.choices)


class ConflictsView(ListAPIView[IdentifierConflict]):
    """List the identifiers that several devices report, the latest first."""

    serializer_class = IdentifierConflictSerializer
    filter_backends = (RejectUnknownParameters,)
    ordering = ("-last_seen_at", "-id")

    def get_queryset(self) -> QuerySet[IdentifierConflict]:
        return IdentifierConflict.objects.with_devices()


class ConflictDecisionView(APIView):
    """Decide whether the devices of a conflict are different devices or the same one.

    After `different`, the value identifies no device. After `same`, the holder takes over the
    identifiers and the token of the other record, which is retired. This cannot be undone.
    """

    @extend_schema(request=ConflictDecisionSerializer, responses=IdentifierConflictSerializer)
    def post(self, request: Request, conflict_id: UUID) -> Response:
        body = validated_body(ConflictDecisionSerializer, request)
        row = conflicts.get_conflict(conflict_id)
        conflicts.decide(conflict=row, decision=body["decision"], now=clock.now())
        return Response(IdentifierConflictSerializer(conflicts.get_conflict(conflict_id)).data)
