"""Set up a new installation: administrator, tenant, enrollment token, partitions."""

import secrets
from datetime import datetime
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import transaction

from accounts.services.tenants import create_tenant
from core import clock
from core.locks import transaction_lock
from devices.metrics.services import partitions
from devices.registry.services.credentials import create_enrollment_token
from tenants.context import every_tenant_scope, tenant_scope
from tenants.models import Tenant, User
from tenants.postgresql.row_security import require_row_security

ADMINISTRATOR = "admin@example.com"
TENANT = "default"


class Command(BaseCommand):
    help = (
        "Create the first administrator, tenant and enrollment token. Does nothing if"
        " there is a user or a tenant already."
    )

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        transaction_lock("first run")  # of two simultaneous runs, only one creates rows
        require_row_security()
        partitions.create_ahead(now=clock.now())
        if User.objects.exists() or Tenant.objects.exists():
            return
        password = secrets.token_urlsafe(12)
        administrator = User.objects.create_superuser(ADMINISTRATOR, password)
        administrator.password_is_first = True  # the password stays in the log
        administrator.save(update_fields=["password_is_first"])
        now = clock.now()
        with every_tenant_scope():
            token = self._first_token(now)
        self.stdout.write(_welcome(password, token))

    def _first_token(self, now: datetime) -> str:
        tenant = create_tenant(slug=TENANT, name="Default", now=now).tenant
        with tenant_scope(tenant.pk):
            _, token = create_enrollment_token(name="first token", now=now)
        return token


def _welcome(password: str, token: str) -> str:
    return f"""\
These credentials are shown only once.
  sign in      {settings.PUBLIC_URL}/admin/
  e-mail       {ADMINISTRATOR}
  password     {password}
  enrollment   {token}
Register a device:
  curl -X POST {settings.PUBLIC_URL}/devices/auto-register -H 'Authorization: Bearer {token}' \
-H 'Content-Type: application/json' -d '{{"serial_number": "TV-0001", "model": "X96"}}'
"""
