"""Tests of the rate limits. The requests of one caller must not throttle other callers."""

import itertools
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_network
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from core import limits
from core.limits import Limit, LimiterUnavailable, Rate
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from tenants.models import Tenant
from tenants.tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db
_numbers = itertools.count(1)


@pytest.fixture
def address() -> str:
    """Return an IP address from which no requests were sent before."""
    number = next(_numbers) + int(datetime.now(UTC).timestamp() * 1000)
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@pytest.fixture
def rates(settings: Any) -> Iterator[dict[str, Rate | None]]:
    settings.RATES = dict(settings.RATES)
    return settings.RATES  # type: ignore[no-any-return]


def statuses(client: Any, path: str, count: int, **headers: Any) -> list[int]:
    return [client.get(path, **headers).status_code for _ in range(count)]


def test_requests_without_credentials_are_throttled_with_a_retry_after_header(
    rates: Any, address: str
) -> None:
    rates["address"] = Rate(3, 60)

    codes = statuses(Client(), "/certificates/ca.pem", 4, REMOTE_ADDR=address)
    response = Client().get("/certificates/ca.pem", REMOTE_ADDR=address)

    assert codes == [200, 200, 200, 429]
    assert response.json()["errors"][0]["code"] == "throttled"
    assert 0 < int(response["Retry-After"]) <= 120


def test_failed_authentication_is_throttled_but_a_valid_token_still_works(
    rates: Any, address: str, device: Device, as_device: Callable[[Device], APIClient]
) -> None:
    rates["refused"] = Rate(2, 60)

    codes = statuses(Client(), "/devices", 3, REMOTE_ADDR=address)

    assert codes == [401, 401, 429]
    response = as_device(device).get("/devices/me", REMOTE_ADDR=address)
    assert response.status_code == 200


def test_requests_refused_by_a_service_are_throttled_too(
    rates: Any, address: str, device: Device, as_device: Callable[[Device], APIClient]
) -> None:
    rates["refused"] = Rate(2, 60)
    Device.every_tenant.update(quarantined_at=datetime.now(UTC))

    codes = statuses(as_device(device), "/devices/me", 3, REMOTE_ADDR=address)

    assert codes == [403, 403, 429]


def test_x_forwarded_proto_is_accepted_from_trusted_proxies_only(settings: Any) -> None:
    settings.TRUSTED_PROXIES = [ip_network("198.51.100.7/32")]
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.SECURE_SSL_REDIRECT = True
    client = Client(headers={"X-Forwarded-Proto": "https"})

    untrusted = client.get("/admin/login/", REMOTE_ADDR="203.0.113.9")
    trusted = client.get("/admin/login/", REMOTE_ADDR="198.51.100.7")

    assert (untrusted.status_code, trusted.status_code) == (308, 200)


def test_x_forwarded_for_of_an_untrusted_client_is_ignored(rates: Any, address: str) -> None:
    rates["address"] = Rate(2, 60)

    codes = [
        Client()
        .get("/certificates/ca.pem", REMOTE_ADDR=address, HTTP_X_FORWARDED_FOR=f"192.0.2.{number}")
        .status_code
        for number in range(3)
    ]

    assert codes == [200, 200, 429]


def test_behind_a_trusted_proxy_each_client_has_its_own_limit(
    rates: Any, settings: Any, address: str
) -> None:
    rates["address"] = Rate(1, 60)
    settings.TRUSTED_PROXIES = [ip_network("198.51.100.7/32")]

    def request_from(client: str) -> int:
        return (
            Client()
            .get(
                "/certificates/ca.pem",
                REMOTE_ADDR="198.51.100.7",
                HTTP_X_FORWARDED_FOR=f"203.0.113.1, {client}",
            )
            .status_code
        )

    other = f"2001:db8:{address[3:].replace('.', ':')}::1"
    codes = [request_from(client) for client in (address, address, other)]
    assert codes == [200, 429, 200]


def test_pages_without_a_sign_in_are_limited_by_address(rates: Any, address: str) -> None:
    rates["address"] = Rate(10, 60)

    codes = statuses(Client(), "/admin/login/", 3, REMOTE_ADDR=address)
    page = Client().get("/admin/login/", REMOTE_ADDR=address)

    assert codes == [200, 200, 429]
    assert "Too many requests" in page.content.decode()
    assert 0 < int(page["Retry-After"]) <= 120


