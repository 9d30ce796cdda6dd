"""Errors raised by metric ingestion and metric queries."""

from core.errors import Invalid, Unavailable


class NoSamples(Invalid):
    code = "no_samples"


class TooManySamples(Invalid):
    code = "too_many_samples"


class InvalidQuery(Invalid):
    """The requested period or grouping is not supported."""

    code = "invalid_query"


class SamplesNotStored(Unavailable):
    """The database cannot store samples now. The device keeps them and retries."""

    code = "samples_not_stored"
    retry_after = 60  # seconds
