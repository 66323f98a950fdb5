"""What every test sees: a domain of its own for ROS, one thread, and where the repository and the shared data lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Before NumPy, torch or rclpy are imported. A vehicle's own domain is never used, nor anything beyond this machine.
os.environ["ROS_DOMAIN_ID"] = str(1 + os.getpid() % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("ROS_LOG_DIR", str(REPOSITORY / "build" / "log" / "ros"))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data: $CGDET_SHARED, else `shared` beside the checkout."""
    folder = Path(os.environ.get("CGDET_SHARED") or REPOSITORY.parent / "shared")
    if not (folder / "data").is_dir():
        pytest.skip(f"{folder} holds no shared data: name its place in CGDET_SHARED")
    return folder
