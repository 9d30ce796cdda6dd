"""API endpoints with which devices fetch and report their configuration."""

from django.http import HttpResponseBase
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock
from core.rest.caching import not_modified_response
from core.rest.documentation import IF_NONE_MATCH, NOT_MODIFIED
from core.rest.negotiation import SingleFormatNegotiation
from core.rest.parsers import DeviceJSONParser
from devices.configurations.api.serializers import MyConfigurationSerializer, ReportFields
from devices.configurations.services import connect_response, effective, reports
from devices.registry.api.authentication import IsDevice, calling_device
from devices.registry.api.device_messages import read_device_message


class MyConfigurationView(APIView):
    """The desired configuration of the calling device.

    Send the `ETag` of the last response as `If-None-Match`. The response is 304 if the
    configuration has not changed.
    """

    # Authentication loads the version with the credential. A 304 therefore reads one row.
    permission_classes = (IsDevice,)
    content_negotiation_class = SingleFormatNegotiation

    @extend_schema(
        parameters=[IF_NONE_MATCH], responses={200: MyConfigurationSerializer, 304: NOT_MODIFIED}
    )
    def get(self, request: Request) -> HttpResponseBase:
        device = calling_device(request)
        version = connect_response.version_for(device, now=clock.now())
        etag = f'"{version}"'
        response = not_modified_response(request, etag) or Response(
            {"version": version, "configuration": effective.document_of(version)},
            headers={"ETag": etag},
        )
        response.headers["Cache-Control"] = "private, no-cache"
        return response


class ReportedView(APIView):
    """Report that the device has applied its configuration, or why this was not possible."""

    permission_classes = (IsDevice,)
    parser_classes = (DeviceJSONParser,)
    content_negotiation_class = SingleFormatNegotiation

    @extend_schema(request=ReportFields, responses={204: None})
    def post(self, request: Request) -> Response:
        fields = read_device_message(ReportFields(), request).fields
        device = calling_device(request)
        reports.report(device=device, now=clock.now(), **fields)
        return Response(status=status.HTTP_204_NO_CONTENT)
