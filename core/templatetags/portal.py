"""Template filters of the portal, also used by admin list columns."""

from datetime import datetime

from django import template
from django.utils.html import format_html
from django.utils.timesince import timesince
from django.utils.timezone import localtime

from core import clock

register = template.Library()


@register.filter
def relative_time(moment: datetime | None, *, never: str = "never") -> str:
    """Render a time relative to now, with the exact time as a tooltip.

    Args:
        never: text to return if there is no time.
    """
    if moment is None:
        return never
    now = clock.now()
    if moment > now:
        text = f"in {timesince(now, moment, depth=1)}"
    elif (now - moment).total_seconds() < 60:
        text = "just now"
    else:
        text = f"{timesince(moment, now, depth=1)} ago"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(),
        f"{localtime(moment):%Y-%m-%d %H:%M:%S %Z}",
        text,
    )


@register.filter
def identifier_kind_label(kind: str) -> str:
    """Return the label of an identifier kind: `mac_address` becomes "MAC address"."""
    label = kind.replace("_", " ").capitalize()
    return label.replace("Mac ", "MAC ")
