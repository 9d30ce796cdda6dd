"""API endpoints with which members read and change configurations."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.generics import ListAPIView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock
from core.querysets import first_or_raise
from core.rest.bodies import validated_body
from core.rest.strict import RejectUnknownParameters
from devices.configurations.api.serializers import (
    ConfigurationFields,
    ConfigurationSerializer,
    DeviceConfigurationSerializer,
    DifferenceQuerySerializer,
    DifferencesSerializer,
    LayerSerializer,
    NewVersionFields,
    OrderFields,
    PreviewFields,
    PreviewSerializer,
    RestoreFields,
    VersionSerializer,
)
from devices.configurations.document_validation import SCHEMA
from devices.configurations.documents import differences
from devices.configurations.errors import InvalidSubject, NoSuchConfiguration, NoSuchVersion
from devices.configurations.models import (
    ConfigurationVersion,
    DeviceConfiguration,
    PlatformConfiguration,
    Scope,
)
from devices.configurations.services import device_configuration, layers
from devices.configurations.services.layers import Subject
from devices.configurations.services.preview import MAX_LISTED, preview
from devices.registry.api.views import get_device
from devices.registry.models import Device, Tag
from devices.registry.services.sites import find_site


class SchemaView(APIView):
    """The JSON Schema (draft 2020-12) of a configuration document."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(responses={(200, "application/schema+json"): OpenApiTypes.OBJECT})
    def get(self, request: Request) -> Response:
        return Response(SCHEMA, content_type="application/schema+json")


class ScopeFilter(RejectUnknownParameters):
    """Filter by `scope` and reject unknown query parameters."""

    def filter_queryset(
        self, request: Request, queryset: QuerySet[Any], view: Any
    ) -> QuerySet[Any]:
        scope = request.query_params.get("scope")
        if scope is not None and scope not in Scope.values:
            raise ValidationError({"scope": f"Must be one of: {', '.join(Scope.values)}."})
        others = request.query_params.copy()
        others.pop("scope", None)
        self.reject_unknown(others, view)
        return queryset if scope is None else queryset.filter(scope=scope)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        schema = {"type": "string", "enum": list(Scope.values)}
        return [{"name": "scope", "in": "query", "required": False, "schema": schema}]


class ConfigurationsView(ListAPIView[DeviceConfiguration]):
    """The layers of the tenant.

    POST saves a new version of a layer. If the layer does not exist, it is created and
    the response is 201.
    """

    serializer_class = ConfigurationSerializer
    ordering = ("id",)
    filter_backends = (ScopeFilter,)

    def get_queryset(self) -> QuerySet[DeviceConfiguration]:
        return DeviceConfiguration.objects.select_related("tag")

    @extend_schema(
        request=ConfigurationFields,
        responses={200: ConfigurationSerializer, 201: ConfigurationSerializer},
    )
    def post(self, request: Request) -> Response:
        data = validated_body(ConfigurationFields, request)
        subject = _pop_subject(data)
        is_first = layers.layer_of(subject) is None
        layer = layers.save(subject=subject, now=clock.now(), **data)
        return Response(
            ConfigurationSerializer(layer).data,
            status.HTTP_201_CREATED if is_first else status.HTTP_200_OK,
        )


class PlatformView(APIView):
    """The platform's layer. The layers of all tenants override it."""

    @extend_schema(responses=LayerSerializer)
    def get(self, request: Request) -> Response:
        layer = PlatformConfiguration.objects.first() or PlatformConfiguration()
        return Response({**LayerSerializer(layer).data, "id": None})


class OrderView(APIView):
    """The order of the tags' layers. The last tag is the strongest."""

    @extend_schema(responses=OrderFields)
    def get(self, request: Request) -> Response:
        ordered = DeviceConfiguration.objects.of_tags()
        return Response({"tags": list(ordered.values_list("tag__name", flat=True))})

    @extend_schema(request=OrderFields, responses=OrderFields)
    def put(self, request: Request) -> Response:
        data = validated_body(OrderFields, request)
        ordered = layers.put_in_order(tags=data["tags"], now=clock.now())
        return Response({"tags": [layer.tag.name for layer in ordered if layer.tag]})


class PreviewView(APIView):
    """Preview which devices and keys would change if a document were saved."""

    @extend_schema(request=PreviewFields, responses=PreviewSerializer)
    def post(self, request: Request) -> Response:
        data = validated_body(PreviewFields, request)
        result = preview(
            subject=_pop_subject(data),
            document=data["document"],
            after=data.get("after"),
            limit=data.get("limit", MAX_LISTED),
        )
        return Response(PreviewSerializer(result).data)


