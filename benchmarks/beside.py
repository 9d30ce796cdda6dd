"""A door of ours, and the bare view in the same run on the same machine."""

from benchmarks import load
from benchmarks.connect import bare_table
from benchmarks.stage import web

CONNECTIONS = 16
BARE_SECONDS = 4.0


def measured(requests: list[bytes], *, port: int, seconds: float) -> str:
    """What our door came to, with the ratio to one bare UPDATE."""
    bare_table()
    with web("benchmarks.bare:application", port):
        bare = [load.post(f"/{number}", b"{}") for number in range(1000)]
        baseline = load.run(port, bare, connections=CONNECTIONS, seconds=BARE_SECONDS)
    with web("provisioning.rsgi:app", port):
        figures = load.run(port, requests, connections=CONNECTIONS, seconds=seconds)
    return (
        f"{figures.rate:,.0f}/s, p50 {figures.percentile(0.5):.1f} ms,"
        f" p99 {figures.percentile(0.99):.1f} ms, {figures.failed} failed; ratio to a"
        f" bare UPDATE {figures.rate / baseline.rate:.2f}"
    )
