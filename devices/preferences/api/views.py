"""The doors of preferences and settings: parse, one verb, render."""

from typing import Any
from uuid import UUID

from django.http import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.rest.caching import unchanged
from devices.preferences.api.serializers import (
    DefinitionFields,
    MemberSettingsFields,
    NewDefinitionFields,
    PreferenceSerializer,
    PreferencesSerializer,
    SettingsFields,
    SettingsSerializer,
)
from devices.preferences.errors import NoSuchDefinition
from devices.preferences.services import definitions, device_settings
from devices.preferences.services.device_settings import Change
from devices.registry.api.authentication import IsDevice, calling_device
from devices.registry.api.views import found
from devices.registry.models import Device
from tenants.api.permissions import IsMember
from tenants.models import Role


class MayDefine(IsMember):
    """Any member reads; an admin or owner says what settings there are."""

    writes = Role.ADMIN


class PreferencesView(APIView):
    """The settings that the tenant's devices have, and one more."""

    permission_classes = (MayDefine,)

    @extend_schema(operation_id="preferences_list", responses=PreferencesSerializer)
    def get(self, request: Request) -> Response:
        known = definitions.of_tenant().values()
        return Response(PreferencesSerializer({"results": known}).data)

    @extend_schema(request=NewDefinitionFields, responses={201: PreferenceSerializer})
    def post(self, request: Request) -> Response:
        said = _said(NewDefinitionFields, request)
        row = definitions.define(must_be_new=True, now=timezone.now(), **said)
        return Response(_shown(row.key), status.HTTP_201_CREATED)


class PreferenceView(APIView):
    """One of them; of the platform's, the tenant's own default for it."""

    permission_classes = (MayDefine,)

    @extend_schema(responses=PreferenceSerializer)
    def get(self, request: Request, key: str) -> Response:
        return Response(_shown(key))

    @extend_schema(request=DefinitionFields, responses=PreferenceSerializer)
    def put(self, request: Request, key: str) -> Response:
        _shown(key)
        said = _said(DefinitionFields, request)
        definitions.define(key=key, now=timezone.now(), **said)
        return Response(_shown(key))

    @extend_schema(
        responses={204: None},
        description="Remove the tenant's own, or its default for one of the platform's.",
    )
    def delete(self, request: Request, key: str) -> Response:
        definitions.remove(key=key, now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class MySettingsView(APIView):
    """The calling device's settings: all of them, and those that are its to choose."""

    permission_classes = (IsDevice,)

    @extend_schema(
        parameters=[OpenApiParameter("If-None-Match", location="header")],
        responses={
            200: SettingsSerializer,
            304: OpenApiResponse(description="The device has them already."),
        },
    )
    def get(self, request: Request) -> HttpResponseBase:
        told = device_settings.of(calling_device(request))
        etag = f'"{told.version}"'
        response: Any = unchanged(request, etag) or Response(
            SettingsSerializer(told).data, headers={"ETag": etag}
        )
        response.headers["Cache-Control"] = "private, no-cache"
        return response

    @extend_schema(request=SettingsFields, responses=SettingsSerializer)
    def patch(self, request: Request) -> Response:
        device = calling_device(request)
        return _written(SettingsFields, request, device, by_device=True)


class DeviceSettingsView(APIView):
    """A device's settings, as members see and write and lock them."""

    @extend_schema(responses=SettingsSerializer)
    def get(self, request: Request, device_id: UUID) -> Response:
        told = device_settings.of(found(device_id))
        return Response(SettingsSerializer(told).data)

    @extend_schema(request=MemberSettingsFields, responses=SettingsSerializer)
    def patch(self, request: Request, device_id: UUID) -> Response:
        device = found(device_id)
        return _written(MemberSettingsFields, request, device, by_device=False)


def _written(
    kind: type[SettingsFields], request: Request, device: Device, *, by_device: bool
) -> Response:
    said = _said(kind, request)["settings"]
    changes = {
        key: Change(
            version=change["version"],
            value=change.get("value"),
            has_value="value" in change,
            reset=change.get("reset", False),
            is_locked=change.get("locked"),
        )
        for key, change in said.items()
    }
    told = device_settings.write(
        device=device, changes=changes, by_device=by_device, now=timezone.now()
    )
    return Response(SettingsSerializer(told).data)


def _shown(key: str) -> dict[str, Any]:
    known = definitions.of_tenant().get(key)
    if known is None:
        raise NoSuchDefinition
    return dict(PreferenceSerializer(known).data)


def _said(kind: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    body = kind(data=request.data)
    body.is_valid(raise_exception=True)
    return dict(body.validated_data)
