"""The network: what it sees, its shape, what becomes of its output, and how that is measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from cgdet_core.config.settings import Fraction, Settings, Widths
from cgdet_core.types import CLASS_NAMES

Depth = Annotated[int, Field(ge=0, le=64)]
Activation = Literal["silu", "hard_swish", "relu"]


class ThermalConfig(Settings):
    """How raw counts become the network's input in [0, 1] (thermal.py)."""

    low_percentile: float = Field(0.5, ge=0, lt=50, description="percentile of the frame that becomes 0")
    high_percentile: float = Field(99.8, gt=50, le=100, description="percentile of the frame that becomes 1")
    hot_limit_spans: float | None = Field(
        1.0,
        ge=0,
        description="the count that becomes 1 lies at most so many spans of percentiles 2 to 98 above the 98th, lest "
        "an exhaust or the sun take the range; null: wherever the high percentile lies",
    )
    raw_range: tuple[float, float] | None = Field(
        None, description="fixed range in counts (low, high) in place of the percentiles"
    )
    min_span_8bit: float = Field(8.0, gt=0, description="counts; a flatter 8-bit frame is not stretched further")
    min_span_16bit: float = Field(64.0, gt=0, description="counts; a flatter 16-bit frame is not stretched further")

    @field_validator("raw_range")
    @classmethod
    def _ascending(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is not None and not value[0] < value[1]:
            raise ValueError(f"the low end {value[0]} must be below the high end {value[1]}")
        return value


class ModelConfig(Settings):
    """The network's shape (model/)."""

    class_names: tuple[str, ...] = Field(CLASS_NAMES, min_length=1, max_length=1000)
    widths: Widths = Field((16, 32, 64, 128, 256), description="channels at strides 2, 4, 8, 16, 32; multiples of 8")
    depths: tuple[Depth, Depth, Depth, Depth] = Field(
        (1, 3, 3, 1), description="bottlenecks per stage at strides 4 to 32"
    )
    neck_depth: Depth = 1
    activation: Activation = Field(
        "silu", description="after every convolution that has one; the others cost a CPU less (docs/evidence/speed.md)"
    )
    head_width: int = Field(64, ge=8, le=4096, description="channels of each of the head's two branches")
    bins: int = Field(16, ge=2, le=256, description="bins of the distributional box regression, in strides")
    input_height_width_px: tuple[int, int] = Field((512, 640), description="multiples of 32")

    @field_validator("input_height_width_px")
    @classmethod
    def _multiple_of_32(cls, value: tuple[int, int]) -> tuple[int, int]:
        if any(not 32 <= side <= 8192 or side % 32 for side in value):
            raise ValueError(f"{list(value)} must be multiples of 32, up to 8192")
        return value

    @field_validator("class_names")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value) or not all(value):
            raise ValueError(f"{list(value)} must be distinct names, none empty")
        return value


class Thresholds(Settings):
    """The score from which on a detection is an object."""

    score_threshold: Fraction = 0.25
    class_thresholds: dict[str, Fraction] = Field(
        default_factory=dict, description="a class's own threshold, by name, in place of score_threshold"
    )

    def threshold_of(self, class_name: str) -> float:
        return self.class_thresholds.get(class_name, self.score_threshold)


class PostprocessConfig(Thresholds):
    """From the network's output to detections (tasks/detection/decode.py)."""

    nms_iou: Fraction = 0.55
    max_detections: int = Field(300, ge=1, le=10000)
    max_candidates: int = Field(3000, ge=1, description="the best that reach the NMS")

    def at_score(self, score: float) -> PostprocessConfig:
        """The same with one threshold for all classes."""
        return self.model_copy(update={"score_threshold": score, "class_thresholds": {}})
