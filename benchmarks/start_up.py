"""How long the node takes from the start of its process to "active", and the memory that it then holds.

    python benchmarks/start_up.py [--repeats 3] [--model M] [key:=value ...]

First with the cache of compiled networks cold, then warm; medians. What stands after the options are parameters of the
node, such as backend:=onnxruntime.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import tempfile
import time
from pathlib import Path

from cgdet_core.runtime.model_file import default_model_path
from cgdet_ros.replay.process import DETECTOR, NodeProcess, isolate

PATIENCE_S = 60.0


def start(words: list[str], cache: str) -> tuple[float, float]:
    """Seconds to the line "active", and the resident memory in MB."""
    os.environ["XDG_CACHE_HOME"] = cache
    start_s = time.perf_counter()
    with NodeProcess(DETECTOR, words, echo=False) as process:
        while "active: detecting on" not in process.last_words():
            process.check()
            if time.perf_counter() - start_s > PATIENCE_S:
                raise SystemExit(f"the node did not become active: {process.last_words()}")
            time.sleep(0.005)
        active_s = time.perf_counter() - start_s
        memory = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    assert memory is not None
    return active_s, int(memory[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--model", type=Path, default=default_model_path())
    arguments, parameters = parser.parse_known_args()
    settings = [f"model:={arguments.model.resolve()}", "device:=cpu", "threads:=1", *parameters]
    isolate()
    words = [word for setting in settings for word in ("-p", setting)]
    runs: dict[str, list[tuple[float, float]]] = {"cold": [], "warm": []}
    for _ in range(arguments.repeats):
        with tempfile.TemporaryDirectory() as cache:
            for figures in runs.values():
                figures.append(start(words, cache))
    for kind, figures in runs.items():
        active_s, resident_mb = map(statistics.median, zip(*figures, strict=True))
        print(f"{kind}: active after {active_s:.2f} s, {resident_mb:.0f} MB")


if __name__ == "__main__":
    main()
