"""The members' doors to the configurations: parse, one verb, render."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiTypes, extend_schema
from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.generics import ListAPIView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.rest.pagination import CursorPages
from core.rest.strict import KnownParameters
from devices.configurations.api.serializers import (
    ConfigurationFields,
    ConfigurationSerializer,
    DeviceConfigurationSerializer,
    DifferenceQuestionSerializer,
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
from devices.configurations.errors import (
    InvalidSubject,
    NoSuchConfiguration,
    NoSuchVersion,
)
from devices.configurations.models import (
    ConfigurationVersion,
    DeviceConfiguration,
    PlatformConfiguration,
    Scope,
)
from devices.configurations.services import device_configuration, layers
from devices.configurations.services.layers import Subject
from devices.configurations.services.preview import NAMED, preview
from devices.registry.api.views import found
from devices.registry.models import Device, Tag


class SchemaView(APIView):
    """The JSON Schema (2020-12) of a configuration, for editors and devices."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(responses={(200, "application/schema+json"): OpenApiTypes.OBJECT})
    def get(self, request: Request) -> Response:
        return Response(SCHEMA, content_type="application/schema+json")


class LayerPages(CursorPages):
    def get_ordering(self, request: Request, queryset: Any, view: Any) -> Any:
        return ("id",)


class ScopeFilter(KnownParameters):
    """`scope` narrows; whatever else is a mistake that should be heard of."""

    def filter_queryset(
        self, request: Request, queryset: QuerySet[Any], view: Any
    ) -> QuerySet[Any]:
        said = request.query_params.get("scope")
        if said is not None and said not in Scope.values:
            raise ValidationError({"scope": f"One of {', '.join(Scope.values)}."})
        others = request.query_params.copy()
        others.pop("scope", None)
        self.refuse_unknown(others, view)
        return queryset if said is None else queryset.filter(scope=said)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        schema = {"type": "string", "enum": list(Scope.values)}
        return [{"name": "scope", "in": "query", "required": False, "schema": schema}]


class ConfigurationsView(ListAPIView[DeviceConfiguration]):
    """The tenant's layers; and a new version of one, made if it is the first."""

    serializer_class = ConfigurationSerializer
    pagination_class = LayerPages
    filter_backends = (ScopeFilter,)

    def get_queryset(self) -> QuerySet[DeviceConfiguration]:
        return DeviceConfiguration.objects.select_related("tag")

    @extend_schema(
        request=ConfigurationFields,
        responses={200: ConfigurationSerializer, 201: ConfigurationSerializer},
    )
    def post(self, request: Request) -> Response:
        said = _said(ConfigurationFields, request)
        subject = _subject(said)
        before = layers.layer_of(subject)
        layer = layers.save(subject=subject, now=timezone.now(), **said)
        is_first = before is None
        return Response(
            ConfigurationSerializer(layer).data,
            status.HTTP_201_CREATED if is_first else status.HTTP_200_OK,
        )


class PlatformView(APIView):
    """The layer below every tenant's."""

    @extend_schema(responses=LayerSerializer)
    def get(self, request: Request) -> Response:
        layer = PlatformConfiguration.objects.first() or PlatformConfiguration()
        return Response({**LayerSerializer(layer).data, "id": None})


class OrderView(APIView):
    """Which tag's layer is stronger than which: the last is the strongest."""

    @extend_schema(responses=OrderFields)
    def get(self, request: Request) -> Response:
        ordered = DeviceConfiguration.objects.of_tags()
        return Response({"tags": list(ordered.values_list("tag__name", flat=True))})

    @extend_schema(request=OrderFields, responses=OrderFields)
    def put(self, request: Request) -> Response:
        said = _said(OrderFields, request)
        ordered = layers.put_in_order(tags=said["tags"], now=timezone.now())
        return Response({"tags": [layer.tag.name for layer in ordered if layer.tag]})


class PreviewView(APIView):
    """Which devices would change if a document were saved, and in which keys."""

    @extend_schema(request=PreviewFields, responses=PreviewSerializer)
    def post(self, request: Request) -> Response:
        said = _said(PreviewFields, request)
        told = preview(
            subject=_subject(said),
            document=said["document"],
            after=said.get("after"),
            limit=said.get("limit", NAMED),
        )
        return Response(PreviewSerializer(told).data)


