"""A training run: its frames, optimiser and schedule, all that a recipe holds, and which sections are a task's own."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from cgdet_core.config.augmentation import AugmentConfig
from cgdet_core.config.detector import ModelConfig, PostprocessConfig, ThermalConfig
from cgdet_core.config.landmarks import (
    FaceAugmentConfig,
    LandmarkLossConfig,
    LandmarkModelConfig,
    LandmarkPostprocessConfig,
)
from cgdet_core.config.settings import Fraction, Settings
from cgdet_core.config.terms import ContrastConfig, GuidanceConfig, InjectionConfig, LossConfig, OutputsConfig

TaskName = Literal["detection", "landmarks"]
# what a section may be; all kinds of network have class_names and input_height_width_px
NetworkConfig = ModelConfig | LandmarkModelConfig
TaskLossConfig = LossConfig | LandmarkLossConfig
TaskAugmentConfig = AugmentConfig | FaceAugmentConfig
TaskPostprocessConfig = PostprocessConfig | LandmarkPostprocessConfig

SECTIONS: Final[dict[str, dict[str, type[Settings]]]] = {
    "detection": {
        "model": ModelConfig,
        "loss": LossConfig,
        "augment": AugmentConfig,
        "postprocess": PostprocessConfig,
    },
    "landmarks": {
        "model": LandmarkModelConfig,
        "loss": LandmarkLossConfig,
        "augment": FaceAugmentConfig,
        "postprocess": LandmarkPostprocessConfig,
    },
}


def usual() -> Any:
    """A field of OfTask that is, where it is not given, what its task has there by default."""
    return Field({}, validate_default=True)


class OfTask(Settings):
    """Base of settings with sections of a task."""

    task: TaskName = Field(
        "detection", description="what the network is for: decides what model, loss, augment and postprocess may hold"
    )

    @field_validator("model", "loss", "augment", "postprocess", mode="before", check_fields=False)
    @classmethod
    def _of_the_task(cls, value: Any, info: ValidationInfo) -> Any:
        kind = SECTIONS[info.data.get("task", "detection")][str(info.field_name)]
        if isinstance(value, Settings) and not isinstance(value, kind):
            raise ValueError(f"is of another task than {info.data.get('task')}")
        # errors keep the keys below this one
        return value if isinstance(value, Settings) else kind.model_validate(value)


class SourceConfig(Settings):
    """One training set."""

    path: str = Field(description="COCO JSON or bag; relative paths are taken from the folder given with --data")
    weight: float = Field(1.0, gt=0, description="share of the samples, relative to the other sources")
    grey_rgb: bool = Field(False, description="an RGB set, used as grey pictures")
    rgb: bool = Field(
        True,
        description="an RGB teacher, where one guides, sees the registered picture that the file names "
        "(rgb_file_name), of grey_rgb the frame's own in colour; false: nothing",
    )
    render_thermal: int | None = Field(
        None,
        ge=1,
        le=100,
        description="an RGB set of single faces with 68 points: learnt from so many thermal-like renderings of each, "
        "kept in memory, whose registered partner is the picture itself",
    )
    class_map: dict[str, str] = Field(
        default_factory=dict,
        description="category name in the file -> class name; 'ignore' makes regions to ignore, 'background' drops it",
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
    by: Literal["stamp", "record"] = Field("stamp", description="of a bag: what is a frame's time, header or record")

    @property
    def is_bag(self) -> bool:
        return not self.path.endswith(".json")

    @model_validator(mode="after")
    def _fit_together(self) -> SourceConfig:
        of_a_bag = ("image_topic", "rgb_topic", "labels", "registration", "every", "by")
        given = [key for key in of_a_bag if getattr(self, key) != type(self).model_fields[key].default]
        if given and not self.is_bag:
            raise ValueError(f"{given[0]} is of a bag, {self.path} is a COCO JSON: leave it out")
        if self.render_thermal and (self.is_bag or self.grey_rgb or self.hold_out_fold is not None):
            raise ValueError(
                f"{self.path}: render_thermal renders an RGB set (a COCO JSON) to learn from: leave out grey_rgb "
                "and hold_out_fold"
            )
        return self


class SyntheticSourceConfig(Settings):
    """Rendered frames mixed into the training."""

    frames: int = Field(0, ge=0)
    seed: int = Field(1000, ge=0, description="the demo and the tests use seeds below 1000")
    weight: float = Field(1.0, gt=0)
    rgb: bool = Field(True, description="an RGB teacher, where one guides, sees the RGB pictures rendered with them")


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
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "fp32", description="auto: bf16 where the device has instructions for it"
    )
    device: str = Field("auto", description="auto, cpu, cuda or cuda:N")
    threads: int = Field(0, ge=0, description="CPU threads of the arithmetic; 0 lets torch choose")
    workers: int = Field(1, ge=0, description="processes that prepare batches; 0 prepares them in the training process")
    cache_mb: int = Field(
        4096,
        ge=0,
        le=10_000_000,
        description="training frames lie in memory up to so many MB, of each process of a run; further ones are read "
        "from their files each time",
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


class Recipe(OfTask):
    """All of a training run."""

    model: NetworkConfig = usual()
    thermal: ThermalConfig = ThermalConfig()
    loss: TaskLossConfig = usual()
    contrast: ContrastConfig = ContrastConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    injection: InjectionConfig = InjectionConfig()
    outputs: OutputsConfig = OutputsConfig()
    augment: TaskAugmentConfig = usual()
    train: TrainConfig = TrainConfig()
    postprocess: TaskPostprocessConfig = usual()
    sources: tuple[SourceConfig, ...] = ()
    start: str = Field(
        "", pattern=r"^(stage [1-9]\d*)?$", description="of a stage: stage N, whose model's weights it begins with"
    )
    synthetic: SyntheticSourceConfig = SyntheticSourceConfig()

    @property
    def uses_teacher(self) -> bool:
        """Whether a term of the loss learns from guidance.teacher."""
        return self.guidance.weight > 0 or self.injection.on or self.outputs.weight > 0

    @property
    def uses_rgb(self) -> bool:
        """Whether a term of the loss looks at RGB; nothing of it is read otherwise."""
        return self.uses_teacher and self.guidance.teacher.sees == "rgb"

    @property
    def held_out_folds(self) -> dict[str, int | None]:
        """Path of each source of which a fold is held out -> that fold."""
        return {source.path: source.hold_out_fold for source in self.sources if source.hold_out_fold is not None}
