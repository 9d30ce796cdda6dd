"""Endpoints of sites."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock
from core.querysets import first_or_raise
from core.rest.bodies import validated_body
from core.rest.fields import StrictCharField
from core.rest.strict import RejectUnknownParameters, StrictSerializer
from core.rest.weekly_times import WeeklyTimeFields
from core.weekly_times import MAX_TIMES
from devices.registry.errors import SiteNotFound
from devices.registry.models import Site
from devices.registry.services import sites


class SiteChanges(StrictSerializer):
    """The fields of a site to change. Omitted fields keep their values."""

    name = StrictCharField(max_length=120, required=False)
    parent: Any = StrictCharField(
        max_length=120,
        required=False,
        allow_null=True,
        help_text="Name or id of the site or region that this site is in.",
    )
    address = StrictCharField(max_length=500, required=False, allow_blank=True)
    latitude = serializers.FloatField(
        min_value=-90, max_value=90, required=False, allow_null=True, help_text="Degrees."
    )
    longitude = serializers.FloatField(
        min_value=-180, max_value=180, required=False, allow_null=True, help_text="Degrees."
    )
    time_zone = StrictCharField(
        max_length=64,
        required=False,
        allow_blank=True,
        help_text="Name in the IANA database. Devices at the site use it if no configuration"
        " sets a time zone.",
    )
    contact = StrictCharField(max_length=200, required=False, allow_blank=True)
    opening_hours = serializers.ListField(
        child=WeeklyTimeFields(), max_length=MAX_TIMES, required=False
    )
    notes = serializers.CharField(max_length=2000, required=False, allow_blank=True)

    def validate_opening_hours(self, value: list[Any]) -> list[dict[str, Any]]:
        return [dict(entry) for entry in value]


class SiteFields(SiteChanges):
    """The fields of a site. All but the name are optional."""

    name = StrictCharField(max_length=120)


class SiteSerializer(serializers.ModelSerializer[Site]):
    """A site. `parent` is the site or region that it is in."""

    parent: Any = serializers.UUIDField(source="parent_id", allow_null=True)
    opening_hours = WeeklyTimeFields(many=True)

    class Meta:
        model = Site
        fields = (
            "id",
            "name",
            "parent",
            "address",
            "latitude",
            "longitude",
            "time_zone",
            "contact",
            "opening_hours",
            "notes",
            "created_at",
        )
        read_only_fields = fields


class SitesView(ListAPIView[Site]):
    """List the tenant's sites, or create a site."""

    serializer_class = SiteSerializer
    ordering = ("name", "id")
    filter_backends = (RejectUnknownParameters,)

    def get_queryset(self) -> QuerySet[Site]:
        return Site.objects.all()

    @extend_schema(request=SiteFields, responses={201: SiteSerializer})
    def post(self, request: Request) -> Response:
        site = sites.create(now=clock.now(), **_fields(SiteFields, request))
        return Response(SiteSerializer(site).data, status.HTTP_201_CREATED)


class SiteView(APIView):
    """Read, change or delete a site. Only a site that nothing uses can be deleted."""

    @extend_schema(responses=SiteSerializer)
    def get(self, request: Request, site_id: UUID) -> Response:
        return Response(SiteSerializer(get_site(site_id)).data)

    @extend_schema(request=SiteChanges, responses=SiteSerializer)
    def patch(self, request: Request, site_id: UUID) -> Response:
        site, fields = get_site(site_id), _fields(SiteChanges, request)
        site = sites.change(site=site, now=clock.now(), **fields)
        return Response(SiteSerializer(site).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, site_id: UUID) -> Response:
        sites.delete(site=get_site(site_id), now=clock.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


def get_site(site_id: UUID) -> Site:
    return first_or_raise(Site.objects.filter(pk=site_id), SiteNotFound)


def _fields(serializer_class: Any, request: Request) -> dict[str, Any]:
    fields: dict[str, Any] = dict(validated_body(serializer_class, request))
    if fields.get("parent") is not None:
        fields["parent"] = sites.find_site(fields["parent"], field="parent")
    return fields
