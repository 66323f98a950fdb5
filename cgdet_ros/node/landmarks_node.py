"""The node `thermal_landmarks`: a face's box, its points, publish; the points say where the next frame's box is.

What it shares with the detector stands in thermal_node.py, pipeline.py and image_input.py.
"""

from __future__ import annotations

import sys
import threading

import numpy as np

from cgdet_core.boxes import iou_matrix
from cgdet_core.errors import InputError
from cgdet_core.runtime.landmarks import LandmarkPredictor
from cgdet_core.tasks.landmarks.tracking import ONE_FACE_IOU, boxes_of, followed, search_windows
from cgdet_core.types import FloatArray, ImageArray, Landmarks
from cgdet_ros.config import LandmarksConfig
from cgdet_ros.node.frame_log import FrameLog
from cgdet_ros.node.image_input import FacesInput, ImageInput
from cgdet_ros.node.lifecycle import run
from cgdet_ros.node.outputs import LandmarkOutputs
from cgdet_ros.node.pipeline import Pipeline
from cgdet_ros.node.thermal_node import ThermalNode


class Inference:
    """A warm predictor that follows faces over one stream of frames. For one thread, but for `give` and `follows`."""

    def __init__(self, config: LandmarksConfig) -> None:
        how = config.device, config.precision, config.threads, config.backend
        self.predictor = LandmarkPredictor(config.model, *how)
        self.thermal = self.predictor.thermal
        self._telemetry_rows = config.frames.telemetry_rows
        self._region = np.array(config.region_xyxy_px, np.float32)
        self._lock = threading.Lock()
        self.forget()
        self.predictor.warm_up()

    def settings_of(self, config: LandmarksConfig) -> float:
        return self.predictor.postprocess.lost_below if config.lost_below < 0 else config.lost_below

    def forget(self) -> None:
        """The next frame is of another stream."""
        with self._lock:
            self._boxes: FloatArray = np.zeros((0, 4), np.float32)  # where the faces of the last frame are
            self._late: FloatArray | None = None

    @property
    def follows(self) -> bool:
        """Whether the last frame had a face that is not lost."""
        return len(self._boxes) > 0

    def give(self, boxes_xyxy_px: FloatArray) -> None:
        """The faces of a frame, boxes float32 [N, 4], before the next one, where new ones are looked for."""
        with self._lock:
            self._late = boxes_xyxy_px

    def predict(self, image: ImageArray, faces_xyxy_px: FloatArray | None, settings: float) -> Landmarks:
        """The faces that are not lost, in the order in which they were given or followed; settings: lost_below."""
        with self._lock:
            late, self._late = self._late, None
            boxes: FloatArray = self._boxes if faces_xyxy_px is None else faces_xyxy_px
        if late is not None and faces_xyxy_px is None:
            known = iou_matrix(late, boxes).max(axis=1, initial=0) > ONE_FACE_IOU
            boxes = np.concatenate([boxes, late[~known]])
        if len(self._region) and not len(boxes):
            boxes = self._searched(image, settings)
        found = self._kept(image, boxes, settings)
        self._boxes = boxes_of(found)
        return found

    def _searched(self, image: ImageArray, lost_below: float) -> FloatArray:
        """The box of the surest face in the region, or none: a window is a rough box, which its points make exact."""
        height, width = image.shape[:2]
        if not (self._region[0] < width and self._region[1] < height and (self._region[2:] > 0).all()):
            raise InputError(f"region_xyxy_px {self._region.tolist()} is off the image of {width}x{height}: correct it")
        found = self._kept(image, search_windows(self._region), lost_below)
        surest = found.confidences.sum(axis=1).argsort()[-1:]
        return boxes_of(found)[surest]

    def _kept(self, image: ImageArray, boxes: FloatArray, lost_below: float) -> Landmarks:
        found = self.predictor.predict(image, boxes, self._telemetry_rows)
        kept = followed(found, (image.shape[0], image.shape[1]), lost_below)
        return found.of(kept)


class LandmarksNode(ThermalNode):
    """Thermal images and boxes of faces in, an hri_msgs/FacialLandmarks for each face out."""

    NAME, DOING = "thermal_landmarks", "finding points of faces"
    CONFIG, INFERENCE = LandmarksConfig, Inference

    def publish(self, config: LandmarksConfig, inference: Inference) -> LandmarkOutputs:
        return LandmarkOutputs(self, inference.thermal)

    def topics_in(self) -> list[str]:
        return [*super().topics_in(), self.resolve_topic_name("faces")]

    def listen(self, pipeline: Pipeline, config: LandmarksConfig, log: FrameLog) -> ImageInput:
        if config.region_xyxy_px:
            return super().listen(pipeline, config, log)
        return FacesInput(self, config.image_transport, pipeline, log)


def main(arguments: list[str] | None = None) -> int:
    """The executable `cgdet-landmarks`; its exit code."""
    what = (
        "sensor_msgs/Image in on `image` and boxes of faces, vision_msgs/Detection2DArray, on `faces`; an "
        "hri_msgs/FacialLandmarks for each face out on `landmarks`"
    )
    region = "-p region_xyxy_px:='[100, 20, 420, 340]'"
    examples = (f"-r image:=/cabin/image_raw {more}" for more in ("-r faces:=/cabin/faces", region))
    return run(LandmarksNode, "landmarks", what, tuple(examples), arguments)


if __name__ == "__main__":
    sys.exit(main())
