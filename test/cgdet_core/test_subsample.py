"""Items chosen evenly, against what must hold for any numbers."""

from __future__ import annotations

from itertools import pairwise

import pytest

from cgdet_core.subsample import subsample


@pytest.mark.parametrize("total", [0, 1, 2, 3, 10, 97, 1000])
@pytest.mark.parametrize("most", [0, 1, 2, 3, 6, 64, 400])
def test_gaps_differ_by_one_at_most_and_both_ends_are_there(total: int, most: int) -> None:
    places = subsample(total, most)
    assert len(places) == min(total, most)
    gaps = {after - before for before, after in pairwise(places)}
    assert all(gap >= 1 for gap in gaps)
    assert not gaps or max(gaps) - min(gaps) <= 1
    if len(places) > 1:
        assert (places[0], places[-1]) == (0, total - 1)


def test_what_is_few_is_taken_whole() -> None:
    assert subsample(3, 10) == [0, 1, 2]
    assert subsample(10, 4) == [0, 3, 6, 9]
    assert subsample(10, 1) == [0]
