"""Fixtures shared by the tests of all endpoints, pages and servers."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.test import override_settings

from provisioning.embedded.endpoints import Endpoints
from provisioning.tests.own_servers import migrated_database
from provisioning.var import BASE
from tenants.context import SYSTEM, caller_scope, every_tenant_scope, tenant_scope


@pytest.fixture(scope="session")
def migrated() -> Endpoints:
    """Stopped servers with a migrated database, which tests copy."""
    return migrated_database(BASE / "var" / "test-database")


@pytest.fixture(scope="module")
def module_transaction(
    django_db_setup: None,
    django_db_blocker: Any,
    authority: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """Let the tests of a module share rows. The tests run in savepoints of one transaction."""
    # Other modules copy the folder of the authority, and must find no certificates there.
    root = tmp_path_factory.mktemp("module") / "certificates"
    shutil.copytree(authority, root)
    outermost: Any = transaction.atomic()
    outermost._from_testcase = True  # as in Django's TestCase, which allows durable blocks
    with (
        django_db_blocker.unblock(),
        override_settings(CERTIFICATES_ROOT=str(root)),
        tenant_scope(None),
        every_tenant_scope(),
        caller_scope(SYSTEM),
        outermost,
    ):
        yield
        transaction.set_rollback(True)
