"""What the installed commands run; light, as everything else is loaded under `main_of`."""

from __future__ import annotations

from cgdet_core.loading import main_of


def detector() -> int:
    return main_of("cgdet_ros.node.detector_node", 0)()


def replay() -> int:
    return main_of("cgdet_ros.replay.cli", 130, "cgdet-replay: interrupted, nothing was written")()