def test_the_pages_of_a_user_are_limited_and_those_of_others_are_not(
    rates: Any, address: str, tenant: Tenant
) -> None:
    rates["portal"], rates["address"] = Rate(3, 60), Rate(1, 60)
    busy, other = Client(REMOTE_ADDR=address), Client(REMOTE_ADDR=address)
    for client in (busy, other):
        client.force_login(MembershipFactory.create(tenant=tenant).user)

    assert statuses(busy, "/admin/devices/device/", 4) == [200, 200, 200, 429]
    assert statuses(other, "/admin/devices/device/", 1) == [200]


def test_a_token_has_its_own_limit(
    rates: Any, tenant: Tenant, as_device: Callable[[Device], APIClient]
) -> None:
    rates["device"] = Rate(2, 60)
    busy, quiet = (DeviceFactory.create(tenant=tenant), DeviceFactory.create(tenant=tenant))

    assert statuses(as_device(busy), "/devices/me", 3) == [200, 200, 429]
    assert statuses(as_device(quiet), "/devices/me", 1) == [200]


def test_each_tenant_has_its_own_limit(
    rates: Any, as_device: Callable[[Device], APIClient]
) -> None:
    rates["tenant"] = Rate(2, 60)
    first, other = DeviceFactory.create(), DeviceFactory.create()

    assert statuses(as_device(first), "/devices/me", 3) == [200, 200, 429]
    assert statuses(as_device(other), "/devices/me", 1) == [200]


def test_a_high_limit_is_counted_in_batches_and_still_enforced(rates: Any, address: str) -> None:
    rates["tenant"] = Rate(100, 3600)
    limit = Limit("tenant")

    allowed = sum(limit.spend(address) is None for _ in range(200))

    assert 95 <= allowed <= 105


def test_a_throttled_client_gets_no_new_batch_by_repeating_requests(
    rates: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates["tenant"] = Rate(100, 3600)
    limit = Limit("tenant")
    while limit.spend(address) is None:
        pass
    allowed, start = 0, time.monotonic()

    for second in range(2, 60, 2):
        later = start + second
        monkeypatch.setattr(time, "monotonic", lambda later=later: later)
        limit._window = int(later // 3600)  # a new window may start during the test
        allowed += sum(limit.spend(address) is None for _ in range(10))

    assert allowed <= 5, "at most what the sliding window frees"


def test_two_processes_share_one_count(rates: Any, address: str) -> None:
    rates["sign_in"] = Rate(4, 60)
    first, second = Limit("sign_in"), Limit("sign_in")

    waits = [limit.spend(address) for _ in range(3) for limit in (first, second)]

    assert [wait is None for wait in waits] == [True] * 4 + [False] * 2


def test_without_redis_device_limits_fail_open_and_code_limits_fail_closed(
    settings: Any, rates: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_redis_retry_at", 0.0)  # restored after the test
    settings.REDIS_COUNTERS_URL = "redis://127.0.0.1:1/0"
    rates["device"] = rates["second_factor"] = Rate(1, 60)

    assert [Limit("device").spend(address) for _ in range(3)] == [None] * 3
    with pytest.raises(LimiterUnavailable):
        Limit("second_factor", fails_open=False).spend(address)


def test_limits_need_only_the_redis_of_the_counters(
    settings: Any, rates: Any, address: str
) -> None:
    settings.REDIS_URL = settings.REDIS_BROKER_URL = "redis://127.0.0.1:1/0"
    settings.REDIS_PUSH_URL = "redis://127.0.0.1:1/0"
    rates["second_factor"] = Rate(1, 60)
    limit = Limit("second_factor", fails_open=False)

    assert [limit.spend(address) is None for _ in range(2)] == [True, False]


@pytest.mark.parametrize("text", ["", "0/min", "10", "10/week", "-1/min", "1e3/min"])
def test_an_invalid_rate_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="not a rate"):
        Rate.parse(text)


def test_rates_are_parsed() -> None:
    assert Rate.parse("120/min") == Rate(120, 60)
    assert Rate.parse("30/5min") == Rate(30, 300)
    assert Rate.parse("off") is None
