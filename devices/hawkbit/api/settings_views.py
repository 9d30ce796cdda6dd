"""API of the settings of the hawkBit API, for members."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock
from core.rest.bodies import validated_body
from core.rest.fields import StrictBooleanField, StrictIntegerField
from core.rest.strict import StrictSerializer
from devices.hawkbit.models import HawkbitSettings
from devices.hawkbit.services import settings
from devices.hawkbit.services.settings import POLLING_SECONDS
from tenants.api.permissions import IsMember


class MaySetHawkbit(IsMember):
    """All members can read the settings; admins and owners can change them."""

    writes = HawkbitSettings.manage_role


class HawkbitSettingsFields(StrictSerializer):
    """Settings of the hawkBit API."""

    is_enabled = StrictBooleanField(required=False)
    polling_seconds = StrictIntegerField(
        min_value=POLLING_SECONDS[0],
        max_value=POLLING_SECONDS[1],
        required=False,
        help_text="How long a device waits between two polls.",
    )


class HawkbitSettingsSerializer(serializers.Serializer[Any]):
    """Settings of the hawkBit API."""

    is_enabled = serializers.BooleanField()
    polling_seconds = serializers.IntegerField()


class SettingsView(APIView):
    """Get or change whether the tenant's devices may use the hawkBit API."""

    permission_classes = (MaySetHawkbit,)

    @extend_schema(responses=HawkbitSettingsSerializer)
    def get(self, request: Request) -> Response:
        return Response(HawkbitSettingsSerializer(settings.current_settings()).data)

    @extend_schema(request=HawkbitSettingsFields, responses=HawkbitSettingsSerializer)
    def patch(self, request: Request) -> Response:
        fields = validated_body(HawkbitSettingsFields, request)
        row = settings.change(now=clock.now(), **fields)
        return Response(HawkbitSettingsSerializer(row).data)
