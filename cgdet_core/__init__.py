"""cgdet_core: thermal perception without ROS: data, model, training, runtime, evaluation.

`from cgdet_core import Detector; Detector("model.onnx")(image)` is the whole library to most, or of faces
`Landmarks("landmarks.onnx")(image, boxes)`: see runtime.predictor and runtime.landmarks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cgdet_core.runtime.landmarks import LandmarkPredictor as Landmarks
    from cgdet_core.runtime.predictor import Predictor as Detector

__all__ = ["Detector", "Landmarks", "__version__"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name == "Detector":  # imported where it is asked for alone: others need no OpenCV
        from cgdet_core.runtime.predictor import Predictor

        return Predictor
    if name == "Landmarks":
        from cgdet_core.runtime.landmarks import LandmarkPredictor

        return LandmarkPredictor
    raise AttributeError(f"module 'cgdet_core' has no attribute '{name}'")
