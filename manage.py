#!/usr/bin/env python
"""Run a management command, with embedded servers for those not configured."""

import os
import sys
from contextlib import nullcontext

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line

from provisioning.embedded import endpoints, servers
from provisioning.embedded.endpoints import EmbeddedError
from provisioning.var import var_folder

WITHOUT_SERVERS = {"up", "help", "version", "--help", "-h", "--version"}


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "provisioning.settings")
    command = sys.argv[1] if len(sys.argv) > 1 else "help"
    alone = command in WITHOUT_SERVERS or not endpoints.missing_servers(os.environ)
    wanted = endpoints.missing_servers(os.environ)
    try:
        settings.INSTALLED_APPS  # noqa: B018 # raises ImproperlyConfigured here
        with nullcontext() if alone else servers.running(var_folder(), wanted=wanted):
            execute_from_command_line(sys.argv)
    except (EmbeddedError, ImproperlyConfigured) as error:
        sys.exit(f"{command}: {error}")


if __name__ == "__main__":
    main()
