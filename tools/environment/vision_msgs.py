"""Builds the messages of vision_msgs into the environment and proves that they are the standard ones."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from environment.progress import SetupError, clean_environment, run_logged, say

# Type hashes of vision_msgs 4.1.1 (REP 2011): they depend on the names, types and order of all fields alone.
TYPE_HASHES = {
    "vision_msgs/msg/Detection2DArray": "RIHS01_214274120007f4a683866481336b70310268cfa107aebe9d594a6acf75bda968",
    "vision_msgs/msg/Detection2D": "RIHS01_0d12b69df5c593b3455b7346fac8205437a7d4bcb09b9e0e0b2dde787ded38ea",
}


def build(definitions: Path, venv: Path, scratch: Path, log: Path) -> None:
    """From .msg files to message classes below `venv`, which is also the prefix of the ROS wheels."""
    say("vision_msgs: building the messages from their definitions")
    python = venv / "bin" / "python"
    shutil.rmtree(scratch, ignore_errors=True)
    environment = clean_environment()
    environment["PATH"] = f"{venv / 'bin'}{os.pathsep}{environment.get('PATH', '')}"
    # a prefix left over from elsewhere would come before the wheels
    for name in ("AMENT_PREFIX_PATH", "CMAKE_PREFIX_PATH", "PYTHONPATH"):
        environment.pop(name, None)
    what = "building vision_msgs"
    run_logged(
        [
            "cmake",
            "-S",
            definitions,
            "-B",
            scratch,
            "-G",
            "Unix Makefiles",
            "-DCMAKE_BUILD_TYPE=Release",
            "-DBUILD_TESTING=OFF",
            f"-DCMAKE_PREFIX_PATH={venv}",
            f"-DCMAKE_INSTALL_PREFIX={venv}",
            f"-DPython3_EXECUTABLE={python}",
        ],
        what,
        log,
        environment,
    )
    jobs = str(os.cpu_count() or 1)
    run_logged(["cmake", "--build", scratch, "--parallel", jobs], what, log, environment)
    run_logged(["cmake", "--install", scratch], what, log, environment)
    shutil.rmtree(scratch)
    check_type_hashes(venv)


def check_type_hashes(prefix: Path) -> None:
    """SetupError unless the messages installed below `prefix` are those of vision_msgs 4.1.1."""
    for name, expected in TYPE_HASHES.items():
        file = prefix / "share" / f"{name}.json"
        try:
            hashes = json.loads(file.read_text(encoding="utf-8"))["type_hashes"]
            found = {entry["type_name"]: entry["hash_string"] for entry in hashes}[name]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise SetupError(f"{file} holds no type hash of {name} ({error}): remove .venv, run make again") from None
        if found != expected:
            raise SetupError(
                f"{name} has type hash {found} and not {expected}: "
                "interfaces/vision_msgs differs from vision_msgs 4.1.1, restore it"
            )
