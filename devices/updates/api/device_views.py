"""API of the updates of the calling device."""

from uuid import UUID

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock
from core.rest.documentation import error_response
from core.rest.negotiation import SingleFormatNegotiation
from core.rest.parsers import DeviceJSONParser
from devices.registry.api.authentication import IsDevice, calling_device
from devices.registry.api.device_messages import read_device_message
from devices.updates.api.device_serializers import FeedbackFields, OfferSerializer
from devices.updates.services import feedback, offers


class MyUpdateView(APIView):
    """The update that the calling device should install now; 204 if there is none."""

    permission_classes = (IsDevice,)
    content_negotiation_class = SingleFormatNegotiation

    @extend_schema(responses={200: OfferSerializer, 204: None})
    def get(self, request: Request) -> Response:
        offer = offers.current_offer(calling_device(request), now=clock.now())
        headers = {"Cache-Control": "no-store"}
        if offer is None:
            return Response(status=status.HTTP_204_NO_CONTENT, headers=headers)
        context = {"base": settings.PUBLIC_URL}
        return Response(OfferSerializer(offer, context=context).data, headers=headers)


class MyFeedbackView(APIView):
    """Report the progress of the calling device's update. The response is 204.

    Reports can arrive in any order. Sending the same report twice has no further effect.
    `installed` does not complete the update. The device must also come online with the
    new version and run it for the soak time without an alert. After `failed`, the device
    is offered the update again only when a member retries the rollout.
    """

    permission_classes = (IsDevice,)

    parser_classes = (DeviceJSONParser,)
    content_negotiation_class = SingleFormatNegotiation

    # Shared by all requests, because each new serializer copies its fields.
    body = FeedbackFields()

    @extend_schema(
        request=FeedbackFields,
        responses={
            204: None,
            410: error_response("The update or the attempt has ended (`update_ended`)."),
        },
    )
    def post(self, request: Request, rollout_id: UUID) -> Response:
        fields = {"attempt": None, **read_device_message(self.body, request).fields}
        feedback.record_feedback(
            device=calling_device(request), deployment_id=rollout_id, now=clock.now(), **fields
        )
        return Response(status=status.HTTP_204_NO_CONTENT)
