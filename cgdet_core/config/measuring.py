"""How detections are measured and models compared."""

from __future__ import annotations

from itertools import pairwise

from pydantic import Field, field_validator

from cgdet_core.config.settings import Fraction, Settings


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
    calibration_min_score: Fraction = Field(
        0.1, description="detections from this score on count in the calibration: many that nobody uses would drown it"
    )
    calibration_bins: int = Field(10, ge=1, le=1000, description="of equal width, of the calibration of scores")
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
    few_blocks: int = Field(
        6,
        ge=2,
        description="of fewer blocks of frames nothing is concluded: five that all speak for one model are chance more "
        "often than once in twenty (2 of 32)",
    )
