"""Find the device that a set of identifiers belongs to."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from core.ignored import Ignored
from devices.registry import identity
from devices.registry.device_report import field_of
from devices.registry.identifiers import Identifier
from devices.registry.identity import Candidate, Decision
from devices.registry.queries import known_identifiers


@dataclass(frozen=True, slots=True)
class Identification:
    """Whose the identifiers are, and which of them the device does not get."""

    decision: Decision
    known: frozenset[Identifier]  # what the device has already; empty for a new one
    ignored: list[Ignored]


def identify(
    identifiers: Collection[Identifier], *, key_holder: UUID | None = None
) -> Identification:
    """Find the device of the current tenant that the identifiers belong to.

    Args:
        identifiers: normalised, without placeholders.
        key_holder: the device for whose key the caller has given proof.
    """
    found = known_identifiers(identifiers, key_holder=key_holder)
    evidence = [item for item in identifiers if item not in found.shared]
    candidates = [
        Candidate(device_id, frozenset(held), has_same_key=device_id == key_holder)
        for device_id, held in found.of_device.items()
    ]
    decision = identity.decide(evidence, candidates)
    device_id = decision.device_id
    held = found.of_device.get(device_id, set()) if device_id is not None else set()
    known = frozenset(held)
    return Identification(decision, known, _ignored(identifiers, decision, known, found.shared))


def _ignored(
    identifiers: Collection[Identifier],
    decision: Decision,
    known: frozenset[Identifier],
    shared: Collection[Identifier],
) -> list[Ignored]:
    contested = {contest.identifier for contest in decision.contests}
    ignored = []
    for item in identifiers:
        shown = item.written or item.value
        if item in known:
            continue
        if item in shared:
            sentence = f"Several devices have the value {shown}, so it identifies none."
            ignored.append(Ignored(field_of(item), "shared", sentence))
        elif item in contested:
            sentence = f"Another device has the value {shown} and keeps it."
            ignored.append(Ignored(field_of(item), "identifier_conflict", sentence))
        elif item not in decision.own:
            sentence = f"The address {shown} is locally administered, so it may change."
            ignored.append(Ignored(field_of(item), "locally_administered", sentence))
    return ignored
