"""Merging, comparison and hashes of documents. The tests use no database."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from devices.configurations.documents import (
    EMPTY_VERSION,
    differences,
    merge_layers,
    normalise,
    version_of,
)

VALUES = st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3)
DOCUMENTS = st.dictionaries(
    st.sampled_from(["brightness", "volume", "locale"]), VALUES
) | st.fixed_dictionaries({"extra": st.none() | st.dictionaries(st.sampled_from("abc"), VALUES)})


def merged(*documents: dict[str, Any]) -> dict[str, Any]:
    return merge_layers(list(enumerate(documents))).document


def test_a_stronger_layer_overrides_a_weaker_one() -> None:
    assert merged({"volume": 1, "brightness": 2}, {"volume": 3}) == {"volume": 3, "brightness": 2}


def test_sources_name_the_layer_that_set_each_key() -> None:
    result = merge_layers([("tenant", {"volume": 1, "brightness": 2}), ("tag", {"volume": 3})])
    assert result.sources == {"volume": "tag", "brightness": "tenant"}


def test_a_key_is_replaced_as_a_whole() -> None:
    wide = {"resolution": {"width": 1920, "height": 1080}}
    narrow = {"resolution": {"width": 720, "height": 576}}
    assert merged(wide, narrow) == narrow


def test_extra_keys_are_merged_one_by_one() -> None:
    assert merged({"extra": {"a": 1, "b": 1}}, {"extra": {"b": 2}}) == {"extra": {"a": 1, "b": 2}}


def test_null_removes_a_key_and_sources_name_its_layer() -> None:
    result = merge_layers([("tenant", {"volume": 1}), ("device", {"volume": None})])
    assert (result.document, result.sources) == ({}, {"volume": "device"})


def test_null_for_extra_removes_all_extra_keys() -> None:
    assert merged({"extra": {"a": 1}}, {"extra": None}) == {}


def test_a_stronger_layer_can_set_a_key_after_null() -> None:
    assert merged({"volume": 1}, {"volume": None}, {"volume": 5}) == {"volume": 5}


def test_the_version_does_not_depend_on_the_order_of_keys() -> None:
    assert version_of({"a": 1, "b": 2}) == version_of({"b": 2, "a": 1})


def test_no_layers_have_the_empty_version() -> None:
    assert merge_layers([]).version == EMPTY_VERSION


def test_whole_floats_are_normalised_to_integers() -> None:
    assert normalise({"extra": {"a": [1.0, 1.5, True]}}) == {"extra": {"a": [1, 1.5, True]}}
    assert repr(normalise(1.0)) == "1"


def test_differences_have_the_keys_with_both_values() -> None:
    items = differences({"volume": 1, "extra": {"a": 1}}, {"brightness": 2, "extra": {"a": 2}})
    assert [(item.key, item.before, item.after) for item in items] == [
        ("brightness", None, 2),
        ("extra.a", 1, 2),
        ("volume", 1, None),
    ]


def test_a_missing_key_differs_from_null() -> None:
    assert [item.key for item in differences({}, {"volume": None})] == ["volume"]


@given(st.lists(DOCUMENTS, max_size=4))
def test_every_merged_key_is_from_the_last_layer_that_sets_it(
    documents: list[dict[str, Any]],
) -> None:
    result = merge_layers(list(enumerate(documents)))
    for key, value in result.document.items():
        if key != "extra":
            assert documents[result.sources[key]][key] == value
            assert all(key not in later for later in documents[result.sources[key] + 1 :])


def test_true_differs_from_one() -> None:
    assert differences({"extra": {"a": 1}}, {"extra": {"a": True}})


def test_null_for_extra_differs_from_a_missing_extra() -> None:
    assert [item.key for item in differences({}, {"extra": None})] == ["extra"]


@given(DOCUMENTS, DOCUMENTS)
def test_documents_without_differences_have_the_same_version(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    results = [merge_layers([("", document)]) for document in (one, other)]
    if not differences(one, other):
        assert results[0].version == results[1].version
