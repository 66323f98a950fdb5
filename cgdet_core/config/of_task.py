"""Which settings are a task's own: the sections of a recipe and of a model file whose kind follows from its `task`."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import Field, ValidationInfo, field_validator

from cgdet_core.config.augmentation import AugmentConfig
from cgdet_core.config.detector import ModelConfig, PostprocessConfig
from cgdet_core.config.landmarks import (
    FaceAugmentConfig,
    LandmarkLossConfig,
    LandmarkModelConfig,
    LandmarkPostprocessConfig,
)
from cgdet_core.config.settings import Settings
from cgdet_core.config.terms import LossConfig

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
