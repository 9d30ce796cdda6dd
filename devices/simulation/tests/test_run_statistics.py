"""Tests of the request statistics."""

from devices.simulation.run_statistics import NETWORK, RunStatistics


def test_requests_are_counted_by_kind_and_status() -> None:
    tally = RunStatistics()
    for status in (200, 200, 304, 429, NETWORK):
        tally.count_request("connect", status, 0.01)
    statistics = tally.as_json_values()["requests"]["connect"]
    assert (statistics["answered"], statistics["failed"]) == (3, 2)
    assert statistics["statuses"] == {"0": 1, "200": 2, "304": 1, "429": 1}


def test_percentiles_include_only_requests_with_a_response() -> None:
    tally = RunStatistics()
    for milliseconds in range(1, 101):
        tally.count_request("connect", 200, milliseconds / 1000)
    tally.count_request("connect", NETWORK, 30)  # a time-out has no latency
    statistics = tally.as_json_values()["requests"]["connect"]
    assert (statistics["p50_ms"], statistics["p95_ms"]) == (50, 95)


def test_a_request_without_a_response_has_no_latency() -> None:
    tally = RunStatistics()
    tally.count_request("connect", NETWORK, 1)
    assert tally.as_json_values()["requests"]["connect"]["p50_ms"] is None
    assert "-" in tally.table()


def test_devices_are_counted_by_state() -> None:
    tally = RunStatistics()
    tally.move("", "registering")
    tally.move("", "registering")
    tally.move("registering", "online")
    assert tally.as_json_values()["devices"] == {"registering": 1, "online": 1}
    tally.move("online", "")
    assert tally.as_json_values()["devices"] == {"registering": 1}


def test_the_table_has_a_line_per_kind() -> None:
    tally = RunStatistics()
    tally.move("", "online")
    tally.count_request("connect", 200, 0.012)
    assert tally.table().splitlines()[0] == "devices: 1 online; 0 push connections"
    assert "12 ms" in tally.table().splitlines()[2]
