"""Images at ten times the rate that the node can answer, for ten minutes: the age of its answers, and its memory.

    python benchmarks/node_flood.py [--seconds 600] [--factor 10] [--model F] [--json F]

The rate is found first, frame by frame. An answer's age: from just before its image is published to its arrival. It
meets two inferences at most, the one under way when its image came and its own.
"""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
from node_under_test import NodeUnderTest, arguments_parser, frames, rss_mib, stamp_of, stamped, write_json

from cgdet_core.runtime.predictor import percentiles


def main() -> None:
    parser = arguments_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--factor", type=float, default=10.0)
    arguments = parser.parse_args()
    with NodeUnderTest(model=arguments.model) as node:
        messages = frames()
        node.connected()
        alone_s = np.array([ask(node, message) for message in messages * 14][10:])
        rate_hz = arguments.factor / float(np.median(alone_s))
        print(f"alone: {1e3 * np.median(alone_s):.1f} ms; flood of {rate_hz:.0f} Hz", flush=True)
        with node.kept:
            node.answers.clear()
        sent_s, held = flood(node, messages, rate_hz, arguments.seconds)
    stamps = [stamp_of(message) for _, message in node.answers]
    ages_s = [
        arrived_s - sent_s[stamp] for stamp, (arrived_s, _) in zip(stamps, node.answers, strict=True) if stamp in sent_s
    ]
    figures = {
        "seconds": arguments.seconds,
        "rate_hz": round(rate_hz, 1),
        "sent": len(sent_s),
        "answered": len(ages_s),
        "in_order_and_once": stamps == sorted(set(stamps)),
        "alone_ms": summary(alone_s),
        "age_ms": summary(np.array(ages_s)),
        "rss_mib": held,
        "exit_code": node.exit_code,
    }
    print(json.dumps(figures))
    write_json(arguments.json, figures)


def summary(seconds: np.ndarray) -> dict[str, float]:
    """Percentiles and the greatest, in ms."""
    values = {name: round(value, 2) for name, value in percentiles(seconds * 1e3).items()}
    return {**values, "max": round(float(seconds.max()) * 1e3, 2)}


def ask(node: NodeUnderTest, message: Any) -> float:
    """Seconds to the answer."""
    while True:
        stamp_ns, sent_s = time.time_ns(), time.monotonic()
        node.images.publish(stamped(message, stamp_ns))
        arrived_s = node.answer_to(stamp_ns, 5.0)
        if arrived_s is not None:
            return arrived_s - sent_s


def flood(
    node: NodeUnderTest, messages: list[Any], rate_hz: float, seconds: float
) -> tuple[dict[int, float], list[float]]:
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
            held.append(rss_mib(node.pid))
        time.sleep(max(0.0, 1 / rate_hz - (time.monotonic() - now_s)))
    time.sleep(2.0)
    return sent_s, [*held, rss_mib(node.pid)]


if __name__ == "__main__":
    main()
