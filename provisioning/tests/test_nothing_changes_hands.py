"""Whatever two tenants do in whatever order, no row ever changes hands."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from certificates.models import DeviceCertificate
from certificates.services.certificate_management import (
    CertificateManagementService,
    owned_certificate,
)
from certificates.tests.keys import ec_key, request_for
from core.errors import DomainError
from devices.registry.device_report import Box
from devices.registry.models import Device, Pairing
from devices.registry.services import (
    credentials,
    pairing,
    presence,
    quarantine,
    registration,
)
from devices.remote_control.models import CommandHistory
from devices.remote_control.services import command_expiry, fetching, issuing, sessions
from tenants.context import (
    SYSTEM,
    caller_scope,
    current_tenant_id,
    every_tenant_scope,
    tenant_scope,
)
from tenants.models import User
from tenants.postgresql.row_security import scoped_models
from tenants.tests.factories import TenantFactory

pytestmark = pytest.mark.django_db
START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
KEYS = [ec_key() for _ in range(4)]
serials = st.sampled_from(["SN-1", "SN-2", "SN-3"])
tenants = st.sampled_from([0, 1])


class TwoTenants(RuleBasedStateMachine):
    """Two tenants with the same hardware use every verb on whatever ids there are."""

    devices = Bundle("devices")
    certificates = Bundle("certificates")

    def __init__(self) -> None:
        super().__init__()
        self.beginning = transaction.savepoint()
        self.ids = [TenantFactory.create().pk for _ in range(2)]
        self.people = [
            User.objects.create_user(f"{number}@example.com") for number in range(2)
        ]
        self.now = START
        self.owners: dict[tuple[str, Any], UUID | None] = {}
        self.service = CertificateManagementService()

    def teardown(self) -> None:
        """Each sequence begins with the same rows: what one leaves is not in the next."""
        transaction.savepoint_rollback(self.beginning)

    def act(self, tenant: int, verb: Any) -> Any:
        """As the tenant, some time later; a refusal is an answer like another."""
        self.now += timedelta(minutes=7)
        with tenant_scope(self.ids[tenant]):
            try:
                return verb()
            except DomainError:
                return None

    @rule(target=devices, tenant=tenants, serial=serials)
    def a_box_registers(self, tenant: int, serial: str) -> Any:
        made = self.act(
            tenant,
            lambda: registration.auto_register(
                box=Box(serial_number=serial), now=self.now
            ),
        )
        return made.device.pk if made else multiple()

    @rule(target=devices, tenant=tenants, serial=serials)
    def a_member_enters_a_device(self, tenant: int, serial: str) -> Any:
        made = self.act(
            tenant,
            lambda: registration.register(
                box=Box(serial_number=serial), tags=["hall"], now=self.now
            ),
        )
        return made.pk if made else multiple()

    @rule(target=devices, tenant=tenants, serial=serials)
    def a_box_is_paired(self, tenant: int, serial: str) -> Any:
        def pair() -> Any:
            started = pairing.start(box=Box(serial_number=serial), now=self.now)
            waiting = Pairing.objects.waiting(self.now).latest("requested_at")
            device = pairing.approve(pairing_id=waiting.pk, now=self.now)
            pairing.poll(device_code=started.device_code, now=self.now)
            return device.pk

        return self.act(tenant, pair) or multiple()

    @rule(
        tenant=tenants,
        device=devices,
        what=st.sampled_from(
            ["connect", "update", "retire", "token", "quarantine", "release"]
        ),
    )
    def somebody_does_something_to_a_device(
        self, tenant: int, device: UUID, what: str
    ) -> None:
        def do() -> None:
            known = registration.living_device(device)
            match what:
                case "connect":
                    presence.connect(
                        device=known, report=presence.Report(), now=self.now
                    )
                case "update":
                    registration.update(device=known, tags=["north"], now=self.now)
                case "retire":
                    registration.retire(device=known, now=self.now)
                case "token":
                    credentials.issue_device_token(known, now=self.now)
                case "quarantine":
                    quarantine.quarantine(device=known, now=self.now)
                case "release":
                    quarantine.release(device=known, now=self.now)

        self.act(tenant, do)

    @rule(
        tenant=tenants,
        device=devices,
        what=st.sampled_from(["start", "end", "reboot", "fetch", "answer", "cancel"]),
    )
    def somebody_controls_a_device(self, tenant: int, device: UUID, what: str) -> None:
        by = self.people[tenant]

        def do() -> None:
            known = registration.living_device(device)
            about: dict[str, Any] = {"device": known, "now": self.now}
            newest = CommandHistory.every_tenant.filter(device=device).first()
            match what:
                case "start":
                    sessions.start(controller=by, **about)
                case "end":
                    sessions.end(by=by, may_end_others=True, **about)
                case "reboot":
                    issuing.issue(type="reboot", parameters={}, by=by, **about)
                case "fetch":
                    fetching.fetch(after=0, **about)
                case "answer" if newest is not None:
                    done: dict[str, Any] = {
                        "command_id": newest.pk,
                        "status": "succeeded",
                    }
                    fetching.answer(**about, **done)
                case "cancel" if newest is not None:
                    command_expiry.cancel(command=newest, by="somebody", now=self.now)

        self.act(tenant, do)

    @rule(
        target=certificates, tenant=tenants, device=devices, key=st.sampled_from(KEYS)
    )
    def a_certificate_is_issued(self, tenant: int, device: UUID, key: Any) -> Any:
        made = self.act(
            tenant,
            lambda: self.service.issue_certificate(
                device=registration.living_device(device),
                csr_pem=request_for(key),
                now=self.now,
            ),
        )
        return made.serial_number if made else multiple()

    @rule(tenant=tenants, serial=certificates, renew=st.booleans())
    def somebody_does_something_to_a_certificate(
        self, tenant: int, serial: str, renew: bool
    ) -> None:
        def do() -> None:
            row = owned_certificate(serial)
            if renew:
                self.service.renew_certificate(row, now=self.now)
            else:
                self.service.revoke_certificate(
                    row, reason="keyCompromise", now=self.now
                )

        self.act(tenant, do)

    @rule(tenant=tenants, device=devices)
    def a_stranger_finds_nothing(self, tenant: int, device: UUID) -> None:
        owner = Device.every_tenant.get(pk=device).tenant_id
        with tenant_scope(self.ids[tenant]):
            found = Device.objects.filter(pk=device).exists()
            assert found == (owner == current_tenant_id())
            if not found:
                with pytest.raises(DomainError):
                    registration.living_device(device)

    @invariant()
    def no_row_has_changed_hands(self) -> None:
        for model in scoped_models():
            for pk, owner in model._base_manager.values_list("pk", "tenant"):
                key = (model.__name__, pk)
                assert self.owners.setdefault(key, owner) == owner, key

    @invariant()
    def every_row_points_at_its_own_tenants_rows(self) -> None:
        for model in scoped_models():
            for field in model._meta.concrete_fields:
                if field.related_model not in scoped_models():
                    continue
                rows = model._base_manager.filter(**{f"{field.name}__isnull": False})
                pairs = rows.values_list("tenant", f"{field.name}__tenant")
                assert all(mine == theirs for mine, theirs in pairs), field
        for row in DeviceCertificate.objects.select_related("device"):
            key = ("certificate's device", row.pk)
            owner = row.device.tenant_id
            assert self.owners.setdefault(key, owner) == owner


class NothingChangesHands(TestCase):
    """Each sequence in a transaction that is rolled back."""

    def test_in_any_sequence_of_verbs(self) -> None:
        run_state_machine_as_test(
            TwoTenants,
            settings=settings(
                max_examples=20,
                stateful_step_count=15,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

    def run(self, result: Any = None) -> Any:
        with every_tenant_scope(), caller_scope(SYSTEM):
            return super().run(result)
