"""Build the Debian package `provisioning-agent`: `python3 agent/build_deb.py [FOLDER]`.

It needs `dpkg-deb` only. The package has no compiled code, so it installs on every architecture.
The file is the same for the same sources: its times are those of the last commit, if
`SOURCE_DATE_EPOCH` has it (reproducible-builds.org).
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

AGENT = Path(__file__).resolve().parent
DESCRIPTION = """Device agent of provisioning
 Registers the device, keeps its certificate, applies its configuration, executes signed
 commands, installs updates and reports metrics."""
CONTROL = """Package: provisioning-agent
Version: {version}
Architecture: all
Maintainer: provisioning <root@localhost>
Depends: python3 (>= 3.11), python3-httpx, python3-cryptography
Recommends: ca-certificates
Suggests: python3-pkcs11
Section: admin
Priority: optional
Description: {description}
"""
LAUNCHER = """#!/usr/bin/python3
from provisioning_agent.cli import main

main()
"""
# The service starts when it has an address: `systemctl enable --now provisioning-agent`.
SCRIPTS = {
    "postinst": "#!/bin/sh\nset -e\n[ ! -d /run/systemd/system ] || systemctl daemon-reload\n"
    '[ "$1" != configure ] || [ -z "$2" ] || [ ! -d /run/systemd/system ]'
    " || systemctl try-restart provisioning-agent\n",
    "prerm": '#!/bin/sh\nset -e\n[ "$1" != remove ] || [ ! -d /run/systemd/system ]'
    " || systemctl disable --now provisioning-agent\n",
    "postrm": '#!/bin/sh\nset -e\n[ "$1" != purge ] || rm -rf /var/lib/provisioning-agent\n',
}


def version() -> str:
    text = (AGENT / "pyproject.toml").read_text()
    return str(tomllib.loads(text)["project"]["version"])


def build(folder: Path) -> Path:
    """Build the package in a folder. Return its path."""
    target = folder / f"provisioning-agent_{version()}_all.deb"
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        root.chmod(0o755)
        _install(root)
        command = ["dpkg-deb", "--root-owner-group", "--build", str(root), str(target)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return target


def _install(root: Path) -> None:
    """Write the files of the package below a folder."""
    modules = root / "usr/lib/python3/dist-packages/provisioning_agent"
    modules.mkdir(parents=True)
    for source in sorted((AGENT / "provisioning_agent").glob("*.py")):
        shutil.copy(source, modules)
    _write(root / "usr/bin/provisioning-agent", LAUNCHER, 0o755)
    unit = (AGENT / "provisioning-agent.service").read_text()
    _write(root / "usr/lib/systemd/system/provisioning-agent.service", unit)
    _write(root / "etc/provisioning-agent/agent.toml", (AGENT / "agent.toml").read_text(), 0o600)
    (root / "etc/provisioning-agent/hooks").mkdir()
    readme = (AGENT / "README.md").read_text()
    _write(root / "usr/share/doc/provisioning-agent/README.md", readme)
    control = CONTROL.format(version=version(), description=DESCRIPTION)
    _write(root / "DEBIAN/control", control)
    _write(root / "DEBIAN/conffiles", "/etc/provisioning-agent/agent.toml\n")
    for name, script in SCRIPTS.items():
        _write(root / "DEBIAN" / name, script, 0o755)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


if __name__ == "__main__":
    os.umask(0o022)
    destination = Path(sys.argv[1]) if len(sys.argv) > 1 else Path.cwd()
    print(build(destination))
