"""The node `thermal_detector`: convert, predict, publish.

What it shares with other nodes stands in thermal_node.py, the way of an image from a message to its answer in
image_input.py and pipeline.py.
"""

from __future__ import annotations

import sys
from typing import Any

from cgdet_core.config import PostprocessConfig, ThermalConfig, settings_from_mapping
from cgdet_core.runtime.predictor import Predictor, check_thresholds
from cgdet_core.types import Detections, ImageArray
from cgdet_ros.config import DetectorConfig, parse_class_thresholds
from cgdet_ros.node.lifecycle import run
from cgdet_ros.node.outputs import DetectionOutputs
from cgdet_ros.node.pipeline import Pipeline
from cgdet_ros.node.thermal_node import ThermalNode


class Inference:
    """A warm predictor, with the settings that parameters give it, over one stream of frames. For one thread.

    Raises InputError for a model or settings that are none, and what the device raises.
    """

    def __init__(self, config: DetectorConfig) -> None:
        how = config.device, config.precision, config.threads, config.backend
        size = config.input_height_width_px
        self.predictor = Predictor(config.model, *how, (size[0], size[1]) if size else None)
        self.postprocess = self.settings_of(config)
        self.thermal = self.predictor.thermal = thermal_of(config, self.predictor.info.thermal)
        self._telemetry_rows = config.frames.telemetry_rows
        self.predictor.warm_up()

    def settings_of(self, config: DetectorConfig) -> PostprocessConfig:
        """Thresholds and the like; InputError for those of classes that the model does not know."""
        info = self.predictor.info
        return check_thresholds(postprocess_of(config, self.predictor.postprocess), info.class_names)

    def forget(self) -> None:
        """The next frame is of another stream: each is seen for itself."""

    def predict(self, image: ImageArray, faces_xyxy_px: object, settings: PostprocessConfig) -> Detections:
        """Detections in a raw frame, in its pixels, best first; equal scores in the order of the network's cells."""
        return self.predictor.predict(image, self._telemetry_rows, settings)


class DetectorNode(ThermalNode):
    """Thermal images in, vision_msgs/Detection2DArray out."""

    NAME, DOING, CONFIG, INFERENCE = "thermal_detector", "detecting", DetectorConfig, Inference
    INFO = frozenset({"score_threshold", "class_thresholds"})

    def publish(self, config: DetectorConfig, inference: Inference) -> DetectionOutputs:
        names = inference.predictor.info.class_names  # the same on the GPU and on the CPU in its place
        class_ids = names if config.class_id == "name" else [str(number) for number in range(len(names))]
        return DetectionOutputs(self, inference.thermal, names, class_ids)

    def publish_info(self, pipeline: Pipeline) -> None:
        predictor, postprocess = pipeline.inference.predictor, pipeline.live.settings
        threshold = min(postprocess.threshold_of(name) for name in predictor.info.class_names)
        method = f"{predictor.info.architecture} {predictor.model_path.name} sha256:{predictor.model_sha256[:12]}"
        stamp = self.get_clock().now().to_msg()
        pipeline.outputs.publish_info(stamp, threshold, method, self.configured_times)


def postprocess_of(config: DetectorConfig, of_model: PostprocessConfig) -> PostprocessConfig:
    """The model's own settings with those laid over them that the parameters give.

    A score_threshold that is given stands for every class; the model's own thresholds of single
    classes would silently go before it.
    """
    update: dict[str, Any] = {}
    if config.score_threshold >= 0:
        update["score_threshold"] = config.score_threshold
        update["class_thresholds"] = {}
    if config.class_thresholds:
        own = update.get("class_thresholds", of_model.class_thresholds)
        update["class_thresholds"] = {**own, **parse_class_thresholds(config.class_thresholds)}
    if config.nms_iou >= 0:
        update["nms_iou"] = config.nms_iou
    if config.max_detections > 0:
        update["max_detections"] = config.max_detections
    return settings_from_mapping(PostprocessConfig, {**of_model.model_dump(), **update}, "parameters")


def thermal_of(config: DetectorConfig, of_model: ThermalConfig) -> ThermalConfig:
    """The model's own input settings, with the fixed range where the parameters give one."""
    if not config.raw_range:
        return of_model
    mapping = {**of_model.model_dump(), "raw_range": config.raw_range}
    return settings_from_mapping(ThermalConfig, mapping, "parameters")


def main(arguments: list[str] | None = None) -> int:
    """The executable `cgdet-detector`; its exit code."""
    what = "sensor_msgs/Image in on `image`, vision_msgs/Detection2DArray out on `detections`"
    examples = "-r image:=/flir/image_raw -p score_threshold:=0.3", "--params-file config/detector.yaml -r __ns:=/front"
    return run(DetectorNode, "detector", what, examples, arguments)


if __name__ == "__main__":
    sys.exit(main())
