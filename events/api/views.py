"""The doors of the channels: parse, one verb, render. For admins."""

from typing import Any
from uuid import UUID

from django.db.models import QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.rest.pagination import CursorPages
from core.rest.strict import KnownParameters
from events.api.serializers import (
    ChannelFields,
    ChannelSerializer,
    ChannelUpdateSerializer,
    MessageSerializer,
    NewChannelSerializer,
    SecretSerializer,
)
from events.errors import NoSuchChannel, NoSuchMessage
from events.models import Channel, ChannelDelivery
from events.services import channels
from tenants.api.permissions import IsAdmin


class ByName(CursorPages):
    def get_ordering(self, request: Request, queryset: Any, view: Any) -> Any:
        return ("name", "id")


class NewestFirst(CursorPages):
    def get_ordering(self, request: Request, queryset: Any, view: Any) -> Any:
        return ("-id",)


class ChannelsView(ListAPIView[Channel]):
    """Whom the tenant tells of its events, and one more."""

    permission_classes = (IsAdmin,)
    serializer_class = ChannelSerializer
    pagination_class = ByName
    filter_backends = (KnownParameters,)

    def get_queryset(self) -> QuerySet[Channel]:
        chosen: QuerySet[Channel] = Channel.objects.all()
        return chosen

    @extend_schema(request=ChannelFields, responses={201: NewChannelSerializer})
    def post(self, request: Request) -> Response:
        body = ChannelFields(data=request.data)
        body.is_valid(raise_exception=True)
        channel, secret = channels.create(now=timezone.now(), **body.said())
        made = NewChannelSerializer({"channel": channel, "secret": secret})
        return Response(made.data, status.HTTP_201_CREATED)


class ChannelView(APIView):
    """One channel of the tenant."""

    permission_classes = (IsAdmin,)

    @extend_schema(responses=ChannelSerializer)
    def get(self, request: Request, channel_id: UUID) -> Response:
        return Response(ChannelSerializer(found(channel_id)).data)

    @extend_schema(request=ChannelUpdateSerializer, responses=ChannelSerializer)
    def patch(self, request: Request, channel_id: UUID) -> Response:
        channel = found(channel_id)
        body = ChannelUpdateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        changed = channels.update(channel=channel, now=timezone.now(), **body.said())
        return Response(ChannelSerializer(changed).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, channel_id: UUID) -> Response:
        channels.delete(channel=found(channel_id), now=timezone.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class TestView(APIView):
    """Send something over a channel at once; the answer says what came of it."""

    permission_classes = (IsAdmin,)

    @extend_schema(request=None, responses=MessageSerializer)
    def post(self, request: Request, channel_id: UUID) -> Response:
        message = channels.test(channel=found(channel_id), now=timezone.now())
        return Response(MessageSerializer(message).data)


class RotateSecretView(APIView):
    """A new secret; for a day requests are signed with the former one as well."""

    permission_classes = (IsAdmin,)

    @extend_schema(request=None, responses={201: SecretSerializer})
    def post(self, request: Request, channel_id: UUID) -> Response:
        secret = channels.rotate_secret(channel=found(channel_id), now=timezone.now())
        return Response({"secret": secret}, status.HTTP_201_CREATED)


class MessagesView(ListAPIView[ChannelDelivery]):
    """What went over a channel in the last week, newest first."""

    permission_classes = (IsAdmin,)
    serializer_class = MessageSerializer
    pagination_class = NewestFirst
    filter_backends = (KnownParameters,)

    def get_queryset(self) -> QuerySet[ChannelDelivery]:
        if getattr(self, "swagger_fake_view", False):  # the document is being made
            return ChannelDelivery.objects.none()
        channel = found(self.kwargs["channel_id"])
        chosen: QuerySet[ChannelDelivery] = ChannelDelivery.objects.filter(
            channel=channel
        )
        return chosen


class ReplayView(APIView):
    """Send a message again that was delivered or given up."""

    permission_classes = (IsAdmin,)

    @extend_schema(request=None, responses=MessageSerializer)
    def post(self, request: Request, channel_id: UUID, message_id: int) -> Response:
        of_channel = ChannelDelivery.objects.filter(channel=found(channel_id))
        if message_id > 2**62 or not of_channel.filter(pk=message_id).exists():
            raise NoSuchMessage
        message = channels.replay(message_id=message_id, now=timezone.now())
        return Response(MessageSerializer(message).data)


def found(channel_id: UUID) -> Channel:
    channel: Channel | None = Channel.objects.filter(pk=channel_id).first()
    if channel is None:
        raise NoSuchChannel
    return channel
