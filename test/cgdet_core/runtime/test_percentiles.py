"""Percentiles against values by hand."""

from __future__ import annotations

import numpy as np
import pytest

from cgdet_core.runtime.percentiles import percentiles


def test_a_rank_lies_linearly_between_the_sorted_values_next_to_it() -> None:
    # of 11 values, sorted, rank p is at place p / 10
    values = [30.0, 0.0, 10.0, 20.0, 100.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0]
    expected = {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert percentiles(values) == pytest.approx(expected, abs=1e-9)
    assert percentiles(np.array([1.0, 3.0])) == pytest.approx({"p50": 2.0, "p95": 2.9, "p99": 2.98}, abs=1e-9)


def test_ranks_are_those_asked_for_and_a_single_value_is_all_of_them() -> None:
    assert percentiles((0.125,), (0, 50, 100)) == {"p0": 0.125, "p50": 0.125, "p100": 0.125}
