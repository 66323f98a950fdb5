"""What became of every frame of the bag: counted by the replay, by the node, and against the bag."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Accounts:
    """Frames; each of the bag's is in exactly one of the others but `sent` and `unanswered`.

    in_bag: messages of the image topic, by the bag's index, as many as were to be played.
    repeated_stamps, not_sendable: left out before sending; not_played: the run ended before them.
    sent = answered + unanswered. answered: an answer reached the replay.
    unanswered = lost_before_node + overtaken + refused + failed + in_work + lost_answers, of which the
    node counts all but the first and the last; None where it ended and could not say so any more.
    lost_before_node: newer ones replaced them in the middleware's queues, before the node took them;
    lost_answers: published by the node, and not received by the replay.
    """

    in_bag: int
    repeated_stamps: int
    not_sendable: int
    not_played: int
    sent: int
    answered: int
    unanswered: int
    lost_before_node: int | None = None
    overtaken: int | None = None
    refused: int | None = None
    failed: int | None = None
    in_work: int | None = None
    lost_answers: int | None = None

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "consistent": self.consistent}

    @property
    def consistent(self) -> bool:
        """Whether bag, replay and node tell the same: every frame is accounted for, and once."""
        whole = self.in_bag == self.repeated_stamps + self.not_sendable + self.not_played + self.sent
        causes = self.causes()
        known = [count for count in causes.values() if count is not None]
        return whole and (not known or (sum(known) == self.unanswered and min(known) >= 0 and not self.in_work))

    def causes(self) -> dict[str, int | None]:
        """Why frames that were sent have no answer."""
        return {
            "lost_before_node": self.lost_before_node,
            "overtaken": self.overtaken,
            "refused": self.refused,
            "failed": self.failed,
            "in_work": self.in_work,
            "lost_answers": self.lost_answers,
        }


def balance(
    *,
    in_bag: int,
    read: int,
    repeated_stamps: int,
    not_sendable: int,
    sent: int,
    answered: int,
    node: Mapping[str, str],
) -> Accounts:
    """read: messages taken out of the bag; node: its own last report, empty where it has none after the last frame."""
    counts = {
        name: int(node[name]) for name in ("received", "refused", "overtaken", "answered", "failed") if name in node
    }
    known: dict[str, int] = {}
    if len(counts) == 5:
        done = counts["refused"] + counts["overtaken"] + counts["answered"] + counts["failed"]
        known = {
            "lost_before_node": sent - counts["received"],
            "overtaken": counts["overtaken"],
            "refused": counts["refused"],
            "failed": counts["failed"],
            "in_work": counts["received"] - done,
            "lost_answers": counts["answered"] - answered,
        }
    return Accounts(
        in_bag=in_bag,
        repeated_stamps=repeated_stamps,
        not_sendable=not_sendable,
        not_played=in_bag - read,
        sent=sent,
        answered=answered,
        unanswered=sent - answered,
        **known,
    )
