"""API views of metrics: storing samples, a device's history, and aggregates."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core import clock
from core.conversions import clean_text
from core.ignored import Ignored
from core.rest.ignored import ignored_response
from core.rest.negotiation import SingleFormatNegotiation
from core.rest.pagination import KeysetPagination
from core.rest.tolerant import MAX_NAMED
from core.times import utc_text
from devices.metrics.api import documentation
from devices.metrics.api.parsing import SAMPLES, SAMPLES_OF_TENANT, SamplesParser, require_budget
from devices.metrics.api.serializers import (
    AggregateQuerySerializer,
    AggregateSerializer,
    HistoryQuerySerializer,
    StoredSerializer,
)
from devices.metrics.measures import MEASURE, MEASURES
from devices.metrics.sample_validation import Fault
from devices.metrics.sample_values import parse_time
from devices.metrics.services import aggregates, history, ingest
from devices.metrics.services.history import Period
from devices.registry.api.authentication import IsDevice, calling_device
from devices.registry.api.views import get_device
from devices.registry.services import unreadable_fields

BATCH_FIELDS = {"samples", "sent_at"}
MAX_FAULTS = 100  # that a response names


class MetricsView(APIView):
    """Store samples of the calling device.

    A 2xx response means that the samples are stored, except those listed in `refused`. The
    values listed in `ignored` were converted, cut or dropped.
    """

    permission_classes = (IsDevice,)
    parser_classes = (SamplesParser,)
    content_negotiation_class = SingleFormatNegotiation

    @extend_schema(request=documentation.body(), responses=StoredSerializer)
    def post(self, request: Request) -> Response:
        samples, sent_at, ignored = _batch(request.data)
        require_budget(SAMPLES, SAMPLES_OF_TENANT, cost=len(samples))
        now = clock.now()
        outcome = ingest.ingest(
            device=calling_device(request), samples=samples, sent_at=sent_at, now=now
        )
        is_single = request.data is samples[0]
        unusable = [*ignored, *_ignored(outcome.ignored, is_single=is_single)]
        unreadable = [*unusable, *_ignored(outcome.faults, is_single=is_single)]
        unreadable_fields.note(calling_device(request), unreadable, now=now)
        if len(outcome.faults) and not outcome.stored + outcome.repeated:
            raise _validation_error(outcome.faults, is_single=is_single)
        return Response(
            {
                "stored": outcome.stored,
                "repeated": outcome.repeated,
                "corrected": outcome.corrected,
                "refused": [_fault_fields(fault) for fault in outcome.faults],
                "ignored": ignored_response(unusable),
                "server_time": utc_text(now),
            }
        )


class SamplePages(KeysetPagination):
    """Pages of samples, newest first. A device has at most one sample for a time."""

    ordering = ("-recorded_at",)
    page_size = 300  # a day at the default interval


class DeviceMetricsView(APIView):
    """Return a device's latest sample and the samples or roll-ups of a period."""

    @extend_schema(parameters=[HistoryQuerySerializer], responses={200: documentation.history()})
    def get(self, request: Request, device_id: UUID) -> Response:
        query = _query(HistoryQuerySerializer, request)
        device, now = get_device(device_id), clock.now()
        bucket = query["bucket"]
        period = Period.with_defaults(
            bucket=bucket, start=query.get("from"), end=query.get("to"), now=now
        )
        latest = history.latest(device)
        data: dict[str, Any] = {
            "device_id": device.pk,
            "latest": None if latest is None else history.sample_values(latest),
            "bucket": bucket,
            "from": period.start,
            "to": period.end,
        }
        if bucket == "raw":
            return Response(data | self._page(request, history.samples(device, period)))
        measures = [MEASURE[query["measure"]]] if "measure" in query else MEASURES
        rows = history.roll_ups(device, period, bucket=bucket, measures=measures)
        return Response(data | {"next": None, "previous": None, "results": rows})

    def _page(self, request: Request, samples: Any) -> dict[str, Any]:
        pages = SamplePages()
        rows = pages.paginate_queryset(samples, request, self)
        return {
            "next": pages.get_next_link(),
            "previous": pages.get_previous_link(),
            "results": [history.sample_values(row) for row in rows],
        }


class AggregateView(APIView):
    """Aggregate a measure across the tenant's devices, by model, app version, tag or time."""

    @extend_schema(parameters=[AggregateQuerySerializer], responses=AggregateSerializer)
    def get(self, request: Request) -> Response:
        query = _query(AggregateQuerySerializer, request)
        by = query.get("by", "")
        measure = MEASURE[query["measure"]]
        period = Period.with_defaults(
            bucket="day" if by == "day" else "hour",
            start=query.get("from"),
            end=query.get("to"),
            now=clock.now(),
        )
        filters = {name: query.get(name) for name in ("model", "app_version", "tag")}
        groups = aggregates.aggregate(measure, period, by=by, **filters)
        serializer = AggregateSerializer(
            {
                "measure": measure.name,
                "unit": measure.unit,
                "start": period.start,
                "end": period.end,
                "groups": groups,
            }
        )
        return Response(serializer.data)


def _batch(body: Any) -> tuple[list[Any], Any, list[Ignored]]:
    """Return the samples and `sent_at` of a request body: one sample, a list, or a batch.

    The third value is what of a batch is not usable.
    """
    if isinstance(body, list):
        return body, None, []
    if "samples" not in body:
        return [body], None, []
    samples, sent_at = body["samples"], body.get("sent_at")
    if isinstance(samples, dict):
        samples = [samples]
    if not isinstance(samples, list):
        raise ValidationError({"samples": "This must be a list of samples."})
    unknown = sorted(body.keys() - BATCH_FIELDS)[:MAX_NAMED]
    ignored = [
        Ignored(clean_text(name, 64), "unknown_field", "This field does not exist.")
        for name in unknown
    ]
    if sent_at is not None and parse_time(sent_at) is None:
        message = "Enter a time with a time zone, such as 2026-03-01T12:00:00Z."
        ignored.append(Ignored("sent_at", "dropped", message))
    return samples, sent_at, ignored


def _ignored(faults: list[Fault], *, is_single: bool) -> list[Ignored]:
    return [
        Ignored(fault.field if is_single else _attr(fault), fault.code, fault.message)
        for fault in faults[:MAX_FAULTS]
    ]


def _validation_error(faults: list[Fault], *, is_single: bool) -> ValidationError:
    """Return the faults as a 400 error.

    If the body is a single sample, `attr` contains only the path of the field.
    """
    errors: dict[str, list[ErrorDetail]] = {}
    for fault in faults[:MAX_FAULTS]:
        attr = (fault.field or "non_field_errors") if is_single else _attr(fault)
        errors.setdefault(attr, []).append(ErrorDetail(fault.message, fault.code))
    return ValidationError(errors)


def _fault_fields(fault: Fault) -> dict[str, str]:
    return {"code": fault.code, "detail": fault.message, "attr": _attr(fault)}


def _attr(fault: Fault) -> str:
    path = f"samples.{fault.index}"
    return f"{path}.{fault.field}" if fault.field else path


def _query(serializer_class: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    serializer = serializer_class(data=request.query_params.dict())
    serializer.is_valid(raise_exception=True)
    return serializer.validated_data
