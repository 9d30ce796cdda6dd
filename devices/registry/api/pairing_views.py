"""Endpoints to pair a device that has no credential yet (RFC 8628)."""

from urllib.parse import urlencode

import segno
from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock
from core.limits import Limit
from core.rest.ignored import ignored_response
from core.rest.negotiation import SingleFormatNegotiation
from core.rest.parsers import DeviceJSONParser
from core.rest.tolerant import read_message
from devices.registry.api.serializers import (
    DeviceCodeSerializer,
    PairedSerializer,
    PairingSerializer,
    PairSerializer,
    report_from,
)
from devices.registry.api.views import response_to_device
from devices.registry.services import pairing
from tenants.context import bind_tenant

PAIRING_LIMIT = Limit("pairing")
NO_STORE = {"Cache-Control": "no-store"}


class PairView(APIView):
    """Start a pairing. Return its codes and the URL at which a member enters the user code."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    additional_address_limit = PAIRING_LIMIT
    parser_classes = (DeviceJSONParser,)
    content_negotiation_class = SingleFormatNegotiation

    @extend_schema(request=PairSerializer, responses=PairingSerializer)
    def post(self, request: Request) -> Response:
        message = read_message(PairSerializer(), request)
        codes = pairing.start(report=report_from(message.fields), now=clock.now())
        url = f"{settings.PUBLIC_URL}/pair"
        complete_url = f"{url}?{urlencode({'code': codes.user_code})}"
        qr_code = segno.make(complete_url, error="m")
        data = {
            "device_code": codes.device_code,
            "user_code": codes.user_code,
            "verification_uri": url,
            "verification_uri_complete": complete_url,
            "qr_code": qr_code.png_data_uri(scale=8, border=4),
            "expires_in": codes.expires_in,
            "interval": codes.interval,
            "ignored": ignored_response([*message.ignored, *codes.ignored]),
        }
        return Response(data, headers=NO_STORE)


class PairTokenView(APIView):
    """Poll a pairing.

    The first poll after the approval returns the device and its token. While the pairing is
    pending, and after a denial, the response is an error defined in RFC 8628 §3.5.
    """

    authentication_classes = ()
    permission_classes = (AllowAny,)
    parser_classes = (DeviceJSONParser,)
    content_negotiation_class = SingleFormatNegotiation

    @extend_schema(request=DeviceCodeSerializer, responses=PairedSerializer)
    def post(self, request: Request) -> Response:
        code = read_message(DeviceCodeSerializer(), request).fields["device_code"]
        registration = pairing.poll(device_code=code, now=clock.now())
        device = registration.device
        bind_tenant(device.tenant_id)
        data = {"device": response_to_device(device.pk), "token": registration.token}
        return Response(data, headers=NO_STORE)
