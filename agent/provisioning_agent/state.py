"""What a device remembers across restarts."""

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from provisioning_agent.files import write_atomically


@dataclass(slots=True)
class State:
    """The state of a device. It is saved before the device acts on it.

    Attributes:
        chain: the CA chain of the certificate, in PEM.
        last_sequence: sequence number of the last accepted command.
        command_keys: public keys (JWK) that verify commands.
        command_keys_until: end of their endorsement, in seconds since 1970; 0 for none.
        update_keys: public keys (JWK) that verify updates, from the configuration.
        command: the accepted command that is not finished: `id`, `type` and `boot_id`.
        update: the update that is not finished: `rollout`, `attempt`, `version`, `stage`.
        finished_attempt: rollout and attempt of the last finished update.
        outbox: messages that the server has not acknowledged, the oldest first.
    """

    device_id: str = ""
    token: str = ""
    certificate: str = ""
    chain: str = ""
    certificate_serial_number: str = ""
    last_sequence: int = 0
    command_keys: list[dict[str, str]] = field(default_factory=list)
    command_keys_until: float = 0.0
    configuration_version: str = ""
    configuration: dict[str, Any] = field(default_factory=dict)
    settings_version: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    update_keys: list[dict[str, str]] = field(default_factory=list)
    command: dict[str, Any] | None = None
    update: dict[str, Any] | None = None
    finished_attempt: list[Any] = field(default_factory=list)
    installed_version: str = ""
    outbox: list[dict[str, Any]] = field(default_factory=list)

    def forget_server(self) -> None:
        """Forget what belongs to an earlier record of the device at the server."""
        new = State(installed_version=self.installed_version)
        for item in fields(State):
            setattr(self, item.name, getattr(new, item.name))


class MemoryStore:
    """A store that loses its state at the end of the process, for simulations and tests."""

    def __init__(self) -> None:
        self.state = State()

    def save(self) -> None:
        """Save the state."""


class FileStore(MemoryStore):
    """The state in one file, which is replaced atomically.

    A file that cannot be read, after a fault of the disk, is kept with another name. The device
    then registers again: with the same key it stays the same device.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self._saved = ""
        try:
            self._saved = path.read_text()
            self.state = _from_json(json.loads(self._saved))
        except FileNotFoundError:
            pass
        except (ValueError, TypeError):
            path.rename(path.with_name(f"{path.name}.damaged"))

    def save(self) -> None:
        text = json.dumps(asdict(self.state), indent=1)
        if text != self._saved:
            write_atomically(self.path, text.encode())
            self._saved = text


def _from_json(values: dict[str, Any]) -> State:
    """Return the state. Values of a newer version of the agent are ignored."""
    known = {item.name for item in fields(State)}
    return State(**{name: value for name, value in values.items() if name in known})
