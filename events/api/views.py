"""API of notification channels, for admins of a tenant."""

from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock
from core.querysets import first_or_raise
from core.rest.strict import RejectUnknownParameters
from events.api.serializers import (
    ChannelFields,
    ChannelSerializer,
    ChannelUpdateSerializer,
    EventNamesSerializer,
    MessageSerializer,
    NewChannelSerializer,
    SecretSerializer,
)
from events.errors import NoSuchChannel, NoSuchMessage
from events.event_classes import description_of, event_classes
from events.models import Channel, ChannelDelivery
from events.services import channels
from tenants.api.permissions import IsAdmin


class ChannelsView(ListAPIView[Channel]):
    """List the tenant's notification channels, or create a channel."""

    permission_classes = (IsAdmin,)
    serializer_class = ChannelSerializer
    ordering = ("name", "id")
    filter_backends = (RejectUnknownParameters,)

    def get_queryset(self) -> QuerySet[Channel]:
        return Channel.objects.all()

    @extend_schema(request=ChannelFields, responses={201: NewChannelSerializer})
    def post(self, request: Request) -> Response:
        body = ChannelFields(data=request.data)
        body.is_valid(raise_exception=True)
        channel, secret = channels.create(now=clock.now(), **body.service_arguments())
        response = NewChannelSerializer({"channel": channel, "secret": secret})
        return Response(response.data, status.HTTP_201_CREATED)


class EventNamesView(APIView):
    """List the names of the events that a channel can select."""

    permission_classes = (IsAdmin,)

    @extend_schema(operation_id="event_names_list", responses=EventNamesSerializer)
    def get(self, request: Request) -> Response:
        results = [
            {"name": name, "description": description_of(kind).partition("\n")[0]}
            for name, kind in event_classes().items()
        ]
        return Response({"results": results})


class ChannelView(APIView):
    """Read, change or delete a notification channel."""

    permission_classes = (IsAdmin,)

    @extend_schema(responses=ChannelSerializer)
    def get(self, request: Request, channel_id: UUID) -> Response:
        return Response(ChannelSerializer(get_channel(channel_id)).data)

    @extend_schema(request=ChannelUpdateSerializer, responses=ChannelSerializer)
    def patch(self, request: Request, channel_id: UUID) -> Response:
        channel = get_channel(channel_id)
        body = ChannelUpdateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        updated = channels.update(channel=channel, now=clock.now(), **body.service_arguments())
        return Response(ChannelSerializer(updated).data)

    @extend_schema(responses={204: None})
    def delete(self, request: Request, channel_id: UUID) -> Response:
        channels.delete(channel=get_channel(channel_id), now=clock.now())
        return Response(status=status.HTTP_204_NO_CONTENT)


class TestView(APIView):
    """Queue a test message to a channel.

    The message is sent within seconds. `GET /channels/{channel_id}/messages` then contains
    the result.
    """

    runs_own_transactions = True  # it waits for the receiver

    permission_classes = (IsAdmin,)

    @extend_schema(request=None, responses={202: MessageSerializer})
    def post(self, request: Request, channel_id: UUID) -> Response:
        message = channels.test(channel=get_channel(channel_id), now=clock.now())
        return Response(MessageSerializer(message).data, status.HTTP_202_ACCEPTED)


class RotateSecretView(APIView):
    """Create a new webhook secret.

    For one day, requests are signed with both the new and the former secret.
    """

    permission_classes = (IsAdmin,)

    @extend_schema(request=None, responses={201: SecretSerializer})
    def post(self, request: Request, channel_id: UUID) -> Response:
        secret = channels.rotate_secret(channel=get_channel(channel_id), now=clock.now())
        return Response({"secret": secret}, status.HTTP_201_CREATED)


class MessagesView(ListAPIView[ChannelDelivery]):
    """List the messages of a channel in the last week, newest first."""

    permission_classes = (IsAdmin,)
    serializer_class = MessageSerializer
    ordering = ("-id",)
    filter_backends = (RejectUnknownParameters,)

    def get_queryset(self) -> QuerySet[ChannelDelivery]:
        if getattr(self, "swagger_fake_view", False):  # generating the OpenAPI document
            return ChannelDelivery.objects.none()
        channel = get_channel(self.kwargs["channel_id"])
        return ChannelDelivery.objects.filter(channel=channel)


class ReplayView(APIView):
    """Send a delivered or dead message again."""

    permission_classes = (IsAdmin,)

    @extend_schema(request=None, responses=MessageSerializer)
    def post(self, request: Request, channel_id: UUID, message_id: str) -> Response:
        messages = ChannelDelivery.objects.filter(channel=get_channel(channel_id))
        row = first_or_raise(messages.with_public_ids([message_id]), NoSuchMessage)
        message = channels.replay(message_id=row.pk, now=clock.now())
        return Response(MessageSerializer(message).data)


def get_channel(channel_id: UUID) -> Channel:
    return first_or_raise(Channel.objects.filter(pk=channel_id), NoSuchChannel)
