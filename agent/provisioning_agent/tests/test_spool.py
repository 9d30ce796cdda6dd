"""Samples are kept on the disk until the server has them."""

from pathlib import Path

import pytest

from provisioning_agent import spool
from provisioning_agent.spool import FileSpool


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "samples"


def samples(first: int, last: int) -> list[dict[str, int]]:
    return [{"cpu_usage": number} for number in range(first, last)]


def test_samples_are_there_after_a_restart(folder: Path) -> None:
    for sample in samples(0, 3):
        FileSpool(folder).add(sample)

    assert FileSpool(folder).oldest() == samples(0, 3)


def test_a_line_that_a_loss_of_power_has_cut_costs_one_sample(folder: Path) -> None:
    kept = FileSpool(folder)
    kept.add({"cpu_usage": 0})
    (file,) = folder.iterdir()
    with file.open("a") as stream:
        stream.write('{"cpu_us')
    kept.add({"cpu_usage": 1})

    assert FileSpool(folder).oldest() == samples(0, 2)


def test_a_sample_added_during_a_request_is_not_removed_with_it(folder: Path) -> None:
    kept = FileSpool(folder)
    kept.add({"cpu_usage": 0})
    kept.oldest()
    kept.add({"cpu_usage": 1})
    kept.remove_oldest()

    assert kept.oldest() == samples(1, 2)


def test_samples_are_returned_in_batches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SAMPLES_PER_FILE", 3)
    kept = FileSpool(folder)
    for sample in samples(0, 7):
        kept.add(sample)

    batches = []
    while batch := kept.oldest():
        batches.append(batch)
        kept.remove_oldest()
    assert batches == [samples(0, 3), samples(3, 6), samples(6, 7)]


def test_a_full_spool_drops_the_oldest_samples(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SAMPLES_PER_FILE", 2)
    monkeypatch.setattr(spool, "MAX_FILES", 3)
    kept = FileSpool(folder)
    for sample in samples(0, 10):
        kept.add(sample)

    assert kept.oldest() == samples(4, 6)
    assert len(list(folder.iterdir())) == 3
