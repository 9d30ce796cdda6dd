"""Which device is it? The table of cases needs no database."""

from itertools import count
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.registry.identifiers import Identifier, parse_identifiers
from devices.registry.identity import Candidate, Contest, Verdict, decide

A, B = UUID(int=1), UUID(int=2)
SAME, DIFFERENT, UNDECIDED = Verdict.SAME, Verdict.DIFFERENT, Verdict.UNDECIDED


def ids(text: str) -> frozenset[Identifier]:
    """Return identifiers from `S…` (serial), `X…` (Android ID), `m…` (MAC), `r…` (random MAC)."""
    found = set()
    for word in text.split():
        number = f"{int(word[1:]):02x}"
        match word[0]:
            case "S":
                found.add(Identifier("serial_number", word.lower()))
            case "X":
                found.add(Identifier("android_id", f"a{number}"))
            case "m":
                found.add(Identifier("mac_address", f"a8:00:00:00:00:{number}"))
            case "r":
                found.add(Identifier("mac_address", f"02:99:00:00:00:{number}"))
    return frozenset(found)


@pytest.mark.parametrize(
    ("reported", "known", "verdict"),
    [
        # nothing contradicts
        ("S1", "S1", SAME),
        ("X1", "X1", SAME),
        ("m1", "m1", SAME),
        ("S1 X1 m1", "S1", SAME),  # entered by hand with the serial number only
        ("m1", "S1 X1 m1 m2", SAME),
        ("S1 X1 m1", "S1 X1 m1", SAME),
        ("S1 X1 m3", "S1 X1 m1", SAME),  # another network adapter
        ("S1 m2", "S1 m1", SAME),
        ("X1 m2", "X1 m1", SAME),
        # a factory reset gives a new Android ID
        ("S1 X2 m1", "S1 X1 m1", SAME),
        ("S1 X2", "S1 X1", UNDECIDED),
        ("S1 X2 m1", "S1 X1", UNDECIDED),
        ("S1 X2 r1", "S1 X1 r2", UNDECIDED),
        ("X2 m1", "X1 m1", DIFFERENT),
        # one serial number on many devices
        ("S1 X2 m2", "S1 X1 m1", DIFFERENT),
        # one serial number for each device
        ("S2 X1", "S1 X1", UNDECIDED),
        ("S2 X1 m1", "S1 X1 m1", UNDECIDED),
        ("S2 m1", "S1 m1", DIFFERENT),  # a network adapter that moved
        ("S2 m1 m2", "S1 X1 m1", DIFFERENT),
        # random addresses contradict nothing
        ("S1 r1", "S1 r2", SAME),
        ("S1 r1", "S1 m1", SAME),
        ("r1", "r1", SAME),
    ],
)
def test_evidence_is_compared_with_a_known_device(
    reported: str, known: str, verdict: Verdict
) -> None:
    assert decide(ids(reported), [Candidate(A, ids(known))]).verdict is verdict


def test_the_same_key_decides_alone() -> None:
    candidates = [Candidate(A, ids("S1 X1 m1"), has_same_key=True), Candidate(B, ids("S2 X2"))]

    decision = decide(ids("S2 X2"), candidates)

    assert (decision.verdict, decision.device_id) == (SAME, A)
    assert {contest.holder for contest in decision.contests} == {B}
    assert decision.own == ()


def test_a_newcomer_does_not_get_the_value_that_another_device_holds() -> None:
    decision = decide(ids("S2 m1 m2"), [Candidate(A, ids("S1 m1"))])

    assert decision.device_id is None
    assert frozenset(decision.own) == ids("S2 m2")
    (contested,) = ids("m1")
    assert decision.contests == (Contest(contested, A),)


def test_a_known_device_does_not_get_the_value_that_another_device_holds() -> None:
    candidates = [Candidate(A, ids("S1 m1")), Candidate(B, ids("S2 m2"))]

    decision = decide(ids("S2 m1 m2"), candidates)

    assert (decision.verdict, decision.device_id) == (SAME, B)
    assert frozenset(decision.own) == ids("S2 m2")


def test_evidence_that_fits_two_devices_is_undecided() -> None:
    decision = decide(ids("S1 X2"), [Candidate(B, ids("X2")), Candidate(A, ids("S1"))])

    assert (decision.verdict, decision.device_id) == (UNDECIDED, A)  # the serial number counts more


@pytest.mark.parametrize(
    ("reported", "known", "kept"),
    [("S1 r1", "", "S1"), ("r1", "", "r1"), ("r1 r2", "S1", ""), ("r1", "r1", "r1")],
)
def test_a_random_address_is_kept_only_while_nothing_better_is_there(
    reported: str, known: str, kept: str
) -> None:
    candidates = [Candidate(A, ids(known), has_same_key=True)] if known else []

    assert frozenset(decide(ids(reported), candidates).own) == ids(kept)


words = st.lists(
    st.builds(lambda kind, n: f"{kind}{n}", st.sampled_from("SXmr"), st.integers(1, 3)), max_size=5
)


@given(words, st.lists(words, max_size=4))
def test_no_value_is_given_to_a_device_while_another_one_holds_it(
    reported: list[str], known: list[list[str]]
) -> None:
    numbers = count(1)
    held: set[Identifier] = set()
    candidates = []
    for device in known:
        free = ids(" ".join(device)) - held  # the database allows one holder of a value
        held |= free
        candidates.append(Candidate(UUID(int=next(numbers)), free))
    evidence = ids(" ".join(reported))

    decision = decide(evidence, candidates)

    of_others = {
        item
        for each in candidates
        if each.device_id != decision.device_id
        for item in each.identifiers
    }
    assert not of_others & set(decision.own)
    assert decision.own or decision.verdict is not DIFFERENT or not evidence
    assert set(decision.own) <= evidence


@pytest.mark.parametrize("serial", ["1", "?", "12345678", "AMLOGIC", "ffffffffffffffff", "----"])
def test_a_serial_number_that_factories_repeat_is_passed_over(serial: str) -> None:
    parsed = parse_identifiers(serial=serial, android="a1b2c3d4", macs=["00:11:22:33:44:55"])

    assert [item.kind for item in parsed.usable] == ["android_id"]
    assert len(parsed.placeholders) == 2


@pytest.mark.parametrize(
    ("written", "entered"),
    [
        ("ABC-1", "abc-1"),
        ("\uff21\uff22\uff23-1", "ABC-1"),
        ("cafe\u0301-1", "CAFÉ-1"),
        (" abc-1\u3000", "abc-1"),
    ],
)
def test_serial_numbers_are_compared_without_case_and_width(written: str, entered: str) -> None:
    first, second = (parse_identifiers(serial=text).usable for text in (written, entered))

    assert first == second
    assert first[0].written == written.strip()
