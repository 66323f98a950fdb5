"""Settings of the nodes, which are their parameters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator

from cgdet_core.colour_maps import ColourMap
from cgdet_core.config import Settings
from cgdet_core.config.cameras import CameraConfig, load_camera


def _fraction_or_the_models(value: float) -> float:
    if -1 < value < 0:
        raise ValueError(f"{value} must lie in 0 to 1, or be -1 for the model's own")
    return value


_OrTheModels = Annotated[float, AfterValidator(_fraction_or_the_models)]


class OverlayConfig(Settings):
    """What the node draws on its `overlay` topic (cgdet_ros/node/outputs.py)."""

    min_score: float = Field(
        0.0, ge=0, le=1, description="detections below it are not drawn, points of a face are rings"
    )
    colour_map: ColourMap = Field("white_hot", description="colours of a thermal frame; RGB frames keep their own")
    scale: float = Field(
        0.0, ge=0, le=8, description="size of the picture, in sizes of the frame; 0: whole times, for 480 rows or more"
    )
    jpeg_quality: int = Field(90, ge=1, le=100, description="quality of the compressed picture")


class DiagnosticsConfig(Settings):
    """What the node says of itself on /diagnostics, and from where on it is a warning or an error; 0 turns one off
    (cgdet_ros/node/diagnostics.py)."""

    period_s: float = Field(1.0, ge=0, le=60, description="seconds between two reports; 0: none are sent")
    image_timeout_s: float = Field(
        2.0, ge=0, le=3600, description="without an image for this long: a warning; 0: never"
    )
    image_error_s: float = Field(10.0, ge=0, le=3600, description="without an image for this long: an error; 0: never")
    rate_warn_hz: float = Field(0.0, ge=0, le=1000, description="images come more slowly: a warning; 0: never")
    rate_error_hz: float = Field(0.0, ge=0, le=1000, description="images come more slowly: an error; 0: never")
    latency_warn_ms: float = Field(
        500.0, ge=0, le=60000, description="receive-to-publish p95 above it: a warning; 0: never"
    )
    latency_error_ms: float = Field(
        2000.0, ge=0, le=60000, description="receive-to-publish p95 above it: an error; 0: never"
    )
    age_warn_ms: float = Field(1000.0, ge=0, le=60000, description="stamp-to-publish p95 above it: a warning; 0: never")
    age_error_ms: float = Field(0.0, ge=0, le=60000, description="stamp-to-publish p95 above it: an error; 0: never")
    dropped_warn: float = Field(
        0.0, ge=0, le=1, description="share of the images overtaken by newer ones above it: a warning; 0: never"
    )
    frozen_frames: int = Field(
        3, ge=0, le=100000, description="so many frames in a row that repeat their picture: a warning; 0: never"
    )
    gain_jump: float = Field(
        0.5,
        ge=0,
        le=1,
        description="a greater share of two frames' tones that is not common to both is a jump of the gain; 0: never",
    )


class NodeConfig(Settings):
    """The parameters (cgdet_ros/node/parameters.py) that every node has."""

    # settings and groups of them that may change while the node runs; all else is fixed from configure to cleanup
    LIVE: ClassVar[tuple[str, ...]] = ("overlay", "diagnostics")

    model: str = Field(
        "",
        description="model file (.onnx, or .safetensors, which is converted when it is loaded); empty: the shipped one",
    )
    device: str = Field("auto", description="auto (a GPU where there is one), cpu, cuda or cuda:N")
    precision: Literal["auto", "fp32", "fp16", "bf16", "int8"] = Field(
        "auto", description="arithmetic of the network; auto: fp16 on a GPU, on a CPU the fastest of the file"
    )
    backend: Literal["auto", "torch", "openvino", "onnxruntime", "tensorrt"] = Field(
        "auto",
        description="what runs the network; auto: openvino on a CPU where it is installed; on a GPU torch, of an .onnx "
        "onnxruntime",
    )
    threads: int = Field(0, ge=0, le=1024, description="CPU threads of the arithmetic; 0: the backend chooses")
    image_transport: Literal["raw", "compressed"] = Field(
        "raw",
        description="raw: sensor_msgs/Image on image; compressed: CompressedImage (JPEG, PNG) on image/compressed",
    )
    camera: str = Field(
        "", description="what its frames look like, a name in config/cameras (flir_lepton_3_footer); empty: any"
    )
    telemetry_rows: int = Field(
        0,
        ge=-1024,
        le=1024,
        description="rows that are no picture, at the bottom (> 0) or at the top (< 0); 0: the camera's",
    )
    cpu_fallback: bool = Field(
        True, description="go on with the CPU, with a warning, where the GPU fails; false: fail instead"
    )
    autostart: bool = Field(True, description="configure and activate at start, without a lifecycle manager")
    overlay: OverlayConfig = OverlayConfig()
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()

    @field_validator("camera")
    @classmethod
    def _of_that_name(cls, value: str) -> str:
        load_camera(value)
        return value

    @property
    def frames(self) -> CameraConfig:
        """What the named camera's frames look like, with what the parameters say otherwise."""
        camera = load_camera(self.camera)
        return camera.model_copy(update={"telemetry_rows": self.telemetry_rows or camera.telemetry_rows})


