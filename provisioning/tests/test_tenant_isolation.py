"""Property-based test of tenant isolation: no operation changes the tenant of a row."""

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
from devices.registry.device_report import DeviceReport
from devices.registry.models import Device, Pairing
from devices.registry.services import (
    credentials,
    device_details,
    pairing,
    presence,
    quarantine,
    registration,
    retirement,
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
    """Two tenants with the same serial numbers call every service with ids of both tenants."""

    devices = Bundle("devices")
    certificates = Bundle("certificates")

    def __init__(self) -> None:
        super().__init__()
        self.savepoint = transaction.savepoint()
        self.ids = [TenantFactory.create().pk for _ in range(2)]
        self.users = [User.objects.create_user(f"{number}@example.com") for number in range(2)]
        self.now = START
        self.owners: dict[tuple[str, Any], UUID | None] = {}
        self.service = CertificateManagementService()

    def teardown(self) -> None:
        """Discard the rows of this sequence. Each sequence begins with the same rows."""
        transaction.savepoint_rollback(self.savepoint)

    def act(self, tenant: int, operation: Any) -> Any:
        """Advance the time by a few minutes, and run an operation as the tenant.

        Returns:
            The operation's result, or None if it raised a domain error.
        """
        self.now += timedelta(minutes=7)
        with tenant_scope(self.ids[tenant]):
            try:
                return operation()
            except DomainError:
                return None

    @rule(target=devices, tenant=tenants, serial=serials)
    def auto_register_device(self, tenant: int, serial: str) -> Any:
        result = self.act(
            tenant,
            lambda: registration.auto_register(
                report=DeviceReport(serial_number=serial), now=self.now
            ),
        )
        return result.device.pk if result else multiple()

    @rule(target=devices, tenant=tenants, serial=serials)
    def register_device(self, tenant: int, serial: str) -> Any:
        device = self.act(
            tenant,
            lambda: registration.register(
                report=DeviceReport(serial_number=serial), tags=["hall"], now=self.now
            ),
        )
        return device.pk if device else multiple()

    @rule(target=devices, tenant=tenants, serial=serials)
    def pair_device(self, tenant: int, serial: str) -> Any:
        def pair() -> Any:
            codes = pairing.start(report=DeviceReport(serial_number=serial), now=self.now)
            row = Pairing.objects.waiting(self.now).latest("requested_at")
            device = pairing.approve(pairing_id=row.pk, now=self.now)
            pairing.poll(device_code=codes.device_code, now=self.now)
            return device.pk

        return self.act(tenant, pair) or multiple()

    @rule(
        tenant=tenants,
        device=devices,
        action=st.sampled_from(["connect", "update", "retire", "token", "quarantine", "release"]),
    )
    def change_device(self, tenant: int, device: UUID, action: str) -> None:
        def change() -> None:
            row = registration.get_not_retired_device(device)
            match action:
                case "connect":
                    presence.connect(device=row, report=presence.ConnectReport(), now=self.now)
                case "update":
                    device_details.update(device=row, tags=["north"], now=self.now)
                case "retire":
                    retirement.retire(device=row, now=self.now)
                case "token":
                    credentials.issue_device_token(row, now=self.now)
                case "quarantine":
                    quarantine.quarantine(device=row, now=self.now)
                case "release":
                    quarantine.release(device=row, now=self.now)

        self.act(tenant, change)

    @rule(
        tenant=tenants,
        device=devices,
        action=st.sampled_from(["start", "end", "reboot", "fetch", "answer", "cancel"]),
    )
    def control_device(self, tenant: int, device: UUID, action: str) -> None:
        by = self.users[tenant]

        def control() -> None:
            row = registration.get_not_retired_device(device)
            common: dict[str, Any] = {"device": row, "now": self.now}
            command = CommandHistory.every_tenant.filter(device=device).first()
            match action:
                case "start":
                    sessions.start(controller=by, **common)
                case "end":
                    sessions.end(by=by, may_end_others=True, **common)
                case "reboot":
                    issuing.issue(type="reboot", parameters={}, by=by, **common)
                case "fetch":
                    fetching.fetch(after=0, **common)
                case "answer" if command is not None:
                    result: dict[str, Any] = {"command_id": command.pk, "status": "succeeded"}
                    fetching.answer(**common, **result)
                case "cancel" if command is not None:
                    command_expiry.cancel(command=command, by="member", now=self.now)

        self.act(tenant, control)

    @rule(target=certificates, tenant=tenants, device=devices, key=st.sampled_from(KEYS))
    def issue_certificate(self, tenant: int, device: UUID, key: Any) -> Any:
        certificate = self.act(
            tenant,
            lambda: self.service.issue_certificate(
                device=registration.get_not_retired_device(device),
                csr_pem=request_for(key),
                now=self.now,
            ),
        )
        return certificate.serial_number if certificate else multiple()

    @rule(tenant=tenants, serial=certificates, renew=st.booleans())
    def renew_or_revoke_certificate(self, tenant: int, serial: str, renew: bool) -> None:
        def change() -> None:
            row = owned_certificate(serial)
            if renew:
                self.service.renew_certificate(row, now=self.now)
            else:
                self.service.revoke_certificate(row, reason="keyCompromise", now=self.now)

        self.act(tenant, change)

    @rule(tenant=tenants, device=devices)
    def only_the_own_tenant_can_see_a_device(self, tenant: int, device: UUID) -> None:
        owner = Device.every_tenant.get(pk=device).tenant_id
        with tenant_scope(self.ids[tenant]):
            visible = Device.objects.filter(pk=device).exists()
            assert visible == (owner == current_tenant_id())
            if not visible:
                with pytest.raises(DomainError):
                    registration.get_not_retired_device(device)

    @invariant()
    def no_row_has_changed_its_tenant(self) -> None:
        for model in scoped_models():
            for pk, owner in model._base_manager.values_list("pk", "tenant"):
                key = (model.__name__, pk)
                assert self.owners.setdefault(key, owner) == owner, key

    @invariant()
    def foreign_keys_stay_within_a_tenant(self) -> None:
        for model in scoped_models():
            for field in model._meta.concrete_fields:
                if field.related_model not in scoped_models():
                    continue
                rows = model._base_manager.filter(**{f"{field.name}__isnull": False})
                pairs = rows.values_list("tenant", f"{field.name}__tenant")
                assert all(tenant == other for tenant, other in pairs), field
        for row in DeviceCertificate.objects.select_related("device"):
            key = ("certificate's device", row.pk)
            owner = row.device.tenant_id
            assert self.owners.setdefault(key, owner) == owner


class TenantIsolationTest(TestCase):
    """Run each sequence of operations in a transaction and roll it back."""

    def test_rows_keep_their_tenant_in_any_sequence_of_operations(self) -> None:
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
