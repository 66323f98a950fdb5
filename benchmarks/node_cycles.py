"""A thousand times configure, activate, a frame, deactivate, cleanup: what the node's process holds meanwhile.

python benchmarks/node_cycles.py [--cycles 1000] [--size 512 640] [--model F] [--json F]
"""

from __future__ import annotations

import time
from dataclasses import asdict

from node_under_test import PATIENCE_S, NodeUnderTest, arguments_parser, frames, stamped, write_json


def main() -> None:
    parser = arguments_parser(__doc__)
    parser.add_argument("--cycles", type=int, default=1000)
    arguments = parser.parse_args()
    with NodeUnderTest("autostart:=false", model=arguments.model) as node:
        message = frames(*arguments.size, count=1)[0]
        rows = []
        start_s = time.monotonic()
        for cycle in range(1, arguments.cycles + 1):
            one_cycle(node, message)
            if cycle in (1, 10) or cycle % 50 == 0:
                rows.append({"cycle": cycle, **asdict(node.held())})
                print(rows[-1], flush=True)
        seconds = time.monotonic() - start_s
    print(f"{arguments.cycles} cycles in {seconds:.0f} s, {len(node.answers)} frames answered, exit {node.exit_code}")
    write_json(arguments.json, rows)


def one_cycle(node: NodeUnderTest, message: object) -> None:
    """From unconfigured to unconfigured, with one frame answered; SystemExit where anything is refused."""
    from lifecycle_msgs.msg import Transition
    from lifecycle_msgs.srv import ChangeState, GetState

    def change(transition: int, to: str) -> None:
        request = ChangeState.Request(transition=Transition(id=transition))
        if node.call(ChangeState, "change_state", request).success:
            return
        # it was asked again and had been done
        if node.call(GetState, "get_state", GetState.Request()).current_state.label != to:
            raise SystemExit(f"transition {transition} was refused: {node.process.last_words()}")

    change(Transition.TRANSITION_CONFIGURE, "inactive")
    change(Transition.TRANSITION_ACTIVATE, "active")
    node.until(lambda: node.images.get_subscription_count() > 0, "the subscription")
    answered = len(node.answers)
    deadline_s = time.monotonic() + PATIENCE_S
    while len(node.answers) == answered:  # best effort, and each side finds the other in its own time
        if time.monotonic() > deadline_s:
            raise SystemExit("no frame was answered")
        node.images.publish(stamped(message, time.time_ns()))
        with node.kept:
            node.kept.wait_for(lambda: len(node.answers) > answered, 0.1)
    change(Transition.TRANSITION_DEACTIVATE, "inactive")
    change(Transition.TRANSITION_CLEANUP, "unconfigured")


if __name__ == "__main__":
    main()
