"""A training run: its optimiser, its schedule, and all that a recipe holds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from cgdet_core.config.augmentation import AugmentConfig
from cgdet_core.config.losses import ContrastConfig, GuidanceConfig, InjectionConfig, LossConfig
from cgdet_core.config.network import ModelConfig, PostprocessConfig, ThermalConfig
from cgdet_core.config.settings import Fraction, Settings
from cgdet_core.config.sources import SourceConfig, SyntheticSourceConfig


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
    term_gradients_every_batches: int = Field(
        100,
        ge=0,
        description="where a training-only term is on, the norm of each term's gradient at the backbone goes into the "
        "log so often (a backward pass each); 0: never",
    )


class Recipe(Settings):
    """All of a training run."""

    model: ModelConfig = ModelConfig()
    thermal: ThermalConfig = ThermalConfig()
    loss: LossConfig = LossConfig()
    contrast: ContrastConfig = ContrastConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    injection: InjectionConfig = InjectionConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()
    postprocess: PostprocessConfig = PostprocessConfig()
    sources: tuple[SourceConfig, ...] = ()
    synthetic: SyntheticSourceConfig = SyntheticSourceConfig()

    @property
    def uses_teacher(self) -> bool:
        """Whether a term of the loss learns from guidance.teacher."""
        return self.guidance.weight > 0 or self.injection.on

    @property
    def uses_rgb(self) -> bool:
        """Whether a term of the loss looks at RGB; nothing of it is read otherwise."""
        return self.uses_teacher and self.guidance.teacher.sees == "rgb"

    @property
    def held_out_folds(self) -> dict[str, int | None]:
        """Path of each source of which a fold is held out -> that fold."""
        return {source.path: source.hold_out_fold for source in self.sources if source.hold_out_fold is not None}
