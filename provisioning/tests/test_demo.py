"""`./run demo`: something true to look at, in a tenant of its own."""

import json
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from unittest.mock import patch

import pytest
from django.core.management import CommandError, call_command

from devices.configurations.models import DeviceConfiguration
from devices.metrics.models import DeviceMetrics
from devices.preferences.models import PreferenceDefinition
from devices.registry.models import Device, DeviceTag, EnrollmentToken
from devices.updates.models import Deployment
from provisioning.management.commands import demo as demo_command
from tenants.models import Tenant, User
from tenants.tests.factories import TenantFactory

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("pieces_dropped"),
]


@pytest.fixture(autouse=True)
def beside(live_server: Any, settings: Any) -> None:
    settings.PUBLIC_URL = settings.STREAM_URL = live_server.url
    settings.RATES = dict.fromkeys(settings.RATES)


def demo(*words: str) -> dict[str, Any]:
    out = StringIO()
    call_command(
        "demo", "--devices", "4", "--seconds", "2", "--json", *words, stdout=out
    )
    told: dict[str, Any] = json.loads(out.getvalue())
    return told


def test_it_makes_a_tenant_with_boxes_that_have_a_past() -> None:
    told = demo()
    tenant = Tenant.objects.get(slug="demo")
    assert Device.every_tenant.filter(tenant=tenant).count() == 4
    yesterday = datetime.now(UTC) - timedelta(hours=23)
    past = DeviceMetrics.every_tenant.filter(recorded_at__lt=yesterday)
    assert past.values("device_id").distinct().count() == 4
    assert set(DeviceTag.every_tenant.values_list("tag__name", flat=True)) == {
        "lobby",
        "bar",
    }
    assert DeviceConfiguration.every_tenant.count() == 3
    assert PreferenceDefinition.every_tenant.count() == 3
    assert Deployment.every_tenant.get().counted == 4
    owner = User.objects.get(email="demo@example.com")
    assert owner.check_password(told["password"])
    failed = [kind["failed"] for kind in told["requests"].values()]
    assert failed == [0] * len(failed)


def test_again_it_goes_on_with_the_same_boxes() -> None:
    demo()
    told = demo()
    assert told["password"] is None
    assert Device.every_tenant.count() == 4
    assert told["requests"]["register"]["statuses"] == {"200": 4}


def test_without_a_server_it_says_what_to_do(settings: Any) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:9"
    with pytest.raises(CommandError, match=r"start it with \./run first"):
        demo()


def test_more_than_it_can_bear_is_refused() -> None:
    with pytest.raises(CommandError, match="devices"):
        demo("--devices", "100000")


def test_somebody_elses_tenant_of_the_name_is_left_alone() -> None:
    TenantFactory.create(slug="demo")
    with pytest.raises(CommandError, match="not the demo's"):
        demo()
    assert not Device.every_tenant.exists()


def test_boxes_that_do_not_come_in_are_no_success() -> None:
    with (
        patch.object(demo_command, "REGISTERING", 2.0),
        patch.object(demo_command, "_prepared", return_value="enr_unknown"),
        pytest.raises(CommandError, match="Not all boxes came in"),
    ):
        demo()


def test_one_token_is_good_at_a_time() -> None:
    for _ in range(2):
        demo()
    usable = EnrollmentToken.every_tenant.usable(datetime.now(UTC))
    assert usable.filter(name="demo boxes").count() == 1
