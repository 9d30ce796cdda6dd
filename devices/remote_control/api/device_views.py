"""The devices' doors to remote control."""

from typing import Any
from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.parsers import BaseParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.limits import Limit
from core.rest.negotiation import OneFormOnly
from devices.registry.api.authentication import IsDevice, calling_device
from devices.remote_control.api.serializers import (
    AfterQuestion,
    AnswerFields,
    MyCommandsSerializer,
    MyKeySetSerializer,
    ScreenshotSerializer,
    SequenceSerializer,
)
from devices.remote_control.api.views import parsed
from devices.remote_control.models import CommandHistory, CommandSigningKey
from devices.remote_control.services import fetching, screenshots, signing
from devices.remote_control.services.fetching import LARGEST_SEQUENCE

AFTER = OpenApiParameter(
    "after",
    {"type": "integer", "minimum": 0, "maximum": LARGEST_SEQUENCE},
    description="The number of the last command that the device has seen.",
)
CONTROLLED = Limit("controlled_device")  # a person at a screen is quick
STREAM_HEADER = "X-Command-Stream"  # tells the push channel whom an answer is for


class MyCommandsView(APIView):
    """The commands that the calling device has not seen; what it has seen has arrived."""

    permission_classes = (IsDevice,)
    caller_limit = CONTROLLED
    content_negotiation_class = OneFormOnly

    @extend_schema(parameters=[AFTER], responses=MyCommandsSerializer)
    def get(self, request: Request) -> Response:
        now = timezone.now()
        rows = fetching.fetch(
            device=calling_device(request), after=_after(request), now=now
        )
        key = signing.current_key(now=now) if rows else None
        told = [_signed(row, key) for row in rows if key is not None]
        return Response({"results": told}, headers={"Cache-Control": "no-store"})


class MyAnswerView(APIView):
    """What the calling device says of one of its commands; said twice is said once."""

    permission_classes = (IsDevice,)
    caller_limit = CONTROLLED

    @extend_schema(request=AnswerFields, responses={204: None})
    def post(self, request: Request, command_id: UUID) -> Response:
        said = parsed(AnswerFields, request)
        fetching.answer(
            device=calling_device(request),
            command_id=command_id,
            now=timezone.now(),
            **said,
        )
        return Response(status=status.HTTP_204_NO_CONTENT)


class MyCommandKeysView(APIView):
    """The keys by which the calling device knows its commands."""

    permission_classes = (IsDevice,)
    caller_limit = CONTROLLED

    @extend_schema(responses=MyKeySetSerializer)
    def get(self, request: Request) -> Response:
        device, now = calling_device(request), timezone.now()
        keys = signing.key_set(now=now)
        told = {
            "keys": keys,
            "endorsement": signing.endorsed(keys, device=device, now=now),
        }
        return Response(told, headers={"Cache-Control": "no-store"})


class MyStreamView(APIView):
    """The push channel: which number the device's last command has, when that changes.

    Where `connect` says that the stream is, the answer waits until there is a command
    past `after`: with `Accept: text/event-stream` it goes on and on, each event with
    the number as its `id`, and an event `update` when one is meant for the device; else it ends with the first one, or after half a minute.
    Anywhere else it comes at once.
    """

    permission_classes = (IsDevice,)
    caller_limit = CONTROLLED
    content_negotiation_class = OneFormOnly

    @extend_schema(
        parameters=[
            AFTER,
            OpenApiParameter(
                "Last-Event-ID",
                {"type": "integer", "minimum": 0, "maximum": LARGEST_SEQUENCE},
                location="header",
                description="Goes before `after`.",
            ),
        ],
        responses=SequenceSerializer,
    )
    def get(self, request: Request) -> Response:
        device = calling_device(request)
        steps = getattr(device, "next_steps", None)
        sequence = steps.command_sequence if steps else 0
        said = _after(request)
        headers = {
            STREAM_HEADER: f"{device.pk} {sequence} {said}",
            "Cache-Control": "no-store",
        }
        told = {
            "sequence": sequence,
            "update_waiting": steps is not None and steps.update_waiting,
        }
        return Response(told, headers=headers)


class PictureParser(BaseParser):
    """Whatever it says that it is: what is in it is looked into."""

    media_type = "*/*"

    def parse(
        self, stream: Any, media_type: Any = None, parser_context: Any = None
    ) -> dict[str, bytes]:
        return {"picture": stream.read()}


class UploadView(APIView):
    """Where a device puts the picture that it was asked for; the address is the key.

    Who shows a credential as well is counted by it, and not by the address of the site.
    """

    permission_classes = (AllowAny,)
    caller_limit = CONTROLLED
    parser_classes = (PictureParser,)

    @extend_schema(
        parameters=[OpenApiParameter("key", required=True)],
        request={"image/png": {"type": "string", "format": "binary"}},
        responses={201: ScreenshotSerializer},
    )
    def put(self, request: Request, command_id: UUID) -> Response:
        shot = screenshots.receive(
            command_id=command_id,
            secret=request.query_params.get("key", ""),
            data=request.data.get("picture", b""),
            now=timezone.now(),
        )
        return Response(ScreenshotSerializer(shot).data, status.HTTP_201_CREATED)


def _after(request: Request) -> int:
    """What the device says that it has seen last; nothing known is nothing seen.

    A browser that reconnects by itself repeats the address and adds the header, so the
    header is the newer of both.
    """
    said = [request.query_params.dict()]
    if "Last-Event-ID" in request.headers:
        said.append({"after": request.headers["Last-Event-ID"]})
    after = 0
    for one in said:
        question = AfterQuestion(data=one)
        question.is_valid(raise_exception=True)
        after = int(question.validated_data["after"])
    return after


def _signed(row: CommandHistory, key: CommandSigningKey) -> dict[str, Any]:
    more = (
        {"upload_url": screenshots.upload_url(row)} if row.type == "screenshot" else {}
    )
    return {
        "id": str(row.pk),
        "sequence": row.sequence,
        "signed": signing.signed(row, key, more=more),
    }
