"""Endpoints of the attributes that a tenant defines for its devices."""

from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock
from core.rest.bodies import validated_body
from devices.registry.api.serializers import (
    AttributeFields,
    AttributeSerializer,
    AttributesSerializer,
)
from devices.registry.services import attributes
from tenants.api.permissions import IsMember
from tenants.models import Role


class MayDefine(IsMember):
    """Allow members to read attributes, and admins and owners to change them."""

    writes = Role.ADMIN


class AttributesView(APIView):
    """List the attributes of the tenant's devices."""

    permission_classes = (MayDefine,)

    @extend_schema(operation_id="attributes_list", responses=AttributesSerializer)
    def get(self, request: Request) -> Response:
        return Response(AttributesSerializer({"results": attributes.of_tenant().values()}).data)


class AttributeView(APIView):
    """An attribute. PUT creates it, or changes its label and choices."""

    permission_classes = (MayDefine,)

    @extend_schema(responses=AttributeSerializer)
    def get(self, request: Request, key: str) -> Response:
        return Response(AttributeSerializer(attributes.get(key)).data)

    @extend_schema(request=AttributeFields, responses=AttributeSerializer)
    def put(self, request: Request, key: str) -> Response:
        body = validated_body(AttributeFields, request)
        row = attributes.define(key=key, now=clock.now(), **body)
        return Response(AttributeSerializer(row).data)

    @extend_schema(
        responses={204: None}, description="Delete the attribute and its values of all devices."
    )
    def delete(self, request: Request, key: str) -> Response:
        attributes.delete(key=key, now=clock.now())
        return Response(status=status.HTTP_204_NO_CONTENT)
