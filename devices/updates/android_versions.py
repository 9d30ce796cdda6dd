"""The API level of an Android version that a device reports."""

import re

# https://developer.android.com/tools/releases/platforms
API_LEVELS = {
    (4, 0): 14,
    (4, 1): 16,
    (4, 2): 17,
    (4, 3): 18,
    (4, 4): 19,
    (5, 0): 21,
    (5, 1): 22,
    (6, 0): 23,
    (7, 0): 24,
    (7, 1): 25,
    (8, 0): 26,
    (8, 1): 27,
    (9, 0): 28,
    (10, 0): 29,
    (11, 0): 30,
    (12, 0): 31,
    (12, 1): 32,
    (13, 0): 33,
    (14, 0): 34,
    (15, 0): 35,
    (16, 0): 36,
}
_WRITTEN = re.compile(
    r"\s*(?:android\s*)?(?:tv\s*)?(?:os\s*)?(\d{1,2})(L)?(?:\.(\d{1,2}))?(?:\.\d+)*(?=$|[\s(])",
    re.I,
)


def api_level(os_version: str) -> int | None:
    """Return the API level of a reported version, such as `11`, `Android 9` or `7.1.2`.

    Returns None if the text is no known version of Android.
    """
    match = _WRITTEN.match(os_version)
    if match is None:
        return None
    major, minor = int(match[1]), int(match[3] or (1 if match[2] else 0))
    return API_LEVELS.get((major, minor), API_LEVELS.get((major, 0)))
