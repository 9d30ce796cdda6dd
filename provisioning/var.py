"""Location of the data folder, which holds everything that is not code."""

import hashlib
import os
import shutil
from pathlib import Path

BASE = Path(__file__).resolve().parents[1]


def var_folder() -> Path:
    """Return the data folder: `VAR_DIR`, by default `var/` beside the code."""
    return Path(os.environ.get("VAR_DIR", BASE / "var")).resolve()


def empty_metrics_folder(name: str) -> Path:
    """Return an empty folder for the counters that processes share as memory-mapped files.

    The folder is in memory if the system has such a file system. On a full disk, a process
    that writes to a new page of a mapped file would be killed.

    Args:
        name: the processes that share the folder.
    """
    var, memory = var_folder(), Path("/dev/shm")  # noqa: S108 # the folder's mode is 0700
    folder = var / "metrics" / name
    if os.access(memory, os.W_OK):
        key = hashlib.sha256(str(var).encode()).hexdigest()[:16]
        folder = memory / f"provisioning-{os.geteuid()}-{key}-{name}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    return folder
