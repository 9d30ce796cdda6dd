"""How the portal says when, in templates and in lists."""

from datetime import datetime

from django import template
from django.utils import timezone
from django.utils.html import format_html
from django.utils.timesince import timesince

register = template.Library()


@register.filter
def moment_in_words(moment: datetime | None, *, never: str = "never") -> str:
    """How long ago or how far ahead, with the exact time on hover."""
    if moment is None:
        return never
    now = timezone.now()
    if moment > now:
        words = f"in {timesince(now, moment, depth=1)}"
    elif (now - moment).total_seconds() < 60:
        words = "just now"
    else:
        words = f"{timesince(moment, now, depth=1)} ago"
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(),
        f"{moment:%Y-%m-%d %H:%M:%S} UTC",
        words,
    )


@register.filter
def kind_in_words(kind: str) -> str:
    """`mac_address` as people write it."""
    words = kind.replace("_", " ").capitalize()
    return words.replace("Mac ", "MAC ")
