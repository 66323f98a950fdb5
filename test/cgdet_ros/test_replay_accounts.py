"""Every frame of the bag is accounted for, once, and a count that does not fit is told."""

from __future__ import annotations

import os
import signal
import time

import pytest

pytest.importorskip("vision_msgs", reason="vision_msgs is not installed: make setup")

from cgdet_ros.node.diagnostics import read_summary
from cgdet_ros.replay.accounts import Accounts, balance
from cgdet_ros.replay.interrupt import Interruption


def counted(**node: int) -> dict[str, str]:
    counts = {"received": 0, "refused": 0, "overtaken": 0, "answered": 0, "failed": 0, **node}
    return {name: str(count) for name, count in counts.items()}


def accounts(node: dict[str, str], answered: int = 80, sent: int = 100) -> Accounts:
    return balance(in_bag=110, read=106, repeated_stamps=5, not_sendable=1, sent=sent, answered=answered, node=node)


def test_bag_replay_and_node_together_name_every_frame() -> None:
    found = accounts(counted(received=97, refused=2, overtaken=13, answered=81, failed=1))
    assert found.not_played == 4
    assert found.unanswered == 20
    assert found.causes() == {
        "lost_before_node": 3,
        "overtaken": 13,
        "refused": 2,
        "failed": 1,
        "in_work": 0,
        "lost_answers": 1,
    }
    assert found.consistent
    assert found.to_json()["consistent"] is True
    left_out = found.repeated_stamps + found.not_sendable + found.not_played
    assert found.in_bag == left_out + found.answered + sum(count or 0 for count in found.causes().values())


@pytest.mark.parametrize(
    "node",
    [
        counted(received=101, overtaken=20, answered=81),  # more than were sent
        counted(received=100, overtaken=21, answered=79),  # fewer answers than came
        counted(received=100, overtaken=10, answered=80),  # ten in work for ever
        counted(received=100, overtaken=30, answered=80),  # more outcomes than frames
    ],
)
def test_counts_that_contradict_each_other_are_not_called_consistent(node: dict[str, str]) -> None:
    assert not accounts(node).consistent


def test_a_bag_that_holds_another_number_of_frames_than_its_index_says_is_not_consistent() -> None:
    whole = counted(received=100, overtaken=20, answered=80)
    assert accounts(whole).consistent
    assert not accounts(whole, sent=99).consistent


def test_a_node_that_ended_leaves_its_causes_open() -> None:
    found = accounts({})
    assert (found.unanswered, found.overtaken, found.lost_before_node) == (20, None, None)
    assert found.consistent


def test_what_the_node_says_of_its_stages_is_read_back() -> None:
    assert read_summary("p50 1.20, p95 11.31, p99 120.00") == {"p50": 1.2, "p95": 11.31, "p99": 120.0}
    assert read_summary("stamps of another clock: 9.5 s behind this node's, not averaged") == {}
    assert read_summary("") == {}


def test_the_first_signal_is_noted_one_at_once_is_the_same_and_a_later_one_interrupts(
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Interruption() as interruption:
        interruption.watch()
        assert not interruption.asked
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.wait(5.0)
        assert interruption.asked
        assert not interruption.forced
        os.kill(os.getpid(), signal.SIGINT)  # launch's, for the same Ctrl-C
        assert not interruption.forced
        time.sleep(1.1)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert interruption.forced
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert capfd.readouterr().err.count("writing what was measured") == 1


def test_before_it_watches_a_signal_is_the_program_s() -> None:
    with Interruption() as interruption, pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert not interruption.asked
