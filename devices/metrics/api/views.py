"""The doors of the metrics: parse, one verb, render."""

from typing import Any
from uuid import UUID

from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core.rest.negotiation import OneFormOnly
from core.rest.pagination import CursorPages
from devices.metrics.api import documentation
from devices.metrics.api.parsing import SamplesParser
from devices.metrics.api.serializers import (
    AggregateQuestionSerializer,
    AggregateSerializer,
    HistoryQuestionSerializer,
    StoredSerializer,
)
from devices.metrics.measures import MEASURE, MEASURES
from devices.metrics.models import DeviceMetrics
from devices.metrics.sample_validation import Fault
from devices.metrics.services import aggregates, history, ingest
from devices.metrics.services.history import Period
from devices.registry.api.authentication import IsDevice, calling_device
from devices.registry.api.views import found

BATCH = {"samples", "sent_at"}


class MetricsView(APIView):
    """Samples of the calling device; what is answered with 2xx is kept for certain."""

    permission_classes = (IsDevice,)
    parser_classes = (SamplesParser,)
    content_negotiation_class = OneFormOnly

    @extend_schema(
        request=documentation.body(),
        responses={
            200: StoredSerializer,
            503: OpenApiResponse(
                description="Nothing is stored now; `Retry-After` says when to come again."
            ),
        },
    )
    def post(self, request: Request) -> Response:
        samples, sent_at = _batch(request.data)
        now = timezone.now()
        outcome = ingest.ingest(
            device=calling_device(request), samples=samples, sent_at=sent_at, now=now
        )
        alone = request.data is samples[0]
        if len(outcome.faults) and not outcome.stored + outcome.repeated:
            raise _refusal(outcome.faults, alone=alone)
        return Response(
            {
                "stored": outcome.stored,
                "repeated": outcome.repeated,
                "corrected": outcome.corrected,
                "refused": [_told(fault) for fault in outcome.faults],
                "server_time": now.isoformat().replace("+00:00", "Z"),
            }
        )


class SamplePages(CursorPages):
    """A device has no two samples of one time, so the time is place enough."""

    page_size = 300  # a day of the usual interval

    def get_ordering(self, request: Request, queryset: Any, view: Any) -> Any:
        return ("-recorded_at",)


class DeviceMetricsView(APIView):
    """The newest sample of a device, and those of a period or what they came to."""

    @extend_schema(
        parameters=[HistoryQuestionSerializer],
        responses={200: documentation.history()},
    )
    def get(self, request: Request, device_id: UUID) -> Response:
        asked = _asked(HistoryQuestionSerializer, request)
        device, now = found(device_id), timezone.now()
        bucket = asked["bucket"]
        period = Period.asked(
            bucket=bucket, start=asked.get("from"), end=asked.get("to"), now=now
        )
        newest = history.latest(device)
        told: dict[str, Any] = {
            "device_id": device.pk,
            "latest": None if newest is None else history.shown(newest),
            "bucket": bucket,
            "from": period.start,
            "to": period.end,
        }
        if bucket == "raw":
            return Response(told | self._page(request, history.samples(device, period)))
        measures = [MEASURE[asked["measure"]]] if "measure" in asked else MEASURES
        rows = history.rolled_up(device, period, bucket=bucket, measures=measures)
        return Response(told | {"next": None, "previous": None, "results": rows})

    def _page(self, request: Request, samples: Any) -> dict[str, Any]:
        pages = SamplePages()
        rows: list[DeviceMetrics] = pages.paginate_queryset(samples, request, self)
        return {
            "next": pages.get_next_link(),
            "previous": pages.get_previous_link(),
            "results": [history.shown(row) for row in rows],
        }


class AggregateView(APIView):
    """A measure across the tenant's devices, by model, app version, tag or time."""

    @extend_schema(
        parameters=[AggregateQuestionSerializer], responses=AggregateSerializer
    )
    def get(self, request: Request) -> Response:
        asked = _asked(AggregateQuestionSerializer, request)
        by = asked.get("by", "")
        measure = MEASURE[asked["measure"]]
        period = Period.asked(
            bucket="day" if by == "day" else "hour",
            start=asked.get("from"),
            end=asked.get("to"),
            now=timezone.now(),
        )
        only = {name: asked.get(name) for name in ("model", "app_version", "tag")}
        groups = aggregates.across(measure, period, by=by, **only)
        answer = AggregateSerializer(
            {
                "measure": measure.name,
                "unit": measure.unit,
                "start": period.start,
                "end": period.end,
                "groups": groups,
            }
        )
        return Response(answer.data)


def _batch(body: Any) -> tuple[list[Any], Any]:
    """The samples of a body in any of its forms, and when the device sent them."""
    if isinstance(body, list):
        return body, None
    if "samples" not in body:
        return [body], None
    if unknown := body.keys() - BATCH:
        error = ErrorDetail("There is no such field.", code="unknown_field")
        raise ValidationError({name: [error] for name in sorted(unknown)[:20]})
    if not isinstance(body["samples"], list):
        raise ValidationError({"samples": "This is a list of samples."})
    return body["samples"], body.get("sent_at")


def _refusal(faults: list[Fault], *, alone: bool) -> ValidationError:
    said: dict[str, list[ErrorDetail]] = {}
    for fault in faults[:100]:
        attr = (fault.field or "non_field_errors") if alone else _attr(fault)
        said.setdefault(attr, []).append(ErrorDetail(fault.sentence, fault.code))
    return ValidationError(said)


def _told(fault: Fault) -> dict[str, str]:
    return {"code": fault.code, "detail": fault.sentence, "attr": _attr(fault)}


def _attr(fault: Fault) -> str:
    place = f"samples.{fault.index}"
    return f"{place}.{fault.field}" if fault.field else place


def _asked(kind: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    question = kind(data=request.query_params.dict())
    question.is_valid(raise_exception=True)
    answers: dict[str, Any] = question.validated_data
    return answers
