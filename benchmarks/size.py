"""How much the benchmarks measure: `./run bench --quick`, without an option, or `--full`."""

import os
from typing import TypeVar

T = TypeVar("T")
VARIABLE = "BENCH_SIZE"
QUICK, NORMAL, FULL = "quick", "normal", "full"


def size(normal: T, *, quick: T) -> T:
    """Return a number of rows or seconds for the chosen size."""
    return quick if os.environ.get(VARIABLE) == QUICK else normal


def is_full() -> bool:
    return os.environ.get(VARIABLE) == FULL
