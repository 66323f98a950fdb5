"""An unwatched run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from cgdet_core.training.trainer import train

# for the tests of this folder, which the import mode leaves without it
sys.path.insert(0, str(Path(__file__).parent))

from tiny_run import changed, sources

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def unwatched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny run, without validation or curves, never interrupted; to be read only."""
    out = tmp_path_factory.mktemp("unwatched") / "run"
    train(changed(tensorboard=False), sources(), out, progress=False)
    return out
