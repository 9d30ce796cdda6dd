"""Decide which device a set of identifiers belongs to: evidence in, decision out.

The module knows no database. Registration, pairing, entry by hand and import use it.

An identifier of a device agrees with the evidence, contradicts it, or is missing on one side.
What agrees must outweigh what contradicts: a serial number counts more than an Android ID,
and this more than a MAC address. The same key decides alone. One shared value never makes a
device another one, so a newcomer may be a new device without the value that another holds.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Literal
from uuid import UUID

from devices.registry.identifiers import KINDS, Identifier, Kind, is_locally_administered

WEIGHTS: dict[Kind, int] = {"serial_number": 4, "android_id": 3, "mac_address": 2}


class Verdict(Enum):
    """How the evidence and a known device relate."""

    SAME = "same"
    DIFFERENT = "different"
    UNDECIDED = "undecided"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A known device that holds an identifier or the key of the evidence."""

    device_id: UUID
    identifiers: frozenset[Identifier]
    has_same_key: bool = False


@dataclass(frozen=True, slots=True)
class Contest:
    """An identifier of the evidence that another device holds and keeps."""

    identifier: Identifier
    holder: UUID


@dataclass(frozen=True, slots=True)
class Decision:
    """The result of comparing the evidence of a device with the known devices.

    `device_id` is the id of the known device if the result is `SAME`, the id of the most similar
    device if it is `UNDECIDED`, and None for a new device.
    """

    verdict: Verdict
    device_id: UUID | None
    own: tuple[Identifier, ...]  # the identifiers that the device may have
    contests: tuple[Contest, ...]


def decide(evidence: Collection[Identifier], candidates: Iterable[Candidate]) -> Decision:
    """Decide which device the evidence belongs to.

    Args:
        evidence: the normalised identifiers, without placeholders and without values that
            are known to be shared by several devices.
        candidates: every known device that holds one of them, or the same key.
    """
    ranked = sorted(candidates, key=lambda item: (-_score(evidence, item), item.device_id))
    verdicts = [(compare(evidence, candidate), candidate) for candidate in ranked]
    same_key = [candidate for candidate in ranked if candidate.has_same_key]
    same = same_key or [item for verdict, item in verdicts if verdict is Verdict.SAME]
    undecided = [item for verdict, item in verdicts if verdict is Verdict.UNDECIDED]
    if len(same) == 1:
        return _decision(Verdict.SAME, same[0], evidence, ranked)
    if same or undecided:  # several devices are one, or perhaps
        return _decision(Verdict.UNDECIDED, (same or undecided)[0], evidence, ranked)
    return _decision(Verdict.DIFFERENT, None, evidence, ranked)


def compare(evidence: Collection[Identifier], candidate: Candidate) -> Verdict:
    """Compare the evidence with one known device."""
    if candidate.has_same_key:
        return Verdict.SAME
    relations = {kind: _relation(kind, evidence, candidate.identifiers) for kind in KINDS}
    if "agrees" not in relations.values():
        return Verdict.DIFFERENT
    if relations["serial_number"] == "contradicts":
        # A device has one serial number. To give it another one, a person must agree.
        agrees = relations["android_id"] == "agrees"
        return Verdict.UNDECIDED if agrees else Verdict.DIFFERENT
    if relations["android_id"] == "contradicts" and relations["mac_address"] == "unknown":
        return Verdict.UNDECIDED  # nothing tells a factory reset from a second device
    return Verdict.SAME if _score(evidence, candidate) > 0 else Verdict.DIFFERENT


def kept_identifiers(
    evidence: Iterable[Identifier], known: Iterable[Identifier] = ()
) -> tuple[Identifier, ...]:
    """Return the identifiers that a device keeps, sorted.

    A locally administered MAC address is kept only while there is nothing better, because it
    may be another one next time.

    Args:
        known: the identifiers that the device has already.
    """
    evidence = sorted(evidence)
    is_better_known = any(not is_locally_administered(item) for item in (*evidence, *known))
    return tuple(
        item for item in evidence if not (is_better_known and is_locally_administered(item))
    )


def _decision(
    verdict: Verdict,
    candidate: Candidate | None,
    evidence: Collection[Identifier],
    candidates: Iterable[Candidate],
) -> Decision:
    contests = tuple(
        Contest(identifier, other.device_id)
        for other in candidates
        if other is not candidate
        for identifier in sorted(other.identifiers & set(evidence))
    )
    contested = {contest.identifier for contest in contests}
    own = [identifier for identifier in evidence if identifier not in contested]
    if candidate is None:
        return Decision(verdict, None, kept_identifiers(own), contests)
    kept = kept_identifiers(own, candidate.identifiers)
    return Decision(verdict, candidate.device_id, kept, contests)


_Relation = Literal["agrees", "contradicts", "unknown"]


def _relation(
    kind: Kind, evidence: Collection[Identifier], known: Collection[Identifier]
) -> _Relation:
    ours, theirs = ({item for item in items if item.kind == kind} for items in (evidence, known))
    if ours & theirs:
        return "agrees"
    # A random address contradicts nothing.
    lasting = [{i for i in items if not is_locally_administered(i)} for items in (ours, theirs)]
    return "contradicts" if all(lasting) else "unknown"


def _score(evidence: Collection[Identifier], candidate: Candidate) -> int:
    signs = {"agrees": 1, "contradicts": -1, "unknown": 0}
    return sum(
        signs[_relation(kind, evidence, candidate.identifiers)] * weight
        for kind, weight in WEIGHTS.items()
    )
