"""The one folder in which a running installation keeps everything that is not code."""

import os
from pathlib import Path

BASE = Path(__file__).resolve().parents[1]


def var_folder() -> Path:
    """`VAR_DIR`, or `var/` beside the code."""
    return Path(os.environ.get("VAR_DIR", BASE / "var")).resolve()