class ConfigurationView(APIView):
    """One layer."""

    @extend_schema(responses=ConfigurationSerializer)
    def get(self, request: Request, configuration_id: UUID) -> Response:
        return Response(ConfigurationSerializer(layer_with(configuration_id)).data)

    @extend_schema(request=NewVersionFields, responses=ConfigurationSerializer)
    def put(self, request: Request, configuration_id: UUID) -> Response:
        layer = layer_with(configuration_id)
        said = _said(NewVersionFields, request)
        subject = layers.subject_of(layer)
        saved = layers.save(subject=subject, now=timezone.now(), **said)
        return Response(ConfigurationSerializer(saved).data)


class VersionPages(CursorPages):
    def get_ordering(self, request: Request, queryset: Any, view: Any) -> Any:
        return ("-number",)


class VersionsView(ListAPIView[ConfigurationVersion]):
    """Every version of a layer, the newest first."""

    serializer_class = VersionSerializer
    pagination_class = VersionPages
    filter_backends = (KnownParameters,)

    def get_queryset(self) -> QuerySet[ConfigurationVersion]:
        layer = layer_with(self.kwargs["configuration_id"])
        return ConfigurationVersion.objects.filter(configuration=layer)


class VersionView(APIView):
    """One version of a layer."""

    @extend_schema(responses=VersionSerializer)
    def get(self, request: Request, configuration_id: UUID, number: int) -> Response:
        version = _version(layer_with(configuration_id), number)
        return Response(VersionSerializer(version).data)


class RestoreView(APIView):
    """Bring an earlier version back, as a new one."""

    @extend_schema(request=RestoreFields, responses=ConfigurationSerializer)
    def post(self, request: Request, configuration_id: UUID, number: int) -> Response:
        said = _said(RestoreFields, request)
        layer = layer_with(configuration_id)
        restored = layers.restore(
            layer=layer, number=number, now=timezone.now(), **said
        )
        return Response(ConfigurationSerializer(restored).data)


class DifferencesView(APIView):
    """The keys in which two versions of a layer differ."""

    @extend_schema(
        parameters=[
            OpenApiParameter(
                name,
                {"type": "integer", "minimum": 1, "maximum": 2_147_483_647},
                required=True,
            )
            for name in ("first", "second")
        ],
        responses=DifferencesSerializer,
    )
    def get(self, request: Request, configuration_id: UUID) -> Response:
        layer = layer_with(configuration_id)
        question = DifferenceQuestionSerializer(data=request.query_params.dict())
        question.is_valid(raise_exception=True)
        asked = question.validated_data
        first, second = (
            _version(layer, asked[name]).document for name in ("first", "second")
        )
        answer = {**asked, "differences": differences(first, second)}
        return Response(DifferencesSerializer(answer).data)


class DeviceConfigurationView(APIView):
    """What a device should have, which layer says so, and what it has."""

    @extend_schema(responses=DeviceConfigurationSerializer)
    def get(self, request: Request, device_id: UUID) -> Response:
        told = device_configuration.of_device(found(device_id), now=timezone.now())
        return Response(DeviceConfigurationSerializer(told).data)


def layer_with(configuration_id: UUID) -> DeviceConfiguration:
    layers_with = DeviceConfiguration.objects.select_related("tag", "device")
    layer: DeviceConfiguration | None = layers_with.filter(pk=configuration_id).first()
    if layer is None:
        raise NoSuchConfiguration
    return layer


def _version(layer: DeviceConfiguration, number: int) -> ConfigurationVersion:
    versions = ConfigurationVersion.objects.filter(configuration=layer, number=number)
    version: ConfigurationVersion | None = versions.first()
    if version is None:
        raise NoSuchVersion
    return version


def _said(kind: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    body = kind(data=request.data)
    body.is_valid(raise_exception=True)
    return dict(body.validated_data)


def _subject(said: dict[str, Any]) -> Subject:
    """Whom a body is about, taken out of it.

    Raises:
        InvalidSubject: there is no such tag or device in this tenant.
    """
    tag_name, device_id = said.pop("tag", None), said.pop("device", None)
    tag = Tag.objects.filter(name=tag_name).first() if tag_name is not None else None
    if tag_name is not None and tag is None:
        raise InvalidSubject("There is no such tag.", field="tag")
    device = Device.objects.filter(pk=device_id).first() if device_id else None
    if device_id is not None and device is None:
        raise InvalidSubject("There is no such device.", field="device")
    return Subject(said.pop("scope"), tag, device)
