"""The loss of the detector, the teacher and the training-only terms of every task."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cgdet_core.config.settings import Fraction, Settings


class TeacherConfig(Settings):
    """The frozen RGB teacher (distill/teachers)."""

    kind: Literal["yolox", "model"] = Field(
        "yolox",
        description="yolox: an official YOLOX checkpoint as .safetensors; model: a model file of this project, of the "
        "student's task",
    )
    sees: Literal["rgb", "thermal"] = Field(
        "rgb",
        description="thermal: a wider network of this project that looks at the student's own crops, all of them, in "
        "place of RGB",
    )
    path: str = Field(
        "",
        description="its file; relative paths are taken from the folder given with --data; in a recipe with stages "
        "also stage N, the model of that one",
    )
    random_weights: bool = Field(False, description="control: the same network, frozen as it was initialised")
    class_map: dict[str, str] = Field(
        default_factory=lambda: {"bus": "car", "truck": "car"},
        description="the teacher's class name -> class name here, beside those of the same name",
    )
    class_names: tuple[str, ...] = Field(
        (), description="the teacher's own classes in order, where yolox weights are not of COCO's"
    )
    yolox_input: Literal["rgb_normalised", "bgr_raw"] = Field(
        "rgb_normalised",
        description="rgb_normalised: RGB over 255, minus ImageNet's mean, over its deviation (YOLOX 0.1.0 and before); "
        "bgr_raw: BGR from 0 to 255 (YOLOX 0.1.1 and later). With the wrong one nothing is found: try `cgdet teacher`",
    )

    @model_validator(mode="after")
    def _thermal_is_of_this_project(self) -> TeacherConfig:
        if self.sees == "thermal" and self.kind != "model":
            raise ValueError(f"kind {self.kind} sees no thermal pictures: give kind model, or sees rgb")
        return self


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


class TapConfig(Settings):
    """When a training-only term is on (distill/lesson.py)."""

    warmup_images: int = Field(0, ge=0, description="training crops over which the weight rises linearly from 0")
    off_fraction: Fraction = Field(0.0, description="last share of the run, which goes without the term")
    decay: Literal["constant", "linear", "cosine"] = Field(
        "constant", description="how the weight falls to 0 from the first crop to the last share; constant: not at all"
    )


class TermConfig(TapConfig):
    """A term over labelled boxes: its weight, its maps, and which of them a box belongs to."""

    weight: float = Field(0.0, ge=0, description="factor on the term in the loss; 0: the term is off and costs nothing")
    strides: tuple[Literal[4, 8, 16, 32], ...] = Field(
        (8, 16, 32), min_length=1, description="of the maps in use, which the network must have"
    )
    roi_px: int = Field(5, ge=1, le=32, description="samples a side that a box is pooled to, in cells")
    small_below_px: float = Field(64.0, gt=0, description="sqrt(area) below which a box belongs to stride 8")
    middle_below_px: float = Field(128.0, gt=0, description="sqrt(area) below which it belongs to stride 16, else 32")

    @model_validator(mode="after")
    def _ascending(self) -> TermConfig:
        if self.middle_below_px < self.small_below_px or list(self.strides) != sorted(set(self.strides)):
            raise ValueError("strides, and the bounds small_below_px and middle_below_px, must ascend")
        return self


class ContrastConfig(TermConfig):
    """RCS: supervised contrast of regions (distill/contrast.py). The paper gives none of these values."""

    hidden: int = Field(128, ge=1, le=4096, description="width of the projection's hidden layer")
    dimensions: int = Field(64, ge=2, le=4096, description="of an embedding")
    temperature: float = Field(0.1, ge=0.001, le=100)
    queue: int = Field(0, ge=0, le=100_000, description="embeddings of earlier batches that are kept as partners")


class GuidanceConfig(TermConfig):
    """CMG: cross-modal guidance by a frozen RGB teacher (distill/guidance.py)."""

    teacher: TeacherConfig = TeacherConfig()
    region: Literal["boxes", "whole"] = Field("boxes", description="compared over labelled boxes, or over whole maps")
    distance: Literal["pkd", "cwd", "cosine", "mse"] = "pkd"
    temperature: float = Field(1.0, gt=0, le=100, description="of the softmax of cwd")
    object_weight: Literal["seen", "equal"] = Field(
        "seen", description="seen: an object counts by what the teacher sees of it; equal: every object alike"
    )
    shuffle_rgb: bool = Field(False, description="control: each frame gets the RGB of another one of its source")

    @model_validator(mode="after")
    def _rgb_to_shuffle(self) -> GuidanceConfig:
        if self.shuffle_rgb and self.teacher.sees == "thermal":
            raise ValueError("shuffle_rgb needs a teacher that sees rgb: leave it out, or give teacher.sees rgb")
        return self


class OutputsConfig(TapConfig):
    """LD: the student's own output drawn to that of the teacher of guidance (distill/injection.py)."""

    weight: float = Field(0.0, ge=0, description="factor on the term in the loss; 0: the term is off and costs nothing")
    sure_score: Fraction = Field(0.3, description="the teacher's score from which on its boxes are targets")


class InjectionConfig(TapConfig):
    """DIKD: dual injection, by the teacher of guidance (distill/injection.py). Each part is a term of its own."""

    forward_weight: float = Field(
        0.0, ge=0, description="factor on the forward part, the teacher's maps in the student's head; 0: it is off"
    )
    reverse_weight: float = Field(
        0.0, ge=0, description="factor on the reverse part, the student's maps in the teacher's head; 0: it is off"
    )
    forward_teacher_share: Fraction = Field(
        0.5, description="of the forward part, what is against the teacher's output; the rest is against the labels"
    )
    reverse_teacher_share: Fraction = Field(0.5, description="the same of the reverse part")
    decay: Literal["constant", "linear", "cosine"] = Field(
        "linear", description="how the weights fall to 0 from the first crop to the last share; constant: not at all"
    )
    sure_score: Fraction = Field(
        0.3,
        description="the teacher's score from which on its boxes are targets; an object that it sees less of is no "
        "label to the forward part",
    )

    @property
    def on(self) -> bool:
        """Whether either part has a weight."""
        return self.forward_weight > 0 or self.reverse_weight > 0
