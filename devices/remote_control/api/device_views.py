"""Device API endpoints of remote control."""

from datetime import datetime
from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.parsers import BaseParser
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock
from core.limits import Limit
from core.rest.documentation import error_response
from core.rest.negotiation import SingleFormatNegotiation
from core.rest.parsers import DeviceJSONParser
from devices.registry.api.authentication import IsDevice, calling_device
from devices.registry.api.device_messages import read_device_message
from devices.registry.models import Device
from devices.remote_control.api.serializers import (
    AfterParameters,
    AnswerFields,
    KeysParameters,
    MyCommandsSerializer,
    MyKeySetSerializer,
    ScreenshotSerializer,
    SequenceSerializer,
)
from devices.remote_control.models import CommandHistory, CommandSigningKey
from devices.remote_control.services import fetching, screenshots, signing
from devices.remote_control.services.fetching import MAX_SEQUENCE
from tenants.context import caller_network

AFTER = OpenApiParameter(
    "after",
    {"type": "integer", "minimum": 0, "maximum": MAX_SEQUENCE},
    description="The sequence number of the last command that the device has seen.",
)
KEYS = OpenApiParameter(
    "keys",
    {"type": "string", "enum": ["true", "false"]},
    description="Return the endorsed keys together with the commands, if there are any.",
)
CONTROLLED = Limit("controlled_device")  # gestures, such as taps, come in quick succession
STREAM_HEADER = "X-Command-Stream"  # identifies the device to the push server


class MyCommandsView(APIView):
    """Return the commands that the calling device has not seen.

    `after` is the last sequence number that the device has seen. Commands up to `after` are
    marked as delivered. With `keys=true`, the response also contains the keys that verify the
    commands, endorsed for this device, so that no further request is needed.
    """

    permission_classes = (IsDevice,)
    caller_limit = CONTROLLED
    content_negotiation_class = SingleFormatNegotiation

    @extend_schema(parameters=[AFTER, KEYS], responses=MyCommandsSerializer)
    def get(self, request: Request) -> Response:
        device, now, wants_keys = calling_device(request), clock.now(), _wants_keys(request)
        rows = fetching.fetch(device=device, after=_after(request), now=now)
        key = signing.current_key(device=device, now=now) if rows else None
        results = [_signed(row, key) for row in rows if key is not None]
        keys = _endorsed_keys(device, now) if wants_keys and rows else {}
        return Response({"results": results, **keys}, headers={"Cache-Control": "no-store"})


class MyAnswerView(APIView):
    """Answer a command. Sending the same answer twice has no further effect."""

    permission_classes = (IsDevice,)
    parser_classes = (DeviceJSONParser,)
    content_negotiation_class = SingleFormatNegotiation
    caller_limit = CONTROLLED

    @extend_schema(
        request=AnswerFields,
        responses={204: None, 410: error_response("The command has ended (`command_ended`).")},
    )
    def post(self, request: Request, command_id: UUID) -> Response:
        data = read_device_message(AnswerFields(), request).fields
        fetching.answer(
            device=calling_device(request), command_id=command_id, now=clock.now(), **data
        )
        return Response(status=status.HTTP_204_NO_CONTENT)


class MyCommandKeysView(APIView):
    """Return the public keys with which the calling device verifies its commands."""

    permission_classes = (IsDevice,)
    caller_limit = CONTROLLED

    @extend_schema(responses=MyKeySetSerializer)
    def get(self, request: Request) -> Response:
        keys = _endorsed_keys(calling_device(request), clock.now())
        return Response(keys, headers={"Cache-Control": "no-store"})