class ConfigurationView(APIView):
    """A layer of the tenant. PUT saves a new version of the layer."""

    @extend_schema(responses=ConfigurationSerializer)
    def get(self, request: Request, configuration_id: UUID) -> Response:
        return Response(ConfigurationSerializer(_layer(configuration_id)).data)

    @extend_schema(request=NewVersionFields, responses=ConfigurationSerializer)
    def put(self, request: Request, configuration_id: UUID) -> Response:
        layer = _layer(configuration_id)
        data = validated_body(NewVersionFields, request)
        subject = layers.subject_of(layer)
        layer = layers.save(subject=subject, now=clock.now(), **data)
        return Response(ConfigurationSerializer(layer).data)


class VersionsView(ListAPIView[ConfigurationVersion]):
    """All versions of a layer, the newest first."""

    serializer_class = VersionSerializer
    ordering = ("-number",)
    filter_backends = (RejectUnknownParameters,)

    def get_queryset(self) -> QuerySet[ConfigurationVersion]:
        layer = _layer(self.kwargs["configuration_id"])
        return ConfigurationVersion.objects.filter(configuration=layer)


class VersionView(APIView):
    """A version of a layer."""

    @extend_schema(responses=VersionSerializer)
    def get(self, request: Request, configuration_id: UUID, number: int) -> Response:
        version = _version(_layer(configuration_id), number)
        return Response(VersionSerializer(version).data)


class RestoreView(APIView):
    """Save an earlier version's document as a new version."""

    @extend_schema(request=RestoreFields, responses=ConfigurationSerializer)
    def post(self, request: Request, configuration_id: UUID, number: int) -> Response:
        data = validated_body(RestoreFields, request)
        layer = _layer(configuration_id)
        restored = layers.restore(layer=layer, number=number, now=clock.now(), **data)
        return Response(ConfigurationSerializer(restored).data)


class DifferencesView(APIView):
    """The keys in which two versions of a layer differ."""

    @extend_schema(
        parameters=[
            OpenApiParameter(
                name, {"type": "integer", "minimum": 1, "maximum": 2_147_483_647}, required=True
            )
            for name in ("first", "second")
        ],
        responses=DifferencesSerializer,
    )
    def get(self, request: Request, configuration_id: UUID) -> Response:
        layer = _layer(configuration_id)
        query = DifferenceQuerySerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        numbers = query.validated_data
        first, second = (_version(layer, numbers[name]).document for name in ("first", "second"))
        result = {**numbers, "differences": differences(first, second)}
        return Response(DifferencesSerializer(result).data)


class DeviceConfigurationView(APIView):
    """The desired configuration of a device, the source of each key, and the last report."""

    @extend_schema(responses=DeviceConfigurationSerializer)
    def get(self, request: Request, device_id: UUID) -> Response:
        device = get_device(device_id)
        result = device_configuration.get_status(device, now=clock.now())
        return Response(DeviceConfigurationSerializer(result).data)


def _layer(configuration_id: UUID) -> DeviceConfiguration:
    rows = DeviceConfiguration.objects.select_related("tag", "device", "site")
    return first_or_raise(rows.filter(pk=configuration_id), NoSuchConfiguration)


def _version(layer: DeviceConfiguration, number: int) -> ConfigurationVersion:
    versions = ConfigurationVersion.objects.filter(configuration=layer, number=number)
    return first_or_raise(versions, NoSuchVersion)


def _pop_subject(data: dict[str, Any]) -> Subject:
    """Remove `scope`, `site`, `tag` and `device` from a request body. Return them as a subject.

    Raises:
        InvalidSubject, InvalidSite: the tenant has no such tag, device or site.
    """
    site_name = data.pop("site", None)
    tag_name, device_id = data.pop("tag", None), data.pop("device", None)
    tag = Tag.objects.filter(name=tag_name).first() if tag_name is not None else None
    if tag_name is not None and tag is None:
        raise InvalidSubject("The tag does not exist.", field="tag")
    device = Device.objects.filter(pk=device_id).first() if device_id else None
    if device_id is not None and device is None:
        raise InvalidSubject("The device does not exist.", field="device")
    site = None if site_name is None else find_site(site_name)
    return Subject(data.pop("scope"), tag, device, site)
