"""Where the training frames come from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cgdet_core.config.settings import Settings


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
