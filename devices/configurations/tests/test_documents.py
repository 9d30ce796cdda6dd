"""Documents laid over each other, compared, and known by their hash. Pure."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from devices.configurations.documents import (
    NOTHING,
    differences,
    layered,
    normalised,
    version_of,
)

VALUES = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)
DOCUMENTS = st.dictionaries(
    st.sampled_from(["brightness", "volume", "locale"]), VALUES
) | st.fixed_dictionaries(
    {"extra": st.none() | st.dictionaries(st.sampled_from("abc"), VALUES)}
)


def laid(*documents: dict[str, Any]) -> dict[str, Any]:
    return layered(list(enumerate(documents))).document


def test_the_stronger_layer_wins() -> None:
    assert laid({"volume": 1, "brightness": 2}, {"volume": 3}) == {
        "volume": 3,
        "brightness": 2,
    }


def test_each_key_names_the_layer_that_has_set_it() -> None:
    effective = layered(
        [("tenant", {"volume": 1, "brightness": 2}), ("tag", {"volume": 3})]
    )
    assert effective.sources == {"volume": "tag", "brightness": "tenant"}


def test_a_key_is_replaced_whole() -> None:
    wide = {"resolution": {"width": 1920, "height": 1080}}
    narrow = {"resolution": {"width": 720, "height": 576}}
    assert laid(wide, narrow) == narrow


def test_each_extra_key_is_its_own() -> None:
    assert laid({"extra": {"a": 1, "b": 1}}, {"extra": {"b": 2}}) == {
        "extra": {"a": 1, "b": 2}
    }


def test_null_leaves_a_key_to_the_device_and_says_who_did() -> None:
    effective = layered([("tenant", {"volume": 1}), ("device", {"volume": None})])
    assert (effective.document, effective.sources) == ({}, {"volume": "device"})


def test_null_takes_all_extra_keys_away() -> None:
    assert laid({"extra": {"a": 1}}, {"extra": None}) == {}


def test_a_still_stronger_layer_sets_again_what_was_left_to_the_device() -> None:
    assert laid({"volume": 1}, {"volume": None}, {"volume": 5}) == {"volume": 5}


def test_the_version_knows_no_order_of_keys() -> None:
    assert version_of({"a": 1, "b": 2}) == version_of({"b": 2, "a": 1})


def test_no_layers_have_the_version_of_nothing() -> None:
    assert layered([]).version == NOTHING


def test_one_is_one_however_it_is_written() -> None:
    assert normalised({"extra": {"a": [1.0, 1.5, True]}}) == {
        "extra": {"a": [1, 1.5, True]}
    }
    assert repr(normalised(1.0)) == "1"


def test_differences_name_the_keys_with_both_values() -> None:
    found = differences(
        {"volume": 1, "extra": {"a": 1}}, {"brightness": 2, "extra": {"a": 2}}
    )
    assert [(item.key, item.before, item.after) for item in found] == [
        ("brightness", None, 2),
        ("extra.a", 1, 2),
        ("volume", 1, None),
    ]


def test_to_leave_a_key_out_is_not_to_leave_it_to_the_device() -> None:
    assert [item.key for item in differences({}, {"volume": None})] == ["volume"]


@given(st.lists(DOCUMENTS, max_size=4))
def test_every_key_of_the_result_is_the_last_word_on_it(
    documents: list[dict[str, Any]],
) -> None:
    effective = layered(list(enumerate(documents)))
    for key, value in effective.document.items():
        if key != "extra":
            assert documents[effective.sources[key]][key] == value
            assert all(
                key not in later for later in documents[effective.sources[key] + 1 :]
            )


def test_true_is_not_one() -> None:
    assert differences({"extra": {"a": 1}}, {"extra": {"a": True}})


def test_to_take_all_extra_keys_away_is_a_difference() -> None:
    assert [item.key for item in differences({}, {"extra": None})] == ["extra"]


@given(DOCUMENTS, DOCUMENTS)
def test_equal_documents_and_only_they_have_no_differences(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    flat = [layered([("", document)]) for document in (one, other)]
    if not differences(one, other):
        assert flat[0].version == flat[1].version
