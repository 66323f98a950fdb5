"""COCO detection sets, written: images and boxes are numbered from 1 as they come, classes from 1 by their place."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cgdet_core.boxes import xyxy_to_xywh
from cgdet_core.files import write_text
from cgdet_core.types import CLASS_NAMES, GroundTruth


def image_entry(file_name: str, height_width_px: tuple[int, int], **more: Any) -> dict[str, Any]:
    """What a set states of an image, without its number."""
    height, width = height_width_px
    return {"file_name": file_name, "height": height, "width": width, **more}


@dataclass
class CocoDraft:
    """A set in the making: `add_image`, then the boxes of that image, then the next one."""

    class_names: Sequence[str] = CLASS_NAMES
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)

    def add_image(self, entry: Mapping[str, Any]) -> None:
        """See image_entry."""
        self.images.append({"id": len(self.images) + 1, **entry})

    def add_box(self, class_id: int, box_xywh_px: Sequence[float], ignore: bool = False, **more: Any) -> None:
        """A box of the last image; ignore: a region to ignore; more: what else the annotation states."""
        self.annotations.append(
            {
                "id": len(self.annotations) + 1,
                "image_id": self.images[-1]["id"],
                "category_id": class_id + 1,
                "bbox": list(box_xywh_px),
                "area": round(box_xywh_px[2] * box_xywh_px[3], 6),
                "iscrowd": int(ignore),
                **more,
            }
        )

    def add_truth(self, truth: GroundTruth) -> None:
        """The labels of the last image, in thousandths of a pixel."""
        boxes = xyxy_to_xywh(truth.boxes_xyxy_px).astype(np.float64).round(3)
        for box, class_id, ignore in zip(boxes.tolist(), truth.class_ids, truth.ignore, strict=True):
            self.add_box(int(class_id), box, bool(ignore))

    def to_json(self, **more: Any) -> str:
        """The document; more: further keys of it, such as `info`."""
        document = {
            **more,
            "images": self.images,
            "annotations": self.annotations,
            "categories": [{"id": number, "name": name} for number, name in enumerate(self.class_names, 1)],
        }
        return json.dumps(document)

    def write(self, path: Path, **more: Any) -> None:
        """Write the document, whole or not at all; InputError where the disk refuses."""
        write_text(path, self.to_json(**more))