class MyStreamView(APIView):
    """Push notifications for the calling device.

    At the address that `connect` returns as `command_stream`, the response waits until
    there is a command with a sequence number above `after`.

    - With `Accept: text/event-stream`, the response is a stream of server-sent events.
      Each event has the sequence number of the device's last command as its `id`. An
      event named `update` means that an update is available for the device.
    - Otherwise the response is sent at the first command or update, or after 25 seconds.

    At any other address, the response is sent at once.
    """

    permission_classes = (IsDevice,)
    caller_limit = CONTROLLED
    content_negotiation_class = SingleFormatNegotiation

    @extend_schema(
        parameters=[
            AFTER,
            OpenApiParameter(
                "Last-Event-ID",
                {"type": "integer", "minimum": 0, "maximum": MAX_SEQUENCE},
                location="header",
                description="Takes precedence over `after`.",
            ),
        ],
        responses={
            (200, "application/json"): SequenceSerializer,
            (200, "text/event-stream"): OpenApiTypes.STR,
        },
    )
    def get(self, request: Request) -> Response:
        device = calling_device(request)
        steps = getattr(device, "next_steps", None)
        sequence = steps.command_sequence if steps else 0
        headers = {
            STREAM_HEADER: f"{device.pk} {sequence} {_after(request)} {caller_network()}",
            "Cache-Control": "no-store",
        }
        data = {"sequence": sequence, "update_waiting": steps is not None and steps.update_waiting}
        return Response(data, headers=headers)


class ImageParser(BaseParser):
    """Reads a body of any content type. `screenshots.receive` inspects the content."""

    media_type = "*/*"

    def parse(
        self, stream: Any, media_type: Any = None, parser_context: Any = None
    ) -> dict[str, bytes]:
        return {"image": stream.read()}


class UploadView(APIView):
    """Upload the screenshot that a command requested.

    The key in the address authorises the upload, so no credential is required. If the
    device sends its credential, the rate limit applies to the device. Otherwise the rate
    limit applies to the IP address.
    """

    permission_classes = (AllowAny,)
    caller_limit = CONTROLLED
    parser_classes = (ImageParser,)

    @extend_schema(
        parameters=[OpenApiParameter("key", required=True)],
        request={"image/png": {"type": "string", "format": "binary"}},
        responses={
            201: ScreenshotSerializer,
            410: error_response(
                "The command has ended, or its screenshot is stored (`upload_ended`)."
            ),
        },
    )
    def put(self, request: Request, command_id: UUID) -> Response:
        screenshot = screenshots.receive(
            command_id=command_id,
            secret=request.query_params.get("key", ""),
            data=request.data.get("image", b""),
            now=clock.now(),
        )
        return Response(ScreenshotSerializer(screenshot).data, status.HTTP_201_CREATED)


def _after(request: Request) -> int:
    """Return the sequence number of the last command that the device has seen; default 0.

    The `Last-Event-ID` header takes precedence over the `after` parameter. An event stream
    client that reconnects repeats the original address and adds the header, so the header
    is newer.
    """
    inputs = [request.query_params.dict()]
    if "Last-Event-ID" in request.headers:
        inputs.append({"after": request.headers["Last-Event-ID"]})
    after = 0
    for data in inputs:
        parameters = AfterParameters(data=data)
        parameters.is_valid(raise_exception=True)
        after = int(parameters.validated_data["after"])
    return after


def _wants_keys(request: Request) -> bool:
    """Return whether the device asks for the keys together with its commands."""
    parameters = KeysParameters(data=request.query_params.dict())
    parameters.is_valid(raise_exception=True)
    return bool(parameters.validated_data["keys"] == "true")


def _endorsed_keys(device: Device, now: datetime) -> dict[str, Any]:
    """Return the keys that verify the commands of a device, and their endorsement by a CA."""
    keys = signing.key_set(now=now, device=device)
    return {"keys": keys, "endorsement": signing.endorsement(keys, device=device, now=now)}


def _signed(row: CommandHistory, key: CommandSigningKey) -> dict[str, Any]:
    more = {"upload_url": screenshots.upload_url(row)} if row.type == "screenshot" else {}
    return {
        "id": str(row.pk),
        "sequence": row.sequence,
        "signed": signing.sign_command(row, key, more=more),
    }
