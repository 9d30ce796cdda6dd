"""How metrics say no."""

from core.errors import Invalid, Unavailable


class NoSamples(Invalid):
    code = "no_samples"


class TooManySamples(Invalid):
    code = "too_many_samples"


class InvalidTime(Invalid):
    code = "invalid_time"


class InvalidQuestion(Invalid):
    """What is asked for has no answer: a measure or a range that there is not."""

    code = "invalid_question"


class NotStored(Unavailable):
    """The database takes nothing now; the device keeps its samples and comes again."""

    code = "samples_not_stored"
    retry_after = 60  # seconds
