"""Environment of subprocesses that use the test's own database and files."""

import os

from django.conf import settings


def subprocess_environment() -> dict[str, str]:
    """Return the environment for a subprocess on the test's database and files."""
    server = os.environ["DATABASE_URL"].rsplit("/", 1)[0]
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "provisioning.settings",
        "DATABASE_URL": f"{server}/{settings.DATABASES['default']['NAME']}",
        "CERTIFICATES_ROOT": str(settings.CERTIFICATES_ROOT),
    }
