"""All classes of events, and the portal pages of the objects that events are about."""

import inspect
from fnmatch import fnmatchcase
from functools import cache

from django.conf import settings
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import autodiscover_modules

from events.domain_events import DomainEvent
from events.models import Event

DEVICE_PAGE = "admin:devices_device_change"


@cache
def event_classes() -> dict[str, type[DomainEvent]]:
    """Return the event classes of all apps by the name of the event."""
    autodiscover_modules("events")
    classes: dict[str, type[DomainEvent]] = {}
    pending: list[type[DomainEvent]] = [DomainEvent]
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        if "name" in kind.__dict__:
            classes[kind.name] = kind
    return dict(sorted(classes.items()))


def description_of(kind: type[DomainEvent]) -> str:
    """Return what an event class says about its events: a sentence, and perhaps paragraphs."""
    return inspect.cleandoc(kind.__doc__ or "")


def matching_names(pattern: str) -> list[str]:
    """Return the names of the events that a pattern such as `alert.*` selects."""
    return [name for name in event_classes() if fnmatchcase(name, pattern)]


def link_to(event: Event, tenant_slug: str) -> str | None:
    """Return the address of the portal page of the object that an event is about, or None."""
    kind = event_classes().get(event.name)
    page, subject = DEVICE_PAGE, event.device_id
    if kind is not None and kind.link is not None and event.data.get(kind.link[0]):
        page, subject = kind.link[1], event.data[kind.link[0]]
    if subject is None or event.tenant_id is None:
        return None
    try:
        path = reverse(page, args=[subject])
    except NoReverseMatch:  # an event of an earlier release
        return None
    return f"{settings.PUBLIC_URL}/t/{tenant_slug}{path}"
