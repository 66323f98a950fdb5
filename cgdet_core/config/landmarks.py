"""Facial landmarks: the crop that the network sees, its loss, what training crops go through, and following a face."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from cgdet_core.config.augmentation import LookConfig
from cgdet_core.config.detector import Activation, Depth
from cgdet_core.config.settings import Fraction, Settings, Widths, ascending

_Factors = Annotated[tuple[float, float], ascending(0.2, 5)]
_Shares = Annotated[tuple[float, float], ascending(0.01, 1)]


class LandmarkModelConfig(Settings):
    """The landmark network's shape (tasks/landmarks/head.py), by default the light student's."""

    class_names: tuple[str, ...] = Field(("face",), min_length=1, max_length=1, description="the sets' category")
    input_height_width_px: tuple[int, int] = Field((128, 128), description="of the square crop; multiples of 32")
    widths: Widths = Field((16, 32, 64, 96, 128), description="channels at strides 2, 4, 8, 16, 32; multiples of 8")
    depths: tuple[Depth, Depth, Depth, Depth] = Field((1, 2, 1, 1), description="residual blocks at strides 4 to 32")
    head_width: int = Field(64, ge=8, le=4096, description="channels of the head")
    activation: Activation = "silu"

    @field_validator("input_height_width_px")
    @classmethod
    def _square(cls, value: tuple[int, int]) -> tuple[int, int]:
        if value[0] != value[1] or not 32 <= value[0] <= 512 or value[0] % 32:
            raise ValueError(f"{list(value)} must be two equal multiples of 32, up to 512")
        return value


class LandmarkPostprocessConfig(Settings):
    """From a face's box to its crop, and when a followed face is lost."""

    box_scale: float = Field(
        1.2, gt=0, le=4, description="side of the crop, in longer sides of the face's box (the hull of its points)"
    )
    spread_factor: float = Field(
        0.5, gt=0, le=100, description="on the maps' spread, for confidences that hold: fitted by cgdet thresholds"
    )
    lost_below: Fraction = Field(
        0.5, description="a face whose mean confidence is lower is lost when it is followed from frame to frame"
    )


class LandmarkLossConfig(Settings):
    """Weights and shapes of the landmark loss (tasks/landmarks/loss.py); pixels are the crop's."""

    wing_weight: float = Field(1.0, ge=0, description="of the distance of each point to its label")
    wing_width_px: float = Field(7.0, gt=0, description="below it an error costs by its logarithm, beyond linearly")
    wing_curvature_px: float = Field(1.15, gt=0, description="how soon the logarithm flattens")
    marginal_weight: float = Field(0.5, ge=0, description="of the maps' marginals against a Gaussian about the label")
    marginal_sigma_cells: float = Field(0.75, gt=0, description="its standard deviation")
    likelihood_weight: float = Field(
        1.0, ge=0, description="of Laplace's law of the map's own variance, which makes a confidence mean something"
    )


class FaceAugmentConfig(LookConfig):
    """What a training crop of a face goes through (data/augment/, tasks/landmarks/sampling.py)."""

    flip_probability: Fraction = 0.5
    scale_range: _Factors = Field((0.82, 1.22), description="log-uniform factor on the crop's side")
    shift_sigma: float = Field(
        0.06, ge=0, le=0.5, description="standard deviation of its centre, in sides, as a face detector errs"
    )
    angle_sigma: float = Field(0.2, ge=0, le=3, description="standard deviation of its turn, in radians")
    occlusion_probability: Fraction = Field(0.2, description="crops in which a rectangle of one tone hides a part")
    occlusion_range: _Shares = Field((0.1, 0.45), description="sides of the rectangle, in shares of the crop's")
