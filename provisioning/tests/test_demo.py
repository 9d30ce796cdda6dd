"""`./run demo`: a demo tenant with simulated devices."""

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
    pytest.mark.usefixtures("partitions_dropped"),
]


@pytest.fixture(autouse=True)
def running_server(live_server: Any, settings: Any) -> None:
    settings.PUBLIC_URL = settings.STREAM_URL = live_server.url
    settings.RATES = dict.fromkeys(settings.RATES)


def demo(*arguments: str) -> dict[str, Any]:
    out = StringIO()
    call_command("demo", "--devices", "4", "--seconds", "2", "--json", *arguments, stdout=out)
    result: dict[str, Any] = json.loads(out.getvalue())
    return result


def test_the_demo_creates_a_tenant_with_devices_that_have_a_history() -> None:
    result = demo()
    tenant = Tenant.objects.get(slug="demo")
    assert Device.every_tenant.filter(tenant=tenant).count() == 4
    yesterday = datetime.now(UTC) - timedelta(hours=23)
    samples = DeviceMetrics.every_tenant.filter(recorded_at__lt=yesterday)
    assert samples.values("device_id").distinct().count() == 4
    assert set(DeviceTag.every_tenant.values_list("tag__name", flat=True)) == {"lobby", "bar"}
    assert DeviceConfiguration.every_tenant.count() == 3
    assert PreferenceDefinition.every_tenant.count() == 3
    assert Deployment.every_tenant.get().counted == 4
    owner = User.objects.get(email="demo@example.com")
    assert owner.check_password(result["password"])
    failed = [kind["failed"] for kind in result["requests"].values()]
    assert failed == [0] * len(failed)


def test_a_second_run_continues_with_the_same_devices() -> None:
    demo()
    result = demo()
    assert result["password"] is None
    assert Device.every_tenant.count() == 4
    assert result["requests"]["register"]["statuses"] == {"200": 4}


def test_without_a_server_the_error_says_how_to_start_one(settings: Any) -> None:
    settings.PUBLIC_URL = "http://127.0.0.1:9"
    with pytest.raises(CommandError, match=r"Start the server with \./run first"):
        demo()


def test_too_many_devices_are_rejected() -> None:
    with pytest.raises(CommandError, match="--devices must be from 1 to 2,000"):
        demo("--devices", "100000")


def test_a_tenant_with_the_same_slug_is_not_changed() -> None:
    TenantFactory.create(slug="demo")
    with pytest.raises(CommandError, match="was not created by the demo"):
        demo()
    assert not Device.every_tenant.exists()


def test_the_demo_fails_if_devices_cannot_register() -> None:
    with (
        patch.object(demo_command, "REGISTRATION_TIMEOUT", 2.0),
        patch.object(demo_command, "_prepare", return_value="enr_unknown"),
        pytest.raises(CommandError, match="Not all devices registered"),
    ):
        demo()


def test_only_the_enrollment_token_of_the_latest_run_is_usable() -> None:
    for _ in range(2):
        demo()
    usable = EnrollmentToken.every_tenant.usable(datetime.now(UTC))
    assert usable.filter(name="demo devices").count() == 1
