"""Every default, once. Read from YAML; an unknown key or a value out of range is one clear line.

A recipe file holds any subset of `Recipe`'s keys; `key=value` words of a command line (dotted
paths, YAML values) are laid over it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cgdet_core.errors import InputError
from cgdet_core.types import CLASS_NAMES

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Depth = Annotated[int, Field(ge=0, le=64)]
BlockKind = Literal["pair", "partial", "wide"]
Activation = Literal["silu", "hard_swish", "relu"]


class Settings(BaseModel):
    """Base of all settings: frozen, and strict about keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ThermalConfig(Settings):
    """How raw counts become the network's input in [0, 1] (thermal.py)."""

    low_percentile: float = Field(0.5, ge=0, lt=50, description="percentile of the frame that becomes 0")
    high_percentile: float = Field(99.8, gt=50, le=100, description="percentile of the frame that becomes 1")
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
    widths: tuple[int, int, int, int, int] = Field(
        (16, 32, 64, 128, 256), description="channels at strides 2, 4, 8, 16, 32; multiples of 8"
    )
    depths: tuple[Depth, Depth, Depth, Depth] = Field(
        (1, 3, 3, 1), description="bottlenecks per stage at strides 4 to 32"
    )
    neck_depth: Depth = 1
    blocks: tuple[BlockKind, BlockKind, BlockKind, BlockKind] = Field(
        ("pair", "pair", "pair", "pair"),
        description="what the bottlenecks at strides 4 to 32 are made of, backbone and neck: pair (two 3x3), "
        "partial (3x3 on a quarter of the channels), wide (7x7 per channel); model/blocks.py",
    )
    activation: Activation = Field(
        "silu", description="after every convolution that has one; the other two cost a CPU much less (docs/speed.md)"
    )
    head_width: int = Field(64, ge=8, le=4096, description="channels of each of the head's two branches")
    class_branch: Literal["full", "light"] = Field(
        "full", description="light: the class branch's 3x3 convolutions work per channel"
    )
    bins: int = Field(16, ge=2, le=256, description="bins of the distributional box regression, in strides")
    input_height_width_px: tuple[int, int] = Field((512, 640), description="multiples of 32")

    @field_validator("input_height_width_px")
    @classmethod
    def _multiple_of_32(cls, value: tuple[int, int]) -> tuple[int, int]:
        if any(not 32 <= side <= 8192 or side % 32 for side in value):
            raise ValueError(f"{list(value)} must be multiples of 32, up to 8192")
        return value

    @field_validator("widths")
    @classmethod
    def _multiple_of_8(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if any(not 8 <= width <= 4096 or width % 8 for width in value):
            raise ValueError(f"{list(value)} must be multiples of 8, up to 4096")
        return value

    @field_validator("class_names")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value) or not all(value):
            raise ValueError(f"{list(value)} must be distinct names, none empty")
        return value


class PostprocessConfig(Settings):
    """From the network's output to detections (runtime/postprocess.py)."""

    score_threshold: Fraction = 0.25
    class_thresholds: dict[str, Fraction] = Field(
        default_factory=dict, description="a class's own threshold, by name, in place of score_threshold"
    )
    nms_iou: Fraction = 0.55
    max_detections: int = Field(300, ge=1, le=10000)
    max_candidates: int = Field(3000, ge=1, description="the best that reach the NMS")

    def threshold_of(self, class_name: str) -> float:
        return self.class_thresholds.get(class_name, self.score_threshold)


