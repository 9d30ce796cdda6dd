from datetime import UTC, datetime

from factory import Sequence, SubFactory

from events.models import Channel
from tenants.tests.factories import EveryTenantFactory, TenantFactory


class ChannelFactory(EveryTenantFactory):
    """A webhook channel for alert events."""

    class Meta:
        model = Channel

    tenant = SubFactory(TenantFactory)
    name = Sequence("Channel {}".format)
    kind = "webhook"
    url = "https://hooks.example.com/"
    created_at = datetime(2026, 1, 1, tzinfo=UTC)
