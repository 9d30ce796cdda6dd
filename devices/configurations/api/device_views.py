"""The devices' doors to their configuration."""

from typing import Any

from django.http import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.rest.caching import unchanged
from core.rest.negotiation import OneFormOnly
from devices.configurations.api.serializers import (
    MyConfigurationSerializer,
    ReportFields,
)
from devices.configurations.services import connect_response, effective, reports
from devices.registry.api.authentication import IsDevice, calling_device


class MyConfigurationView(APIView):
    """What the calling device should have; 304 if it has that already.

    The version came with the credential, so a 304 has read one row.
    """

    permission_classes = (IsDevice,)
    content_negotiation_class = OneFormOnly

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "If-None-Match",
                location="header",
                description="The `ETag` of what the device has.",
            )
        ],
        responses={
            200: MyConfigurationSerializer,
            304: OpenApiResponse(description="The device has it already."),
        },
    )
    def get(self, request: Request) -> HttpResponseBase:
        device = calling_device(request)
        version = connect_response.version_for(device, now=timezone.now())
        etag = f'"{version}"'
        response: Any = unchanged(request, etag) or Response(
            {"version": version, "configuration": effective.document_of(version)},
            headers={"ETag": etag},
        )
        response.headers["Cache-Control"] = "private, no-cache"
        return response


class ReportedView(APIView):
    """What the calling device has made of its configuration."""

    permission_classes = (IsDevice,)

    @extend_schema(request=ReportFields, responses={204: None})
    def post(self, request: Request) -> Response:
        body = ReportFields(data=request.data)
        body.is_valid(raise_exception=True)
        device = calling_device(request)
        reports.report(device=device, now=timezone.now(), **body.validated_data)
        return Response(status=status.HTTP_204_NO_CONTENT)
