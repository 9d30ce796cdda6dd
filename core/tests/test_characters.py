import pytest

from core.characters import is_blank


@pytest.mark.parametrize(
    "text", ["", " ", "\t\n", "\u00a0", "\u3000", "\u200b", "\ufeff", "\u2800", "\u202e"]
)
def test_a_text_without_a_visible_character_is_blank(text: str) -> None:
    assert is_blank(text)


@pytest.mark.parametrize("text", ["a", " 0 ", "\u200bé", "-"])
def test_a_text_with_a_visible_character_is_not_blank(text: str) -> None:
    assert not is_blank(text)
