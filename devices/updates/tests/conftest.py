"""Fixtures: temporary folders for package files, and the deletion of download slots."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.test import override_settings
from redis import Redis


@pytest.fixture(autouse=True)
def package_files(tmp_path: Path) -> Iterator[Path]:
    """Store package files and uploads in temporary folders. Return the folder of package files."""
    root, uploads = tmp_path / "packages", tmp_path / "uploads"
    storage = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": str(root)},
    }
    with override_settings(
        STORAGES={**settings.STORAGES, "packages": storage}, UPLOADS_ROOT=str(uploads)
    ):
        yield root


@pytest.fixture(autouse=True)
def no_download_slots() -> Iterator[None]:
    """Delete download slots after each test.

    The slots are in Redis, so the rollback of the test's transaction does not delete them.
    """
    yield
    with Redis.from_url(settings.REDIS_COUNTERS_URL) as redis:
        for key in redis.scan_iter(f"{settings.KEY_PREFIX}downloads:*"):
            redis.delete(key)
