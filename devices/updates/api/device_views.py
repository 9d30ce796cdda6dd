"""The devices' doors to their updates."""

from uuid import UUID

from django.conf import settings
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from devices.registry.api.authentication import IsDevice, calling_device
from devices.updates.api.device_serializers import FeedbackFields, OfferSerializer
from devices.updates.services import feedback, offers


class MyUpdateView(APIView):
    """What the calling device is to install now; 204 when there is nothing."""

    permission_classes = (IsDevice,)

    @extend_schema(responses={200: OfferSerializer, 204: None})
    def get(self, request: Request) -> Response:
        offer = offers.current_offer(calling_device(request), now=timezone.now())
        headers = {"Cache-Control": "no-store"}
        if offer is None:
            return Response(status=status.HTTP_204_NO_CONTENT, headers=headers)
        context = {"base": settings.PUBLIC_URL}
        return Response(OfferSerializer(offer, context=context).data, headers=headers)


class MyFeedbackView(APIView):
    """How far the calling device is with an update, in any order.

    `installed` is its own view: it has succeeded when it is seen with the new version,
    and has been well for some time. After `failed` it is offered the same update again
    only when a member says so.
    """

    permission_classes = (IsDevice,)

    # Made once: a serializer per request would copy its fields each time.
    body = FeedbackFields()

    @extend_schema(request=FeedbackFields, responses={204: None})
    def post(self, request: Request, rollout_id: UUID) -> Response:
        said = self.body.run_validation(request.data)
        feedback.record_feedback(
            device=calling_device(request),
            deployment_id=rollout_id,
            now=timezone.now(),
            **said,
        )
        return Response(status=status.HTTP_204_NO_CONTENT)
