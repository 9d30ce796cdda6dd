"""Characters that are not allowed in names, and texts that look empty."""

# Control characters, line separators, and the characters that control the direction of text
# (Unicode's Bidi_Control). A name with them could look like another name. Hebrew and Arabic
# names need none of them.
FORBIDDEN = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f"
# Characters that are drawn as nothing: soft hyphen, fillers, zero-width characters.
INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180e\u200b\u200c\u200d\u200e"
    "\u200f\u2060\u2061\u2062\u2063\u2064\u2800\u3164\ufeff\uffa0"
)


def is_blank(text: str) -> bool:
    """Return True if a text has no visible character: it is empty, or has Unicode blanks only."""
    return all(
        character.isspace() or character in INVISIBLE or not character.isprintable()
        for character in text
    )
