"""The synthetic street."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from cgdet_core.config.settings import Fraction, Settings


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
