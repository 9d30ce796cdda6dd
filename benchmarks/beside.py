"""Compare an endpoint with the bare view in the same run on the same machine."""

from benchmarks import client
from benchmarks.connect import create_bare_table
from benchmarks.stage import web

CONNECTIONS = 16
BARE_SECONDS = 4.0


def compare_with_bare_update(requests: list[bytes], *, port: int, seconds: float) -> str:
    """Measure an endpoint and the bare view. Return a summary with the ratio.

    Args:
        requests: The requests to send to the endpoint.
        port: The port for the web server.
        seconds: How long to send requests.
    """
    create_bare_table()
    with web("benchmarks.bare:application", port):
        bare_requests = [client.post(f"/{number}", b"{}") for number in range(1000)]
        baseline = client.run(port, bare_requests, connections=CONNECTIONS, seconds=BARE_SECONDS)
    with web("provisioning.rsgi:app", port):
        result = client.run(port, requests, connections=CONNECTIONS, seconds=seconds)
    return (
        f"{result.rate:,.0f}/s, p50 {result.percentile(0.5):.1f} ms,"
        f" p99 {result.percentile(0.99):.1f} ms, {result.failed} failed; ratio to a"
        f" bare UPDATE {result.rate / baseline.rate:.2f}"
    )
