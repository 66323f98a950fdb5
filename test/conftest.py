"""What every test sees: a domain of its own for ROS, one thread, where repository and shared data lie, a full disk."""

from __future__ import annotations

import atexit
import os
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# Before NumPy, torch or rclpy are imported. A vehicle's own domain is never used, nor anything beyond this machine;
# processes that share the tests (pytest-xdist's gw0, gw1, ...) are children of one and have a domain each.
_worker = os.environ.get("PYTEST_XDIST_WORKER")
_domain = os.getpid() if _worker is None else os.getppid() + int(_worker.removeprefix("gw"))
os.environ["ROS_DOMAIN_ID"] = str(1 + _domain % 100)
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ.setdefault("ROS_LOG_DIR", str(REPOSITORY / "build" / "log" / "ros"))
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "agg")
# what is compiled is kept in no home, and nothing of an earlier run is met
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="cgdet-test-cache-")
atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)
# a shell ignores Ctrl-C for what it starts in the background, and processes inherit that
signal.signal(signal.SIGINT, signal.default_int_handler)


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


@contextmanager
def _limited_files(byte_limit: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (byte_limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture(scope="session")
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """`with full_disk(byte_limit)`: the kernel lets no file grow beyond it, as a full disk does.

    The limit is that of the whole process, of its threads and of children started meanwhile, and ends
    with the block, whatever happens there; keep the block to what is to be refused.
    """
    return _limited_files
