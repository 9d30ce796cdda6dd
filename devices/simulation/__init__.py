"""Simulated devices: agents with simulated hardware.

The agent is a package of its own in the folder `agent`, which is not installed with the server.
"""

import sys
from pathlib import Path

AGENT = str(Path(__file__).resolve().parents[2] / "agent")
if AGENT not in sys.path:
    sys.path.append(AGENT)
