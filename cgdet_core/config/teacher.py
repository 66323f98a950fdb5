"""The frozen teacher of training and labelling."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cgdet_core.config.settings import Settings


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
