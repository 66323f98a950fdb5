"""Images at ten times the rate that the node can answer, for ten minutes: the age of its answers, and its memory.

    python benchmarks/node_flood.py [--seconds 600] [--factor 10] [--size 512 640] [--model F] [--json F]

The rate is found first, frame by frame. An answer's age: from just before its image is published to its arrival here.
Every age is compared with the two inferences that it met (node_ages.py): the one under way when its image came, and its
own. Beyond them lie the ways in and out; what these take at the most when nothing else goes on is `fixed`.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from node_ages import Ages
from node_under_test import NodeUnderTest, arguments_parser, as_row, frames, stamp_of, stamped, write_json


def main() -> None:
    parser = arguments_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--factor", type=float, default=10.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.npz"
        with NodeUnderTest(model=arguments.model, record=record) as node:
            messages = frames(*arguments.size)
            node.connected(node.images)
            alone_s = lockstep(node, messages, 100)
            rate_hz = arguments.factor / float(np.median([arrived - sent for sent, arrived in alone_s.values()]))
            print(f"alone: {1e3 * arguments.factor / rate_hz:.1f} ms; flood of {rate_hz:.0f} Hz", flush=True)
            with node.kept:
                node.answers.clear()
            sent_s, held = flood(node, messages, rate_hz, arguments.seconds)
            report = dict(node.report)
        stamps = [stamp_of(message) for _, message in node.answers]
        alone = Ages(record, *({stamp: both[n] for stamp, both in alone_s.items()} for n in (0, 1)))
        ages = Ages(
            record, sent_s, {stamp: arrived_s for stamp, (arrived_s, _) in zip(stamps, node.answers, strict=True)}
        )
    fixed_s = float(alone.excess_s().max())
    figures = {
        "seconds": arguments.seconds,
        "rate_hz": round(rate_hz, 1),
        "sent": len(sent_s),
        "answered": len(set(stamps) & set(sent_s)),
        "in_order_and_once": stamps == sorted(set(stamps)),
        "alone": alone.figures(fixed_s),
        "flood": ages.figures(fixed_s),
        "predictor_ms_at_the_end": report["total_ms"],
        "held_first_minute": as_row(held[min(11, len(held) - 1)]),
        "held": [as_row(each) for each in held],
        "exit_code": node.exit_code,
        "report": report,
    }
    shown = {**figures, "alone": without_rows(figures["alone"]), "flood": without_rows(figures["flood"])}
    print(json.dumps({key: value for key, value in shown.items() if key not in ("held", "report")}, indent=2))
    print(
        "memory, MiB, from the start to the end:",
        [each.rss_mib for each in held[:: max(1, len(held) // 20)]] + [held[-1].rss_mib],
    )
    write_json(arguments.json, figures)


def without_rows(figures: dict[str, Any]) -> dict[str, Any]:
    """What is shown: the rows of single answers are in the file."""
    return {key: value for key, value in figures.items() if not isinstance(value, list)}


def lockstep(node: NodeUnderTest, messages: list[Any], count: int) -> dict[int, tuple[float, float]]:
    """Stamp -> sent and arrived, each after the answer to the one before; five at first, in which memory grows, not."""
    times: dict[int, tuple[float, float]] = {}
    while len(times) < count + 5:
        stamp_ns, sent_s = time.time_ns(), time.monotonic()
        node.images.publish(stamped(messages[len(times) % len(messages)], stamp_ns))
        arrived_s = node.answer_to(stamp_ns, 5.0)
        if arrived_s is not None:
            times[stamp_ns] = sent_s, arrived_s
    return dict(list(times.items())[5:])


def flood(node: NodeUnderTest, messages: list[Any], rate_hz: float, seconds: float) -> tuple[dict[int, float], list]:
    """Stamp -> monotonic time of each image; what the node held, every five seconds."""
    sent_s: dict[int, float] = {}
    held = []
    start_s = time.monotonic()
    look_s = start_s + 5.0
    while (now_s := time.monotonic()) < start_s + seconds:
        # not to be caught up with: what was missed is not sent in a burst
        stamp_ns = time.time_ns()
        sent_s[stamp_ns] = now_s
        node.images.publish(stamped(messages[len(sent_s) % len(messages)], stamp_ns))
        if now_s >= look_s:
            look_s += 5.0
            held.append(node.held())
        time.sleep(max(0.0, 1 / rate_hz - (time.monotonic() - now_s)))
    time.sleep(2.0)
    return sent_s, held


if __name__ == "__main__":
    main()
