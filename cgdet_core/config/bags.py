"""How streets are rendered, and how bags are made, registered and labelled."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from cgdet_core.config.detector import Thresholds
from cgdet_core.config.settings import Fraction, Settings, ascending
from cgdet_core.config.terms import TeacherConfig

_Side = Annotated[int, Field(ge=64, le=2048)]


class SyntheticConfig(Settings):
    """The synthetic street (data/synthetic/street.py) and its bag (bag.py); the seed chooses within each range."""

    height_width_px: tuple[_Side, _Side] = Field((512, 640), description="size of both pictures")
    frames_per_second: float = Field(10.0, ge=1e-4, le=1000)
    seconds: float = Field(20.0, gt=0, le=86400, description="length of the bag")
    seconds_per_scene: float = Field(10.0, gt=0, description="a longer bag goes on in another street")
    with_rgb: bool = Field(True, description="the bag has both cameras")
    bit_depth: Literal[8, 16] = Field(16, description="16: raw counts; 8: after the camera's own gain control")
    light: Literal["mixed", "day", "night"] = Field("mixed", description="mixed: the seed decides")
    air_range_celsius: Annotated[tuple[float, float], ascending(-40, 50)] = Field(
        (-5.0, 30.0), description="temperature of the air"
    )
    thermal_contrast: float = Field(
        1.0, gt=0, le=2, description="factor on all differences of temperature; 0.2 is a street in fog"
    )
    persons_per_100m: float = Field(32.0, ge=0, le=200, description="of street, riders not counted")
    bicycles_per_100m: float = Field(11.0, ge=0, le=100, description="of street, parked and ridden")
    cars_per_100m: float = Field(8.0, ge=0, le=60, description="of street, parked and driving")
    view_distance_m: float = Field(60.0, ge=10, le=300, description="objects stand no farther away")


class RegisterConfig(Settings):
    """What `cgdet bag register` looks at, and how it finds offset (registration/clock.py) and homography (align.py)."""

    thermal_topic: str | None = Field(None, description="default: the most thermal-looking one")
    rgb_topic: str | None = Field(None, description="default: the only or best one in colour")
    by: Literal["stamp", "record"] = Field("stamp", description="what is a frame's time: header stamp, record time")
    offset_s: float | None = Field(None, description="known already: added to an RGB stamp gives the thermal clock")
    tolerance_s: float | None = Field(None, ge=0, description="of a pair; default: 0.55 periods of the faster stream")
    extrinsic: Path | None = Field(None, description="how the cameras are mounted: with CameraInfos, no estimate")
    max_offset_s: float = Field(2.0, gt=0, le=60, description="the clocks' offset is looked for up to here, either way")
    rgb_view_range: Annotated[tuple[float, float], ascending(0.3, 5)] = Field(
        (0.75, 2.2), description="how many times as wide as the thermal view the RGB view may be"
    )
    candidates: int = Field(4, ge=1, le=20, description="first guesses that are worked out")
    pairs: int = Field(16, ge=4, le=64, description="pairs of pictures that the homography is found on")


class LabelConfig(Thresholds):
    """How an RGB teacher labels a bag's thermal frames (training/pseudo_labels.py)."""

    teacher: TeacherConfig = TeacherConfig()
    score_threshold: Fraction = Field(0.5, description="a detection from this score on is an object")
    ignore_score: Fraction = Field(
        0.05, description="a detection from this score on that is no object is a region to ignore of its class"
    )
    nms_iou: Fraction = Field(0.65, description="of the teacher's detections")
    second_score: Fraction = Field(
        0.15, description="a second opinion's detections from this score on are regions to ignore"
    )

    @model_validator(mode="after")
    def _ignored_below_objects(self) -> LabelConfig:
        lowest = min(self.score_threshold, *self.class_thresholds.values(), 1.0)
        if self.ignore_score > lowest:
            raise ValueError(f"ignore_score {self.ignore_score:g} must not be above the threshold {lowest:g}")
        return self
