"""The doors for a box that has no credential yet (RFC 8628)."""

from urllib.parse import urlencode

import segno
from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.limits import Limit
from devices.registry.api.serializers import (
    DeviceCodeSerializer,
    PairedSerializer,
    PairingSerializer,
    PairSerializer,
)
from devices.registry.api.views import shown
from devices.registry.services import pairing
from tenants.context import bind_tenant

STARTED = Limit("pairing")
NO_STORE = {"Cache-Control": "no-store"}


class PairView(APIView):
    """A box asks to be let in: the codes, and where a member types the one it shows."""

    authentication_classes = ()
    permission_classes = (AllowAny,)
    limit_by_address = STARTED

    @extend_schema(request=PairSerializer, responses=PairingSerializer)
    def post(self, request: Request) -> Response:
        body = PairSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        started = pairing.start(box=body.box(), now=timezone.now())
        address = f"{settings.PUBLIC_URL}/pair"
        complete = f"{address}?{urlencode({'code': started.user_code})}"
        answer = {
            "device_code": started.device_code,
            "user_code": started.user_code,
            "verification_uri": address,
            "verification_uri_complete": complete,
            "qr_code": segno.make(complete, error="m").png_data_uri(scale=8, border=4),
            "expires_in": started.expires_in,
            "interval": started.interval,
        }
        return Response(answer, headers=NO_STORE)


class PairTokenView(APIView):
    """The box asks whether it was let in; its token, once, or how things stand."""

    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(request=DeviceCodeSerializer, responses=PairedSerializer)
    def post(self, request: Request) -> Response:
        body = DeviceCodeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        code = body.validated_data["device_code"]
        registered = pairing.poll(device_code=code, now=timezone.now())
        bind_tenant(registered.device.tenant_id)
        answer = {"device": shown(registered.device.pk), "token": registered.token}
        return Response(answer, headers=NO_STORE)
