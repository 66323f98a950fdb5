"""The tiny model as it is deployed, so that a node is up without PyTorch."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def tiny_model(tiny_model: Path) -> Path:
    """Its export."""
    from cgdet_core.runtime.export import write_export
    from cgdet_core.runtime.model_file import read_description

    path = tiny_model.with_suffix(".onnx")
    write_export(tiny_model, path, read_description(tiny_model))
    return path
