"""What a training crop goes through."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from cgdet_core.config.settings import Fraction, Settings, ascending

_Positive = Annotated[tuple[float, float], ascending(0.1, 1000)]
_Shares = Annotated[tuple[float, float], ascending(0.05, 1)]
_Levels = Annotated[tuple[float, float], ascending(2, 1024)]
_Places = Annotated[tuple[float, float], ascending(0.1, 0.9)]
_Factors = Annotated[tuple[float, float], ascending(0.05, 20)]
_Offsets = Annotated[tuple[float, float], ascending(-1, 1)]


class SensorConfig(Settings):
    """Cameras that the training data lack (data/augment/sensor.py, tone.py).

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
    sigmoid_range: _Positive = Field((2.0, 6.0), description="its steepness; below 1 it is nearly straight")
    saturation_probability: Fraction = Field(0.2, description="both ends of the crop's range saturated")
    saturation_max: float = Field(0.08, ge=0, le=0.45, description="share of its pixels at either end, at most")

    equalise_probability: Fraction = Field(0.15, description="plateau-limited histogram equalisation of the crop")
    plateau_range: _Positive = Field((1.5, 10.0), description="its plateau, in mean counts of a filled bin")
    clahe_probability: Fraction = Field(0.12, description="equalisation by tiles, of limited contrast (CLAHE)")
    clahe_clip_range: _Positive = Field((1.0, 3.0), description="its clip limit, in mean counts of a bin")
    clahe_tile_range_px: _Positive = Field((40.0, 160.0), description="side of its tiles")
    detail_probability: Fraction = Field(0.15, description="detail amplified and base compressed, which makes halos")
    detail_gain_range: _Positive = Field((1.2, 3.0), description="factor on the detail")
    detail_radius_range_px: _Positive = Field((4.0, 16.0), description="half the width of the base's window")
    base_gain_range: _Shares = Field((0.5, 1.0), description="factor on the base's contrast")

    motion_blur_probability: Fraction = 0.06
    motion_blur_range_px: _Positive = Field((2.0, 6.0), description="length of the motion")
    resolution_probability: Fraction = Field(0.15, description="crops shrunk and enlarged again")
    resolution_range: _Shares = Field((0.45, 0.9), description="share of the resolution that is left")
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
    levels_range: _Levels = Field((16.0, 96.0), description="how many levels are left")
    jpeg_probability: Fraction = 0.2
    jpeg_quality_range: _Positive = (30.0, 90.0)


class LookConfig(Settings):
    """How the look of a crop is varied, of every task: tone, polarity, noise, blur, and other cameras."""

    tone_probability: Fraction = Field(0.8, description="frames that get a random tone curve (gamma, gain, offset)")
    gamma_range: _Factors = (0.4, 1.8)
    gain_range: _Factors = (0.6, 1.4)
    offset_range: _Offsets = Field((-0.06, 0.15), description="most frames are dark: less is taken away")
    tone_lost_max: Fraction = Field(
        0.2, description="curves that drive a larger share of the crop's pixels to black or white are halved"
    )
    invert_probability: Fraction = Field(0.0, description="polarity: black-hot in place of white-hot")
    grey_invert_probability: Fraction = Field(
        0.3, description="the same for grey RGB frames, whose polarity means nothing"
    )
    noise_sigma_max: float = Field(0.04, ge=0, description="standard deviation of added noise, of the full range")
    blur_probability: Fraction = 0.15
    sensor: SensorConfig = SensorConfig()


class AugmentConfig(LookConfig):
    """What a training crop of a detector goes through (data/augment/, tasks/detection/sampling.py)."""

    crop_px: int = Field(320, ge=32, multiple_of=32, description="side of the square training crop")
    scale_range: _Factors = Field((0.7, 1.5), description="log-uniform zoom of the crop; 1 is native scale")
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
    mosaic_centre_range: _Places = Field((0.3, 0.7), description="where the four meet, in shares of the picture's side")
    mosaic_off_fraction: Fraction = Field(0.15, description="last share of the run, which has no mosaics")
    min_visible: Fraction = Field(0.3, description="a box of which less is left in the crop becomes a region to ignore")
