"""A migrated database for the servers of a test, without migrating it."""

import json
import subprocess
from dataclasses import asdict, replace
from pathlib import Path

from provisioning.embedded.endpoints import Endpoints, load_or_create, write_private


def copy_database(original: Endpoints, var: Path) -> None:
    """Let the new data folder `var` begin with the database of stopped servers."""
    copy = replace(
        load_or_create(var),
        postgres_password=original.postgres_password,
        superuser_password=original.superuser_password,
    )
    write_private(var / "embedded.json", json.dumps(asdict(copy)))
    # Unlike shutil.copytree, cp keeps the owner of the files.
    command = ["cp", "-a", "--reflink=auto", str(Path(original.folder) / "postgres"), copy.folder]
    subprocess.run(command, check=True)
