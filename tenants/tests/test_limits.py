"""How often a caller may call, and that nobody pays for what others do."""

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
from core.limits import Limit, LimitsUnknown, Rate
from devices.registry.models import Device
from devices.registry.tests.factories import DeviceFactory
from tenants.models import Tenant

pytestmark = pytest.mark.django_db
_numbers = itertools.count(1)


@pytest.fixture
def address() -> str:
    """Nobody has called from here before."""
    number = next(_numbers) + int(datetime.now(UTC).timestamp() * 1000)
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@pytest.fixture
def rates(settings: Any) -> Iterator[dict[str, Rate | None]]:
    settings.RATES = dict(settings.RATES)
    return settings.RATES  # type: ignore[no-any-return]


def statuses(client: Any, path: str, count: int, **headers: Any) -> list[int]:
    return [client.get(path, **headers).status_code for _ in range(count)]


def test_an_address_without_credentials_is_held_up_and_told_for_how_long(
    rates: Any, address: str
) -> None:
    rates["address"] = Rate(3, 60)

    codes = statuses(Client(), "/certificates/ca.pem", 4, REMOTE_ADDR=address)
    answer = Client().get("/certificates/ca.pem", REMOTE_ADDR=address)

    assert codes == [200, 200, 200, 429]
    assert answer.json()["errors"][0]["code"] == "throttled"
    assert 0 < int(answer["Retry-After"]) <= 120


def test_guessing_tokens_ends_in_429_and_a_good_token_from_there_still_works(
    rates: Any,
    address: str,
    device: Device,
    as_device: Callable[[Device], APIClient],
) -> None:
    rates["refused"] = Rate(2, 60)

    codes = statuses(Client(), "/devices", 3, REMOTE_ADDR=address)

    assert codes == [401, 401, 429]
    good = as_device(device).get("/devices/me", REMOTE_ADDR=address)
    assert good.status_code == 200


def test_refusals_of_the_domain_count_as_well(
    rates: Any,
    address: str,
    device: Device,
    as_device: Callable[[Device], APIClient],
) -> None:
    rates["refused"] = Rate(2, 60)
    Device.every_tenant.update(quarantined_at=datetime.now(UTC))

    codes = statuses(as_device(device), "/devices/me", 3, REMOTE_ADDR=address)

    assert codes == [403, 403, 429]


def test_a_proxys_word_for_tls_counts_from_trusted_proxies_only(settings: Any) -> None:
    settings.TRUSTED_PROXIES = [ip_network("198.51.100.7/32")]
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    settings.SECURE_SSL_REDIRECT = True
    client = Client(headers={"X-Forwarded-Proto": "https"})

    forged = client.get("/admin/login/", REMOTE_ADDR="203.0.113.9")
    true = client.get("/admin/login/", REMOTE_ADDR="198.51.100.7")

    assert (forged.status_code, true.status_code) == (301, 200)


def test_a_forged_forwarding_header_changes_nothing(rates: Any, address: str) -> None:
    rates["address"] = Rate(2, 60)

    codes = [
        Client()
        .get(
            "/certificates/ca.pem",
            REMOTE_ADDR=address,
            HTTP_X_FORWARDED_FOR=f"192.0.2.{number}",
        )
        .status_code
        for number in range(3)
    ]

    assert codes == [200, 200, 429]


def test_behind_a_trusted_proxy_each_client_has_its_own_limit(
    rates: Any, settings: Any, address: str
) -> None:
    rates["address"] = Rate(1, 60)
    settings.TRUSTED_PROXIES = [ip_network("198.51.100.7/32")]

    def ask(client: str) -> int:
        return (
            Client()
            .get(
                "/certificates/ca.pem",
                REMOTE_ADDR="198.51.100.7",
                HTTP_X_FORWARDED_FOR=f"203.0.113.1, {client}",
            )
            .status_code
        )

    neighbour = f"2001:db8:{address[3:].replace('.', ':')}::1"
    assert [ask(address), ask(address), ask(neighbour)] == [200, 429, 200]


def test_a_token_has_its_own_limit(
    rates: Any, tenant: Tenant, as_device: Callable[[Device], APIClient]
) -> None:
    rates["device"] = Rate(2, 60)
    busy, quiet = (
        DeviceFactory.create(tenant=tenant),
        DeviceFactory.create(tenant=tenant),
    )

    assert statuses(as_device(busy), "/devices/me", 3) == [200, 200, 429]
    assert statuses(as_device(quiet), "/devices/me", 1) == [200]


def test_a_tenant_has_a_limit_that_another_does_not_feel(
    rates: Any, as_device: Callable[[Device], APIClient]
) -> None:
    rates["tenant"] = Rate(2, 60)
    first, other = DeviceFactory.create(), DeviceFactory.create()

    assert statuses(as_device(first), "/devices/me", 3) == [200, 200, 429]
    assert statuses(as_device(other), "/devices/me", 1) == [200]


def test_a_generous_limit_is_counted_in_portions_and_holds_all_the_same(
    rates: Any, address: str
) -> None:
    rates["tenant"] = Rate(100, 3600)
    limit = Limit("tenant")

    let_through = sum(limit.spend(address) is None for _ in range(200))

    assert 95 <= let_through <= 105


def test_who_was_held_up_gets_no_new_portion_for_asking_again(
    rates: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates["tenant"] = Rate(100, 3600)
    limit = Limit("tenant")
    while limit.spend(address) is None:
        pass
    let_through, begun = 0, time.monotonic()

    for second in range(2, 60, 2):
        later = begun + second
        monkeypatch.setattr(time, "monotonic", lambda later=later: later)
        limit._window = int(later // 3600)  # the test may run over its edge
        let_through += sum(limit.spend(address) is None for _ in range(10))

    assert let_through <= 5, "at most what the sliding window sets free"


def test_two_processes_share_one_count(rates: Any, address: str) -> None:
    rates["sign_in"] = Rate(4, 60)
    one, other = Limit("sign_in"), Limit("sign_in")

    waits = [limit.spend(address) for _ in range(3) for limit in (one, other)]

    assert [wait is None for wait in waits] == [True] * 4 + [False] * 2


def test_without_redis_devices_go_on_and_secrets_cannot_be_guessed(
    settings: Any, rates: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "_redis_retry_at", 0.0)  # and put back afterwards
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    rates["device"] = rates["second_factor"] = Rate(1, 60)

    assert [Limit("device").spend(address) for _ in range(3)] == [None] * 3
    with pytest.raises(LimitsUnknown):
        Limit("second_factor", fails_open=False).spend(address)


@pytest.mark.parametrize("text", ["", "0/min", "10", "10/week", "-1/min", "1e3/min"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a rate"):
        Rate.parse(text)


def test_rates_are_read_as_people_write_them() -> None:
    assert Rate.parse("120/min") == Rate(120, 60)
    assert Rate.parse("30/5min") == Rate(30, 300)
    assert Rate.parse("off") is None
