"""The header `Idempotency-Key`: a request is done once, and its response is repeated."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from rest_framework.test import APIClient

from accounts import tasks
from accounts.models import IdempotentRequest
from accounts.services import idempotency
from certificates.models import DeviceCertificate
from certificates.tests.keys import ec_key, request_for
from conftest import client_with_token
from core import clock
from core.limits import Rate
from devices.registry.models import Device, Site
from devices.registry.services import sites
from devices.registry.services.credentials import issue_device_token
from devices.registry.tests.waiting import wait_until
from tenants.context import tenant_scope
from tenants.models import ApiToken, Tenant

pytestmark = pytest.mark.django_db
Member = Callable[..., APIClient]
SITE = {"name": "Shop 12"}


def post(client: APIClient, path: str, body: Any, key: str = "key-1") -> Any:
    return client.post(path, body, headers={"Idempotency-Key": key})


def code(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["errors"][0]["code"]


def test_a_repeated_request_gets_the_first_response_and_is_not_done_again(member: Member) -> None:
    client = member()

    first = post(client, "/sites", SITE)
    again = post(client, "/sites", SITE)

    assert first.status_code == again.status_code == 201
    assert first.content == again.content
    assert again["Content-Type"] == first["Content-Type"]
    assert again["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first
    assert Site.every_tenant.count() == 1


def test_a_response_with_a_token_is_repeated_and_stored_encrypted(
    member: Member, device: Device
) -> None:
    client, path = member(), f"/devices/{device.pk}/token"

    token = post(client, path, None).json()["token"]

    assert post(client, path, None).json()["token"] == token
    assert token not in IdempotentRequest.every_tenant.get().content


def test_a_key_for_another_request_is_refused(member: Member) -> None:
    client = member()
    post(client, "/sites", SITE)

    assert code(post(client, "/sites", {"name": "Other"})) == (409, "idempotency_key_reused")


def test_keys_of_different_tokens_are_independent(member: Member) -> None:
    post(member(), "/sites", SITE)

    assert code(post(member(), "/sites", SITE)) == (409, "site_exists")


def test_a_request_that_was_refused_can_be_sent_again(
    member: Member, tenant: Tenant, device: Device
) -> None:
    client = member()
    with tenant_scope(tenant.pk):
        site = sites.create(name="Shop 12", now=timezone.now())
    assert post(client, "/sites", SITE).status_code == 409
    with tenant_scope(tenant.pk):
        sites.delete(site=site, now=timezone.now())

    assert post(client, "/sites", SITE).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "two\tparts"])
def test_an_invalid_key_is_refused(member: Member, key: str) -> None:
    assert code(post(member(), "/sites", SITE, key)) == (400, "invalid_idempotency_key")
    assert not Site.every_tenant.exists()


def test_a_revoked_token_gets_no_stored_response(member: Member) -> None:
    client = member()
    post(client, "/sites", SITE)
    ApiToken.every_tenant.update(revoked_at=timezone.now())

    assert post(client, "/sites", SITE).status_code == 401


def test_the_key_of_a_device_has_no_effect(tenant: Tenant, device: Device) -> None:
    with tenant_scope(tenant.pk):
        token = issue_device_token(device, now=timezone.now())

    response = post(client_with_token(token), "/devices/connect", {})

    assert response.status_code == 200
    assert not IdempotentRequest.every_tenant.exists()


def test_repeated_requests_count_towards_the_limit(member: Member, settings: Any) -> None:
    settings.RATES = dict(settings.RATES, member=Rate(2, 60))
    client = member()
    statuses = [post(client, "/sites", SITE).status_code for _ in range(3)]

    assert statuses == [201, 201, 429]


class TestRequestsWithTransactionsOfTheirOwn:
    def test_a_certificate_is_issued_once(self, member: Member, device: Device) -> None:
        client, path = member(), f"/devices/{device.pk}/certificates"
        body = {"csr": request_for(ec_key())}

        first = post(client, path, body)

        assert first.status_code == 201, first.json()
        assert post(client, path, body).json() == first.json()
        assert DeviceCertificate.objects.count() == 1

    def test_after_an_interruption_nothing_is_done_again(
        self, member: Member, device: Device, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client, path = member(), f"/devices/{device.pk}/certificates"
        body = {"csr": request_for(ec_key())}
        monkeypatch.setattr(idempotency, "_store", lambda row, response: None)
        post(client, path, body)  # the server stops before the response is stored

        assert code(post(client, path, body)) == (409, "request_in_progress")
        later = timezone.now() + timedelta(minutes=3)
        monkeypatch.setattr(clock, "now", lambda: later)
        assert code(post(client, path, body)) == (409, "outcome_unknown")
        assert DeviceCertificate.objects.count() == 1


def test_a_request_that_was_interrupted_is_done_again_because_it_left_nothing(
    member: Member, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(row: Any, response: Any) -> None:
        raise SystemExit

    client = member()
    with monkeypatch.context() as patched:
        patched.setattr(idempotency, "_store", killed)
        with pytest.raises(SystemExit):
            post(client, "/sites", SITE)
    assert not Site.every_tenant.exists()

    assert post(client, "/sites", SITE).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_a_second_request_meanwhile_is_told_to_wait(member: Member, tenant: Tenant) -> None:
    client = member()
    locked, done = threading.Event(), threading.Event()
    assert post(client, "/sites", SITE).status_code == 201
    IdempotentRequest.every_tenant.update(status=None)

    def first_request() -> None:
        try:
            with tenant_scope(tenant.pk), transaction.atomic():
                list(IdempotentRequest.objects.select_for_update())
                locked.set()
                done.wait(20)
        finally:
            connection.close()

    thread = threading.Thread(target=first_request)
    thread.start()
    try:
        assert locked.wait(20)
        assert code(post(client, "/sites", SITE)) == (409, "request_in_progress")
    finally:
        done.set()
        thread.join()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("celery_worker")
def test_a_worker_deletes_responses_after_a_day(member: Member) -> None:
    client = member()
    post(client, "/sites", SITE)
    IdempotentRequest.every_tenant.update(started_at=timezone.now() - timedelta(hours=25))
    post(client, "/sites", {"name": "Shop 13"}, "key-2")

    tasks.delete_old_idempotent_requests.delay()

    wait_until(lambda: IdempotentRequest.every_tenant.count() == 1)
