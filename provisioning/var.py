"""Location of the data folder, which holds everything that is not code."""

import os
from pathlib import Path

BASE = Path(__file__).resolve().parents[1]


def var_folder() -> Path:
    """Return the data folder: `VAR_DIR`, by default `var/` beside the code."""
    return Path(os.environ.get("VAR_DIR", BASE / "var")).resolve()
