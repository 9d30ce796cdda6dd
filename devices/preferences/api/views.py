"""API endpoints for preferences and device settings."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.http import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock
from core.rest.bodies import validated_body
from core.rest.caching import not_modified_response
from core.rest.documentation import IF_NONE_MATCH, NOT_MODIFIED
from core.rest.ignored import ignored_response
from core.rest.negotiation import SingleFormatNegotiation
from core.rest.parsers import DeviceJSONParser
from devices.preferences.api.serializers import (
    DefinitionFields,
    MemberSettingsFields,
    NewDefinitionFields,
    PreferenceSerializer,
    PreferencesSerializer,
    SettingsFields,
    SettingsSerializer,
    WrittenSettingsSerializer,
)
from devices.preferences.errors import NoSuchDefinition
from devices.preferences.services import definitions, device_settings
from devices.preferences.services.device_settings import Change
from devices.registry.api.authentication import IsDevice, calling_device
from devices.registry.api.device_messages import read_device_message
from devices.registry.api.views import get_device
from devices.registry.services import unreadable_fields
from tenants.api.permissions import IsMember
from tenants.models import Role


class MayDefine(IsMember):
    """Allow members to read preferences, and admins and owners to change them."""

    writes = Role.ADMIN


class PreferencesView(APIView):
    """List the preferences of the tenant's devices, or create a preference."""

    permission_classes = (MayDefine,)

    @extend_schema(operation_id="preferences_list", responses=PreferencesSerializer)
    def get(self, request: Request) -> Response:
        preferences = definitions.of_tenant().values()
        return Response(PreferencesSerializer({"results": preferences}).data)

    @extend_schema(request=NewDefinitionFields, responses={201: PreferenceSerializer})
    def post(self, request: Request) -> Response:
        data = validated_body(NewDefinitionFields, request)
        row = definitions.define(must_be_new=True, now=clock.now(), **data)
        return Response(_preference_json(row.key), status.HTTP_201_CREATED)


class PreferenceView(APIView):
    """A preference.

    PUT changes a preference of the tenant. For a platform preference, PUT sets the tenant's
    default.
    """

    permission_classes = (MayDefine,)

    @extend_schema(responses=PreferenceSerializer)
    def get(self, request: Request, key: str) -> Response:
        return Response(_preference_json(key))

    @extend_schema(request=DefinitionFields, responses=PreferenceSerializer)
    def put(self, request: Request, key: str) -> Response:
        _preference_json(key)
        data = validated_body(DefinitionFields, request)
        definitions.define(key=key, now=clock.now(), **data)
        return Response(_preference_json(key))

    @extend_schema(
        responses={204: None},
        description=("Delete the tenant's preference, or its default of a platform preference."),
    )
    def delete(self, request: Request, key: str) -> Response:
        definitions.remove(key=key, now=clock.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class MySettingsView(APIView):
    """The settings of the calling device. PATCH changes settings that the device may write."""

    permission_classes = (IsDevice,)
    parser_classes = (DeviceJSONParser,)
    content_negotiation_class = SingleFormatNegotiation

    @extend_schema(
        parameters=[IF_NONE_MATCH], responses={200: SettingsSerializer, 304: NOT_MODIFIED}
    )
    def get(self, request: Request) -> HttpResponseBase:
        settings = device_settings.read(calling_device(request))
        etag = f'"{settings.version}"'
        response = not_modified_response(request, etag) or Response(
            SettingsSerializer(settings).data, headers={"ETag": etag}
        )
        response.headers["Cache-Control"] = "private, no-cache"
        return response

    @extend_schema(request=SettingsFields, responses=WrittenSettingsSerializer)
    def patch(self, request: Request) -> Response:
        message = read_device_message(SettingsFields(), request)
        device, now = calling_device(request), clock.now()
        settings, ignored = device_settings.write_usable(
            device=device, changes=_changes(message.fields["settings"]), now=now
        )
        unreadable_fields.note(device, ignored, now=now)
        return Response(
            {
                **SettingsSerializer(settings).data,
                "ignored": ignored_response([*message.ignored, *ignored]),
            }
        )


class DeviceSettingsView(APIView):
    """The settings of a device. PATCH changes, resets or locks settings."""

    @extend_schema(responses=SettingsSerializer)
    def get(self, request: Request, device_id: UUID) -> Response:
        settings = device_settings.read(get_device(device_id))
        return Response(SettingsSerializer(settings).data)

    @extend_schema(request=MemberSettingsFields, responses=SettingsSerializer)
    def patch(self, request: Request, device_id: UUID) -> Response:
        device = get_device(device_id)
        data = validated_body(MemberSettingsFields, request)
        settings = device_settings.write(
            device=device, changes=_changes(data["settings"]), by_device=False, now=clock.now()
        )
        return Response(SettingsSerializer(settings).data)


def _changes(data: Mapping[str, Any]) -> dict[str, Change]:
    return {
        key: Change(
            version=change["version"],
            value=change.get("value"),
            has_value="value" in change,
            reset=change.get("reset", False),
            is_locked=change.get("locked"),
        )
        for key, change in data.items()
    }


def _preference_json(key: str) -> dict[str, Any]:
    preference = definitions.of_tenant().get(key)
    if preference is None:
        raise NoSuchDefinition
    return dict(PreferenceSerializer(preference).data)
