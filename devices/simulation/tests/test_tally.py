"""What a run came to. Pure."""

from devices.simulation.tally import NETWORK, Tally


def test_requests_are_counted_by_kind_and_status() -> None:
    tally = Tally()
    for status in (200, 200, 304, 429, NETWORK):
        tally.note("connect", status, 0.01)
    told = tally.figures()["requests"]["connect"]
    assert (told["answered"], told["failed"]) == (3, 2)
    assert told["statuses"] == {"0": 1, "200": 2, "304": 1, "429": 1}


def test_percentiles_are_of_the_answers() -> None:
    tally = Tally()
    for milliseconds in range(1, 101):
        tally.note("connect", 200, milliseconds / 1000)
    tally.note("connect", NETWORK, 30)  # a time-out is no latency
    told = tally.figures()["requests"]["connect"]
    assert (told["p50_ms"], told["p95_ms"]) == (50, 95)


def test_without_an_answer_there_is_no_latency() -> None:
    tally = Tally()
    tally.note("connect", NETWORK, 1)
    assert tally.figures()["requests"]["connect"]["p50_ms"] is None
    assert "-" in tally.table()


def test_devices_are_counted_by_what_they_do() -> None:
    tally = Tally()
    tally.move("", "registering")
    tally.move("", "registering")
    tally.move("registering", "online")
    assert tally.figures()["devices"] == {"registering": 1, "online": 1}
    tally.move("online", "")
    assert tally.figures()["devices"] == {"registering": 1}


def test_the_table_has_a_line_for_each_kind() -> None:
    tally = Tally()
    tally.move("", "online")
    tally.note("connect", 200, 0.012)
    assert tally.table().splitlines()[0] == "devices: 1 online; 0 listening"
    assert "12 ms" in tally.table().splitlines()[2]
