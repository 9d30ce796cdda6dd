"""Fixtures of package files, as the tests of updates have them."""

from devices.updates.tests.conftest import no_download_slots, package_files

__all__ = ["no_download_slots", "package_files"]
