"""Samples on the disk until the server has stored them."""

import json
import os
from pathlib import Path
from typing import Any, Protocol

from provisioning_agent.files import sync_folder

SAMPLES_PER_FILE = 500  # a file is one request; the server accepts 1,000
MAX_FILES = 40  # 20,000 samples: ten weeks with one each five minutes
Sample = dict[str, Any]


class Spool(Protocol):
    """Samples that wait to be sent."""

    def add(self, sample: Sample) -> None:
        """Keep a sample. If the spool is full, the oldest samples are dropped."""

    def oldest(self) -> list[Sample]:
        """Return the samples of the next request, the oldest ones; an empty list if there are none."""

    def remove_oldest(self) -> None:
        """Remove the samples that `oldest` has returned."""


class MemorySpool:
    """A spool that ends with the process, for simulations and tests."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._returned = 0

    def add(self, sample: Sample) -> None:
        self._samples.append(sample)
        del self._samples[: -SAMPLES_PER_FILE * MAX_FILES]

    def oldest(self) -> list[Sample]:
        samples = self._samples[:SAMPLES_PER_FILE]
        self._returned = len(samples)
        return samples

    def remove_oldest(self) -> None:
        del self._samples[: self._returned]
        self._returned = 0


class FileSpool:
    """Samples in files of JSON lines. A line that a loss of power has cut is dropped.

    The server recognises samples that it has already stored by their time, so a file whose
    request was answered before a crash is sent again without harm.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._returned: Path | None = None

    def add(self, sample: Sample) -> None:
        files = self._files()
        last = files[-1] if files else None
        if last is None or last == self._returned or _lines(last) >= SAMPLES_PER_FILE:
            number = int(last.stem) + 1 if last is not None else 1
            last = self.folder / f"{number:010}.jsonl"
            files.append(last)
        is_new = not last.exists()
        descriptor = os.open(last, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with open(descriptor, "ab") as stream:
            # The first newline ends a line that a crash has cut.
            prefix = b"" if is_new else b"\n"
            stream.write(prefix + json.dumps(sample).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
        if is_new:
            sync_folder(self.folder)
        for path in files[:-MAX_FILES]:
            path.unlink(missing_ok=True)

    def oldest(self) -> list[Sample]:
        for path in self._files():
            self._returned = path
            if samples := list(_samples(path)):
                return samples
            self.remove_oldest()  # nothing in it can be used
        return []

    def remove_oldest(self) -> None:
        if self._returned is not None:
            self._returned.unlink(missing_ok=True)
            sync_folder(self.folder)
        self._returned = None

    def _files(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.jsonl") if path.stem.isdecimal())


def _lines(path: Path) -> int:
    return len(_samples(path))


def _samples(path: Path) -> list[Sample]:
    samples = []
    for line in path.read_bytes().splitlines():
        try:
            value = json.loads(line) if line.strip() else None
        except ValueError:
            continue  # cut by a loss of power
        if isinstance(value, dict):
            samples.append(value)
    return samples
