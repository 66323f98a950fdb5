"""cgdet_core: thermal object detection without ROS: data, model, training, runtime, evaluation.

`from cgdet_core import Detector; Detector("model.onnx")(image)` is the whole library to most: see runtime.predictor.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Detector":  # imported where it is asked for alone: others need no OpenCV
        from cgdet_core.runtime.predictor import Predictor

        return Predictor
    raise AttributeError(f"module 'cgdet_core' has no attribute '{name}'")
