"""`python -m provisioning_agent` is the command `provisioning-agent`."""

from provisioning_agent.cli import main

main()
