"""Query filters of command lists."""

import django_filters

from core.rest.filters import StrictFilterSet
from devices.registry.device_filters import IdFilter
from devices.remote_control.command_types import CHOICES
from devices.remote_control.models import CommandHistory, Status


class CommandFilter(StrictFilterSet):
    """Filters commands by status, type, session and bulk command."""

    status = django_filters.ChoiceFilter(choices=Status.choices)
    type = django_filters.ChoiceFilter(choices=CHOICES)
    session = IdFilter()
    bulk = IdFilter()

    class Meta:
        model = CommandHistory
        fields = ("status", "type")