class EvaluationConfig(Settings):
    """How detections are measured against labels (evaluation/)."""

    min_score: Fraction = Field(0.001, description="detections below it are left out of every figure")
    max_detections: int = Field(100, ge=1, description="per frame and class, of the average precision (COCO's maxDets)")
    match_iou: Fraction = Field(
        0.5, gt=0, description="overlap that makes a match in every figure but the average precision"
    )
    operating_score: Fraction = Field(
        0.25, description="score from which a detection counts as one where no threshold was chosen for its class"
    )
    height_bins_px: tuple[float, ...] = Field(
        (0, 16, 24, 32, 48, 64, 96, 128, 256), min_length=1, description="lower ends of the bins of box height"
    )

    @field_validator("height_bins_px")
    @classmethod
    def _ascending_bins(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if any(low >= high for low, high in pairwise(value)):
            raise ValueError(f"{list(value)} must ascend")
        return value


class CompareConfig(Settings):
    """How two models are compared (evaluation/compare.py)."""

    resamples: int = Field(1000, ge=100, le=1_000_000, description="draws of the bootstrap")
    seed: int = Field(0, ge=0, description="of the draws")
    interval: float = Field(0.95, gt=0, lt=1, description="share of the draws that the interval holds")
    few_blocks: int = Field(5, ge=2, description="an interval from fewer blocks of frames means little")


class AssignerConfig(Settings):
    """Task-aligned assignment (TOOD, Feng et al. 2021, section 3.2): t = score^alpha * IoU^beta."""

    top_k: int = Field(10, ge=1)
    alpha: float = Field(0.5, gt=0)
    beta: float = Field(6.0, gt=0)
    min_side_px: float = Field(
        8.0, ge=0, description="a shorter side is widened to this when a box's candidate cells are chosen"
    )


class LossConfig(Settings):
    """Weights of the detection loss."""

    class_weight: float = Field(0.5, ge=0)
    box_weight: float = Field(7.5, ge=0)
    distribution_weight: float = Field(1.5, ge=0)
    assigner: AssignerConfig = AssignerConfig()


class TermConfig(Settings):
    """When a training-only term is on, and where it taps the student (training/extra_terms.py)."""

    weight: float = Field(0.0, ge=0, description="factor on the term in the loss; 0: the term is off and costs nothing")
    warmup_images: int = Field(0, ge=0, description="training crops over which the weight rises linearly from 0")
    off_fraction: Fraction = Field(0.0, description="last share of the run, which goes without the term")
    student_layers: tuple[str, str, str] = Field(
        ("neck.down_to_8", "neck.up_to_16", "neck.up_to_32"),
        description="modules of the detector whose outputs are tapped, at strides 8, 16, 32",
    )
    strides: tuple[Literal[8, 16, 32], ...] = Field((8, 16, 32), min_length=1, description="of the maps in use")
    roi_px: int = Field(5, ge=1, le=32, description="samples a side that a box is pooled to, in cells")
    small_below_px: float = Field(64.0, gt=0, description="sqrt(area) below which a box belongs to stride 8")
    middle_below_px: float = Field(
        128.0, gt=0, validate_default=True, description="sqrt(area) below which it belongs to stride 16, else 32"
    )

    @field_validator("middle_below_px")
    @classmethod
    def _above_small(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("small_below_px", 0.0):
            raise ValueError(f"must not be below small_below_px = {info.data['small_below_px']:g}")
        return value

    @field_validator("strides")
    @classmethod
    def _distinct_strides(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError(f"{list(value)} must ascend, none twice")
        return value


class ContrastConfig(TermConfig):
    """RCS: supervised contrast of regions (training/contrast.py). The paper gives none of these values."""

    hidden: int = Field(128, ge=1, le=4096, description="width of the projection's hidden layer")
    dimensions: int = Field(64, ge=2, le=4096, description="of an embedding")
    temperature: float = Field(0.1, ge=0.001, le=100)
    queue: int = Field(0, ge=0, le=100_000, description="embeddings of earlier batches that are kept as partners")


class TeacherConfig(Settings):
    """The frozen RGB teacher (training/teachers.py)."""

    kind: Literal["yolox", "detector", "torchvision"] = Field(
        "yolox",
        description="yolox: an official YOLOX checkpoint as .safetensors; detector: a model file of this project; "
        "torchvision: a detector of torchvision with a pyramid, by name",
    )
    sees: Literal["rgb", "thermal"] = Field(
        "rgb",
        description="thermal: a wider detector of this project that looks at the student's own crops, all of them, in "
        "place of RGB",
    )
    path: str = Field("", description="its file; relative paths are taken from the folder given with --data")
    name: str = Field("fasterrcnn_resnet50_fpn_v2", description="of a torchvision detector")
    download: bool = Field(False, description="allow torchvision to download its COCO weights")
    random_weights: bool = Field(False, description="control: the same network, frozen as it was initialised")
    class_map: dict[str, str] = Field(
        default_factory=lambda: {"bus": "car", "truck": "car"},
        description="the teacher's class name -> class name here, beside those of the same name",
    )
    class_names: tuple[str, ...] = Field(
        (), description="the teacher's own classes in order, where yolox or torchvision weights are not of COCO's"
    )
    yolox_input: Literal["rgb_normalised", "bgr_raw"] = Field(
        "rgb_normalised",
        description="rgb_normalised: RGB over 255, minus ImageNet's mean, over its deviation (YOLOX 0.1.0 and before); "
        "bgr_raw: BGR from 0 to 255 (YOLOX 0.1.1 and later). With the wrong one nothing is found: try `cgdet teacher`",
    )

    @model_validator(mode="after")
    def _thermal_is_of_this_project(self) -> TeacherConfig:
        if self.sees == "thermal" and self.kind != "detector":
            raise ValueError(f"kind {self.kind} sees no thermal pictures: give kind detector, or sees rgb")
        return self


class GuidanceConfig(TermConfig):
    """CMG: cross-modal guidance by a frozen RGB teacher (training/guidance.py)."""

    teacher: TeacherConfig = TeacherConfig()
    region: Literal["boxes", "whole"] = Field("boxes", description="compared over labelled boxes, or over whole maps")
    distance: Literal["pkd", "cwd", "cosine", "mse"] = "pkd"
    temperature: float = Field(1.0, gt=0, le=100, description="of the softmax of cwd")
    object_weight: Literal["seen", "equal"] = Field(
        "seen", description="seen: an object counts by what the teacher sees of it; equal: every object alike"
    )
    mask_rgb: bool = Field(True, description="places without valid RGB take no part")
    shuffle_rgb: bool = Field(False, description="control: each frame gets the RGB of another one of its source")

    @model_validator(mode="after")
    def _rgb_to_shuffle(self) -> GuidanceConfig:
        if self.shuffle_rgb and self.teacher.sees == "thermal":
            raise ValueError("shuffle_rgb needs a teacher that sees rgb: leave it out, or give teacher.sees rgb")
        return self


class SensorConfig(Settings):
    """Cameras that the training data lack (data/augment_sensor.py, data/augment_tone.py).

    Of the crops that get any of it (`probability`) each effect has a chance of its own; its strength
    is drawn from its range. Values are in units of the full range [0, 1] where none is named.
    """

    probability: Fraction = Field(0.75, description="crops that may get the effects below at all; 0 turns all off")
    grey_factor: float = Field(
        1.5, ge=0, le=10, description="of grey RGB: factor on the chances of tone and local contrast, and on curve_max"
    )

    curve_probability: Fraction = Field(0.3, description="a smooth random monotone tone curve")
    curve_max: float = Field(0.7, ge=0, le=3, description="standard deviation of its log slope, at most")
    sigmoid_probability: Fraction = Field(0.12, description="an S-shaped tone curve")
    sigmoid_range: tuple[float, float] = Field((2.0, 6.0), description="its steepness; below 1 it is nearly straight")
    saturation_probability: Fraction = Field(0.2, description="both ends of the crop's range saturated")
    saturation_max: float = Field(0.08, ge=0, le=0.45, description="share of its pixels at either end, at most")

    equalise_probability: Fraction = Field(0.15, description="plateau-limited histogram equalisation of the crop")
    plateau_range: tuple[float, float] = Field((1.5, 10.0), description="its plateau, in mean counts of a filled bin")
    clahe_probability: Fraction = Field(0.12, description="equalisation by tiles, of limited contrast (CLAHE)")
    clahe_clip_range: tuple[float, float] = Field((1.0, 3.0), description="its clip limit, in mean counts of a bin")
    clahe_tile_range_px: tuple[float, float] = Field((40.0, 160.0), description="side of its tiles")
    detail_probability: Fraction = Field(0.15, description="detail amplified and base compressed, which makes halos")
    detail_gain_range: tuple[float, float] = Field((1.2, 3.0), description="factor on the detail")
    detail_radius_range_px: tuple[float, float] = Field((4.0, 16.0), description="half the width of the base's window")
    base_gain_range: tuple[float, float] = Field((0.5, 1.0), description="factor on the base's contrast")

    motion_blur_probability: Fraction = 0.06
    motion_blur_range_px: tuple[float, float] = Field((2.0, 6.0), description="length of the motion")
    resolution_probability: Fraction = Field(0.15, description="crops shrunk and enlarged again")
    resolution_range: tuple[float, float] = Field((0.45, 0.9), description="share of the resolution that is left")
    shading_probability: Fraction = Field(0.2, description="vignetting, and a smooth offset: a warm corner, a slope")
    shading_max: float = Field(0.2, ge=0, le=1, description="its amplitude, at most")
    stripes_probability: Fraction = Field(0.15, description="fixed pattern: stripes by columns, rows or both")
    stripes_sigma_max: float = Field(0.03, ge=0, le=1, description="their standard deviation, at most")
    grain_probability: Fraction = Field(0.15, description="fixed pattern: grain of about two pixels")
    grain_sigma_max: float = Field(0.03, ge=0, le=1, description="its standard deviation, at most")
    dead_pixels_probability: Fraction = Field(0.1, description="single pixels stuck at some value")
    dead_pixels_max: int = Field(12, ge=1, le=10000, description="how many, at most")
    dead_lines_probability: Fraction = Field(0.05, description="rows or columns stuck at some value")
    dead_lines_max: int = Field(2, ge=1, le=100, description="how many, at most")
    quantise_probability: Fraction = Field(0.08, description="few levels, as of a flat scene in 8 bits")
    levels_range: tuple[float, float] = Field((16.0, 96.0), description="how many levels are left")
    jpeg_probability: Fraction = 0.2
    jpeg_quality_range: tuple[float, float] = (30.0, 90.0)

    @field_validator(
        "sigmoid_range",
        "plateau_range",
        "clahe_clip_range",
        "clahe_tile_range_px",
        "detail_gain_range",
        "detail_radius_range_px",
        "motion_blur_range_px",
        "jpeg_quality_range",
    )
    @classmethod
    def _positive_ascending(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0.1 <= value[0] <= value[1] <= 1000:
            raise ValueError(f"{list(value)} must be two numbers from 0.1 to 1000, the lower first")
        return value

    @field_validator("resolution_range", "base_gain_range")
    @classmethod
    def _shares_ascending(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0.05 <= value[0] <= value[1] <= 1:
            raise ValueError(f"{list(value)} must be two numbers from 0.05 to 1, the lower first")
        return value

    @field_validator("levels_range")
    @classmethod
    def _levels_ascending(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 2 <= value[0] <= value[1] <= 1024:
            raise ValueError(f"{list(value)} must be two numbers from 2 to 1024, the lower first")
        return value


class AugmentConfig(Settings):
    """What a training crop goes through (data/augment.py, data/mosaic.py, data/sampling.py)."""

    crop_px: int = Field(320, ge=32, multiple_of=32, description="side of the square training crop")
    scale_range: tuple[float, float] = Field((0.7, 1.5), description="log-uniform zoom of the crop; 1 is native scale")
    flip_probability: Fraction = 0.5
    object_centre_probability: Fraction = Field(
        0.8, description="crops that are laid over an object, of frames with any"
    )
    centre_class_balance: Fraction = Field(
        1.0,
        description="0: every object of a frame is as likely the one a crop is laid over; 1: in inverse proportion to "
        "the number of its class's objects in the source",
    )
    frame_class_balance: Fraction = Field(
        1.0,
        description="a source's frames with a class that fewer than this share of them show are drawn more often "
        "(repeat factors); 0: every frame is as likely",
    )
    mosaic_probability: Fraction = Field(0.5, description="training pictures made of four crops; 0 disables them")
    mosaic_centre_range: tuple[float, float] = Field(
        (0.3, 0.7), description="where the four meet, in shares of the picture's side"
    )
    mosaic_off_fraction: Fraction = Field(0.15, description="last share of the run, which has no mosaics")
    tone_probability: Fraction = Field(0.8, description="frames that get a random tone curve (gamma, gain, offset)")
    gamma_range: tuple[float, float] = (0.4, 1.8)
    gain_range: tuple[float, float] = (0.6, 1.4)
    offset_range: tuple[float, float] = Field((-0.06, 0.15), description="most frames are dark: less is taken away")
    tone_lost_max: Fraction = Field(
        0.2, description="curves that drive a larger share of the crop's pixels to black or white are halved"
    )
    invert_probability: Fraction = Field(0.0, description="polarity: black-hot in place of white-hot")
    grey_invert_probability: Fraction = Field(
        0.3, description="the same for grey RGB frames, whose polarity means nothing"
    )
    noise_sigma_max: float = Field(0.04, ge=0, description="standard deviation of added noise, of the full range")
    blur_probability: Fraction = 0.15
    min_visible: Fraction = Field(0.3, description="a box of which less is left in the crop becomes a region to ignore")
    sensor: SensorConfig = SensorConfig()

    @field_validator("mosaic_centre_range")
    @classmethod
    def _within_the_picture(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0.1 <= value[0] <= value[1] <= 0.9:
            raise ValueError(f"{list(value)} must be two numbers from 0.1 to 0.9, the lower first")
        return value

    @field_validator("scale_range", "gamma_range", "gain_range")
    @classmethod
    def _factors_ascending(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0.05 <= value[0] <= value[1] <= 20:
            raise ValueError(f"{list(value)} must be two numbers from 0.05 to 20, the lower first")
        return value

    @field_validator("offset_range")
    @classmethod
    def _offsets_ascending(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not -1 <= value[0] <= value[1] <= 1:
            raise ValueError(f"{list(value)} must be two numbers from -1 to 1, the lower first")
        return value


class SourceConfig(Settings):
    """One training set."""

    path: str = Field(description="COCO JSON or bag; relative paths are taken from the folder given with --data")
    weight: float = Field(1.0, gt=0, description="share of the samples, relative to the other sources")
    grey_rgb: bool = Field(False, description="an RGB set, used as grey pictures")
    rgb: Literal["auto", "partner", "own", "none"] = Field(
        "auto",
        description="what an RGB teacher sees, where one guides: partner: the registered picture that the file names "
        "(rgb_file_name), of the frames that have one; own: a grey_rgb frame's own picture in colour; none: nothing; "
        "auto: own for grey_rgb, else partner",
    )
    class_map: dict[str, str] = Field(
        default_factory=dict, description="category name in the file -> class name; 'ignore' makes regions to ignore"
    )
    labelled_classes: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        description="the classes that are really labelled, where the file names more: of the others nothing is learnt",
    )
    hold_out_fold: int | None = Field(
        None,
        ge=0,
        le=4,
        description="of the set's blocks of 50 frame numbers every fifth, from this one on, validates only",
    )

    image_topic: str | None = Field(None, description="of a bag: the thermal images; empty: the most thermal-looking")
    rgb_topic: str | None = Field(None, description="of a bag: the RGB images; empty: the only one in colour")
    labels: str | None = Field(
        None,
        description="of a bag: a Detection2DArray topic, or a COCO JSON keyed by stamp, as `cgdet bag label` writes "
        "it; empty: the bag's own topic of labels",
    )
    registration: str | None = Field(
        None, description="of a bag: the YAML of `cgdet bag register`; empty: pictures of one size are registered"
    )
    every: int = Field(1, ge=1, description="of a bag: only every so-many-th frame")

    @property
    def is_bag(self) -> bool:
        return not self.path.endswith(".json")

    @model_validator(mode="after")
    def _keys_of_bags(self) -> SourceConfig:
        given = [
            key for key in ("image_topic", "rgb_topic", "labels", "registration") if getattr(self, key) is not None
        ]
        given += ["every"] if self.every != 1 else []
        if given and not self.is_bag:
            raise ValueError(f"{given[0]} is of a bag, {self.path} is a COCO JSON: leave it out")
        return self

    @model_validator(mode="after")
    def _own_is_rgb(self) -> SourceConfig:
        if self.rgb == "own" and not self.grey_rgb:
            raise ValueError("rgb: own is of an RGB set, which grey_rgb: true says: leave it out, or choose partner")
        return self


class SyntheticSourceConfig(Settings):
    """Rendered frames mixed into the training."""

    frames: int = Field(0, ge=0)
    seed: int = Field(1000, ge=0, description="the demo and the tests use seeds below 1000")
    weight: float = Field(1.0, gt=0)
    rgb: bool = Field(True, description="an RGB teacher, where one guides, sees the RGB pictures rendered with them")


class SyntheticConfig(Settings):
    """The synthetic street (data/synthetic.py). Of every range the street's seed chooses one value."""

    height_width_px: tuple[int, int] = Field((512, 640), description="size of both pictures")
    horizontal_fov_range_deg: tuple[float, float] = Field((30.0, 56.0), description="horizontal field of view")
    camera_height_range_m: tuple[float, float] = Field((1.0, 2.2), description="above the road")
    frames_per_second: float = Field(10.0, gt=0, le=1000)
    start_stamp_ns: int = Field(1_700_000_000_000_000_000, ge=0, description="stamp of frame 0, nanoseconds")
    bit_depth: Literal[8, 16] = Field(16, description="16: raw counts; 8: after the camera's own gain control")
    light: Literal["mixed", "day", "night"] = Field("mixed", description="mixed: the seed decides")
    air_range_celsius: tuple[float, float] = Field((-5.0, 30.0), description="temperature of the air")
    kelvin_per_count_range: tuple[float, float] = Field((0.01, 0.04), description="scale of the raw counts")
    noise_range_kelvin: tuple[float, float] = Field((0.03, 0.10), description="temporal noise, standard deviation")
    blur_range_px: tuple[float, float] = Field((0.5, 1.0), description="sigma of the thermal lens's blur")
    thermal_contrast: float = Field(
        1.0, gt=0, le=2, description="factor on all differences of temperature; 0.2 is a street in fog"
    )
    persons_per_100m: float = Field(32.0, ge=0, le=200, description="of street, riders not counted")
    bicycles_per_100m: float = Field(11.0, ge=0, le=100, description="of street, parked and ridden")
    cars_per_100m: float = Field(8.0, ge=0, le=60, description="of street, parked and driving")
    view_distance_m: float = Field(60.0, ge=10, le=300, description="objects stand no farther away")
    min_visible: Fraction = Field(
        0.25, description="an object of whose part within the frame a smaller share is seen is a region to ignore"
    )
    min_inside: Fraction = Field(0.12, description="the same for an object of which less lies within the frame")
    min_height_px: float = Field(8.0, ge=1, description="an object seen lower than this is a region to ignore")

    @field_validator("height_width_px")
    @classmethod
    def _size(cls, value: tuple[int, int]) -> tuple[int, int]:
        if any(not 64 <= side <= 2048 for side in value):
            raise ValueError(f"{list(value)} must lie in 64 to 2048")
        return value

    @field_validator("horizontal_fov_range_deg")
    @classmethod
    def _field_of_view(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 10 <= value[0] <= value[1] <= 120:
            raise ValueError(f"{list(value)} must ascend within 10 to 120 degrees")
        return value

    @field_validator("air_range_celsius")
    @classmethod
    def _air(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not -40 <= value[0] <= value[1] <= 50:
            raise ValueError(f"{list(value)} must ascend within -40 to 50 degrees")
        return value

    @field_validator("camera_height_range_m", "kelvin_per_count_range", "noise_range_kelvin", "blur_range_px")
    @classmethod
    def _positive_ascending(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0 < value[0] <= value[1]:
            raise ValueError(f"{list(value)} must be two positive numbers, the lower first")
        return value


class OverlayConfig(Settings):
    """What the node draws on its `overlay` topic (cgdet_ros/overlay.py)."""

    min_score: float = Field(0.0, ge=0, le=1, description="detections below it are not drawn")
    scale: float = Field(1.0, ge=0.25, le=4, description="size of the picture, in sizes of the frame")
    jpeg_quality: int = Field(90, ge=1, le=100, description="quality of the compressed picture")


class DiagnosticsConfig(Settings):
    """What the node says of itself on /diagnostics, and from where on it is a warning or an error; 0 turns one off
    (cgdet_ros/diagnostics.py)."""

    period_s: float = Field(1.0, ge=0, le=60, description="seconds between two reports; 0: none are sent")
    image_timeout_s: float = Field(2.0, gt=0, le=3600, description="without an image for this long: a warning")
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
    """The node's parameters (cgdet_ros/parameters.py). Thresholds of -1 (or 0 detections, or an empty list) are the
    model's own, which its file carries."""

    model: str = Field(
        "", description="model file (.safetensors), or an export of it (.onnx, .xml, .engine); empty: the shipped one"
    )
    device: str = Field("auto", description="auto (a GPU where there is one), cpu, cuda or cuda:N")
    precision: Literal["auto", "fp32", "fp16", "bf16", "int8"] = Field(
        "auto", description="arithmetic of the network; auto: fp16 on a GPU, bf16 on a CPU that has it, else fp32"
    )
    backend: Literal["auto", "torch", "openvino", "onnxruntime", "tensorrt"] = Field(
        "auto", description="what runs the network; auto: torch on a GPU, openvino on a CPU where it is installed"
    )
    threads: int = Field(0, ge=0, le=1024, description="CPU threads of the arithmetic; 0: the backend chooses")
    score_threshold: float = Field(
        -1.0,
        ge=-1,
        le=1,
        description="detections below it are not published; -1: the model's own thresholds, of each class",
    )
    class_thresholds: tuple[str, ...] = Field(
        (), description="thresholds of single classes, as name:value, in place of score_threshold"
    )
    nms_iou: float = Field(
        -1.0, ge=-1, le=1, description="of two boxes of a class that overlap by more, one is left; -1: the model's own"
    )
    max_detections: int = Field(
        0, ge=0, le=10000, description="at most so many detections of a frame, the best; 0: the model's own"
    )
    image_transport: Literal["raw", "compressed"] = Field(
        "raw",
        description="raw: sensor_msgs/Image on image; compressed: CompressedImage (JPEG, PNG) on image/compressed",
    )
    telemetry_rows: int = Field(
        0, ge=-1024, le=1024, description="rows that are no picture, at the bottom (> 0) or at the top (< 0)"
    )
    raw_range: tuple[float, ...] = Field(
        (), description="counts [low, high] that become black and white; empty: as the model was trained (percentiles)"
    )
    gain_time_s: float = Field(
        0.0,
        ge=0,
        le=60,
        description="time constant of a smoothing of the percentiles over time; 0: each frame for itself, as in "
        "training",
    )
    class_id: Literal["name", "index"] = Field(
        "name", description="class_id of a detection: the class's name, or its number in label_info"
    )
    cpu_fallback: bool = Field(
        True, description="go on with the CPU, with a warning, where the GPU fails; false: fail instead"
    )
    autostart: bool = Field(True, description="configure and activate at start, without a lifecycle manager")
    overlay: OverlayConfig = OverlayConfig()
    diagnostics: DiagnosticsConfig = DiagnosticsConfig()

    @field_validator("score_threshold", "nms_iou")
    @classmethod
    def _fraction_or_the_models(cls, value: float) -> float:
        if -1 < value < 0:
            raise ValueError(f"{value} must lie in 0 to 1, or be -1 for the model's own")
        return value

    @field_validator("class_thresholds")
    @classmethod
    def _name_and_value(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_class_thresholds(value)
        return value

    @field_validator("raw_range")
    @classmethod
    def _none_or_ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if value and not (len(value) == 2 and value[0] < value[1]):
            raise ValueError(f"{list(value)} must be empty or two counts, the lower first")
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


class ReplayConfig(Settings):
    """How a bag is replayed through the node (cgdet_ros/replay.py)."""

    rate: float = Field(1.0, gt=0, le=1000, description="speed, 1 is real time by the header stamps")
    max_gap_s: float = Field(2.0, gt=0, description="a longer pause between two stamps is not waited for")
    default_period_s: float = Field(1 / 30, gt=0, description="between two frames whose stamps give no time")
    configure_timeout_s: float = Field(180.0, gt=0, description="for the node to load its model")
    discovery_timeout_s: float = Field(20.0, gt=0, description="for node and replay to find each other")
    answer_timeout_s: float = Field(10.0, gt=0, description="for one answer in lockstep, and for the last one")
    stop_timeout_s: float = Field(10.0, gt=0, description="for the node to end when asked to")
    prefetch_frames: int = Field(16, ge=1, description="read ahead from the bag")
    sample_frames: int = Field(6, ge=0, description="pictures in the report, of each kind")
    drawn_score: Fraction = Field(
        0.25, description="detections below it are not drawn where the node publishes far less certain ones too"
    )
    video_rate_range_hz: tuple[float, float] = Field((1.0, 60.0), description="frames per second of the video")


class TrainConfig(Settings):
    """The optimiser and its schedule (training/trainer.py)."""

    images: int = Field(36000, ge=1, description="training crops in all, the length of the schedule")
    batch_size: int = Field(16, ge=1)
    learning_rate: float = Field(2e-3, gt=0)
    final_learning_rate_fraction: Fraction = 0.02
    weight_decay: float = Field(0.03, ge=0)
    warmup_images: int = Field(1600, ge=0)
    ema_decay: float = Field(0.998, ge=0, lt=1)
    gradient_clip: float = Field(10.0, gt=0)
    seed: int = Field(0, ge=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    threads: int = Field(0, ge=0, description="CPU threads of the arithmetic; 0 lets torch choose")
    workers: int = Field(1, ge=0, description="processes that prepare batches; 0 prepares them in the training process")
    cache_mb: int = Field(
        4096,
        ge=0,
        le=10_000_000,
        description="training frames lie in memory up to so many MB, of each process of a run; further ones in a file "
        "without a name beside the run, of which the system keeps in memory what fits",
    )
    checkpoint_seconds: float = Field(60.0, gt=0)
    validate_every_images: int | None = Field(
        None,
        ge=0,
        description="held-out frames are measured each time so many crops were learned from, and at the end; "
        "empty: at every tenth of the run; 0: never while it trains",
    )
    validate_frames: int = Field(
        200, ge=1, description="at most so many held-out frames, spread evenly over all, while it trains"
    )
    tensorboard: bool = Field(True, description="curves for TensorBoard in the run's folder")
    term_gradients_every_batches: int = Field(
        100,
        ge=0,
        description="where a training-only term is on, the norm of each term's gradient at the backbone goes into the "
        "log so often (a backward pass each); 0: never",
    )


class LabelConfig(Settings):
    """How an RGB teacher labels a bag's thermal frames (training/pseudo_labels.py)."""

    teacher: TeacherConfig = TeacherConfig()
    score_threshold: Fraction = Field(0.5, description="a detection from this score on is an object")
    class_thresholds: dict[str, Fraction] = Field(
        default_factory=dict, description="a class's own threshold, by name, in place of score_threshold"
    )
    ignore_score: Fraction = Field(
        0.05, description="a detection from this score on that is no object is a region to ignore of its class"
    )
    nms_iou: Fraction = Field(0.65, description="of the teacher's detections")
    agree_frames: int = Field(
        2, ge=0, le=20, description="an object must be seen in one of so many frames before or after; 0: alone suffices"
    )
    agree_seconds: float = Field(
        0.5, gt=0, description="frames farther apart are no neighbours; what has none is taken without a second look"
    )
    agree_iou: Fraction = Field(
        0.3, gt=0, description="overlap with the neighbour's detection, moved as the picture moves"
    )
    valid_share: Fraction = Field(
        0.98, description="of a box, with two pixels around it, that RGB must show; else it is a region to ignore"
    )
    dark_median: float = Field(
        40.0, ge=0, le=255, description="an RGB picture half of whose pixels are darker (luma) is dark"
    )
    flat_deviation: float = Field(
        8.0, ge=0, le=255, description="an RGB picture whose luma deviates less (fog, covered lens, glare) is flat"
    )
    blind: Literal["unlabelled", "objects"] = Field(
        "unlabelled",
        description="frames whose RGB is dark or flat: unlabelled; or objects: what is seen there is an object, and "
        "all else a region to ignore",
    )

    second_score: Fraction = Field(
        0.15, description="a second opinion's detections from this score on are regions to ignore"
    )

    @model_validator(mode="after")
    def _ignored_below_objects(self) -> LabelConfig:
        lowest = min(self.score_threshold, *self.class_thresholds.values(), 1.0)
        if self.ignore_score > lowest:
            raise ValueError(f"ignore_score {self.ignore_score:g} must not be above the threshold {lowest:g}")
        return self

    def threshold_of(self, class_name: str) -> float:
        return self.class_thresholds.get(class_name, self.score_threshold)


class BagConfig(Settings):
    """How bags are made (data/bag_make.py): topics, frames and pace."""

    thermal_topic: str = "/thermal/image_raw"
    rgb_topic: str = Field("/rgb/image_raw", description="with /compressed behind it where it holds JPEG")
    truth_topic: str = "/ground_truth"
    thermal_frame_id: str = "thermal_camera"
    rgb_frame_id: str = "rgb_camera"
    start_stamp_ns: int = Field(1_700_000_000_000_000_000, ge=0, description="stamp of the first frame, nanoseconds")
    seconds: float = Field(20.0, gt=0, le=86400, description="length of a synthetic bag")
    seconds_per_scene: float = Field(10.0, gt=0, description="a longer synthetic bag goes on in another street")
    frames_per_second: float = Field(10.0, gt=0, le=1000, description="pace of a synthetic bag")
    coco_frames_per_second: float = Field(5.0, gt=0, le=1000, description="pace of a bag made from single images")
    jpeg_quality: int = Field(90, ge=1, le=100, description="of RGB pictures stored as JPEG")


class RegisterConfig(Settings):
    """How `cgdet bag register` finds the clocks' offset (data/clock_offset.py) and the homography (data/align.py)."""

    max_offset_s: float = Field(2.0, gt=0, le=60, description="the clocks' offset is looked for up to here, either way")
    min_intervals: int = Field(40, ge=20, description="intervals between frames that a stream must have")
    min_correlation: Fraction = Field(0.4, description="of the motion in both streams; below, the offset is refused")
    min_confidence: Fraction = Field(0.35, description="1 - second best offset / best; below, the offset is refused")
    tolerance_periods: float = Field(
        0.55, gt=0, le=2, description="greatest difference of a pair, in periods of the faster stream"
    )
    rgb_view_range: tuple[float, float] = Field(
        (0.75, 2.2), description="how many times as wide as the thermal view the RGB view may be"
    )
    candidates: int = Field(4, ge=1, le=20, description="first guesses that are worked out")
    pairs: int = Field(16, ge=4, le=64, description="pairs of pictures that the homography is found on")
    min_score: Fraction = Field(0.07, description="of the edges in both pictures; below, the homography is refused")
    min_contrast: Fraction = Field(0.15, description="1 - score 8 px off / score; below, the homography is refused")
    max_spread: float = Field(
        0.015, gt=0, le=0.2, description="of the frame's width between two halves of the pairs; above, it is refused"
    )
    warn_distortion_px: float = Field(1.5, gt=0, description="lens distortion left by a homography that is warned of")

    @field_validator("rgb_view_range")
    @classmethod
    def _view(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 0.3 <= value[0] <= value[1] <= 5:
            raise ValueError("must be two numbers from 0.3 to 5, the smaller first")
        return value


class Recipe(Settings):
    """All of a training run."""

    model: ModelConfig = ModelConfig()
    thermal: ThermalConfig = ThermalConfig()
    loss: LossConfig = LossConfig()
    contrast: ContrastConfig = ContrastConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    postprocess: PostprocessConfig = PostprocessConfig()
    sources: tuple[SourceConfig, ...] = ()
    synthetic: SyntheticSourceConfig = SyntheticSourceConfig()

    @property
    def uses_rgb(self) -> bool:
        """Whether a term of the loss looks at RGB; nothing of it is read otherwise."""
        return self.guidance.weight > 0 and self.guidance.teacher.sees == "rgb"


S = TypeVar("S", bound=Settings)


def settings_from_mapping(kind: type[S], mapping: Mapping[str, Any], origin: str) -> S:
    """Checked settings; InputError names `origin` (a file or command) and every offending key."""
    try:
        return kind.model_validate(dict(mapping))
    except ValidationError as error:
        raise InputError(f"{origin}: {_one_line(error)}") from None


def load_recipe(path: Path, overrides: Iterable[str] = ()) -> Recipe:
    """The recipe in a YAML file with `key=value` overrides, dotted keys, laid over it.

    A file may name another one under `base`, relative to its own folder, and then states only what
    differs: keys are merged at every depth, lists replaced.
    """
    mapping = _with_base(path, ())
    for override in overrides:
        _lay_over(mapping, override)
    return settings_from_mapping(Recipe, mapping, str(path))


def _with_base(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in above:
        raise InputError(f"{path}: is its own base: correct the 'base' keys")
    mapping = read_mapping(path)
    base = mapping.pop("base", None)
    if base is None:
        return mapping
    if not isinstance(base, str):
        raise InputError(f"{path}: key 'base' = {base!r}: must be the name of another recipe file")
    return _merged(_with_base(path.parent / base, (*above, path.resolve())), mapping)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        merged[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def read_mapping(path: Path, wanted: str = "a recipe such as config/recipes/first.yaml") -> dict[str, Any]:
    """The keys and values of a YAML file; InputError says to give `wanted` where it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): give {wanted}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not text: give {wanted}, in YAML") from None
    try:
        mapping = yaml.safe_load(text)
    # ValueError: a date that the calendar does not have
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if mapping is None:
        mapping = {}
    if not isinstance(mapping, dict):
        raise InputError(f"{path}: must hold keys and values, holds {type(mapping).__name__}")
    return mapping


def settings_from_words(kind: type[S], words: Iterable[str], origin: str) -> S:
    """Settings of one kind from `key=value` words over their defaults."""
    mapping: dict[str, Any] = {}
    for word in words:
        _lay_over(mapping, word)
    return settings_from_mapping(kind, mapping, origin)


def _lay_over(mapping: dict[str, Any], override: str) -> None:
    """`a.b=value`; a whole number is the place in a list: `sources.0.weight=2`."""
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(f"'{override}': settings are given as key=value, such as train.batch_size=8")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        raise InputError(f"'{override}': '{text}' is not a YAML value") from None
    *parents, last = key.split(".")
    place: Any = mapping
    for number, parent in enumerate(parents):
        if isinstance(place, dict) and place.get(parent) is None:
            place[parent] = {}
        place = place[_key_in(place, parent, override)]
        if not isinstance(place, dict | list):
            raise InputError(f"'{override}': '{'.'.join(parents[: number + 1])}' holds a value, not keys")
    place[_key_in(place, last, override)] = value


def _key_in(place: dict[str, Any] | list[Any], word: str, override: str) -> Any:
    if isinstance(place, dict):
        return word
    if not (word.isdecimal() and int(word) < len(place)):
        raise InputError(f"'{override}': '{word}' must be a place in a list of {len(place)}, counted from 0")
    return int(word)


def _one_line(error: ValidationError) -> str:
    parts = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "value"
        if item["type"] == "extra_forbidden":
            parts.append(f"unknown key '{key}': remove it or correct its spelling")
        elif item["type"] == "missing":
            parts.append(f"key '{key}' is missing")
        else:
            parts.append(f"key '{key}' = {item['input']!r}: {item['msg'].removeprefix('Value error, ')}")
    return "; ".join(parts)