class DetectorConfig(NodeConfig):
    """The parameters of the node thermal_detector. Thresholds of -1 (or 0 detections, or an empty list) are the
    model's own, which its file carries."""

    LIVE = (*NodeConfig.LIVE, "score_threshold", "class_thresholds", "nms_iou", "max_detections")

    score_threshold: _OrTheModels = Field(
        -1.0,
        ge=-1,
        le=1,
        description="detections below it are not published; -1: the model's own thresholds, of each class",
    )
    class_thresholds: tuple[str, ...] = Field(
        (), description="thresholds of single classes, as name:value, in place of score_threshold"
    )
    nms_iou: _OrTheModels = Field(
        -1.0, ge=-1, le=1, description="of two boxes of a class that overlap by more, one is left; -1: the model's own"
    )
    max_detections: int = Field(
        0, ge=0, le=10000, description="at most so many detections of a frame, the best; 0: the model's own"
    )
    input_height_width_px: tuple[int, ...] = Field(
        (),
        description="size that the network sees a frame in, multiples of 32 such as [640, 800]; empty: the model's own",
    )
    raw_range: tuple[float, ...] = Field(
        (), description="counts [low, high] that become black and white; empty: as the model was trained (percentiles)"
    )
    class_id: Literal["name", "index"] = Field(
        "name", description="class_id of a detection: the class's name, or its number in label_info"
    )

    @field_validator("class_thresholds")
    @classmethod
    def _name_and_value(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_class_thresholds(value)
        return value

    @field_validator("input_height_width_px")
    @classmethod
    def _none_or_two(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if value and len(value) != 2:
            raise ValueError(f"{list(value)} must be empty or height and width")
        return value

    @field_validator("raw_range")
    @classmethod
    def _none_or_ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if value and not (len(value) == 2 and value[0] < value[1]):
            raise ValueError(f"{list(value)} must be empty or two counts, the lower first")
        return value


class LandmarksConfig(NodeConfig):
    """The parameters of the node thermal_landmarks."""

    LIVE = (*NodeConfig.LIVE, "lost_below")

    region_xyxy_px: tuple[float, ...] = Field(
        (),
        description="where one face is looked for, [left, top, right, bottom] in pixels of the image; empty: faces "
        "come on `faces`",
    )
    lost_below: _OrTheModels = Field(
        -1.0,
        ge=-1,
        le=1,
        description="a face whose mean confidence is below it is lost and looked for again; -1: the model's own",
    )

    @field_validator("region_xyxy_px")
    @classmethod
    def _none_or_a_box(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if value and not (len(value) == 4 and value[0] + 1 < value[2] and value[1] + 1 < value[3]):
            raise ValueError(f"{list(value)} must be empty or left, top, right, bottom in pixels, more than one apart")
        return value


def parse_class_thresholds(words: Iterable[str]) -> dict[str, float]:
    """Words such as `person:0.3` -> {"person": 0.3}; empty words are left out. Raises ValueError."""
    thresholds: dict[str, float] = {}
    for word in words:
        if not word:
            continue
        name, colon, text = word.rpartition(":")
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not (colon and name and 0 <= value <= 1):
            raise ValueError(f"'{word}' must be a class and a threshold in 0 to 1, such as person:0.3")
        if name in thresholds:
            raise ValueError(f"'{name}' has two thresholds")
        thresholds[name] = value
    return thresholds
