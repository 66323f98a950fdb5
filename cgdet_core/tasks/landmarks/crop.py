"""The square of a frame that the landmark network sees of a face, and the way of points to it and back.

One function for training, evaluation and node. Points count from the centre of the first pixel, in the frame as in the
crop; boxes from that pixel's outer corner (types.GroundTruth). NumPy and OpenCV alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.types import FloatArray, ImageArray


@dataclass(frozen=True)
class FaceCrop:
    """A square about `centre_xy_px` of a frame (from its first pixel's outer corner), `side_px` of the frame wide,
    turned by `angle` (radians) and perhaps mirrored, scaled to `crop_px`."""

    centre_xy_px: tuple[float, float]
    side_px: float
    crop_px: int
    angle: float = 0.0
    mirrored: bool = False

    @property
    def scale(self) -> float:
        """Pixels of the crop for each of the frame."""
        return self.crop_px / self.side_px

    def matrix(self) -> NDArray[np.float64]:
        """[2, 3]: (x, y, 1) of a pixel's centre in the frame -> in the crop."""
        cosine, sine = self.scale * np.cos(self.angle), self.scale * np.sin(self.angle)
        turn = np.array([[cosine, sine], [-sine, cosine]])
        if self.mirrored:
            turn[0] = -turn[0]
        middle = np.array(self.centre_xy_px) - 0.5
        return np.asarray(np.column_stack([turn, (self.crop_px - 1) / 2 - turn @ middle]))

    def to_crop(self, points_xy_px: FloatArray) -> FloatArray:
        """Points [..., 2] of the frame -> of the crop, float32; a mirrored crop does not rename them."""
        matrix = self.matrix()
        return np.asarray(points_xy_px @ matrix[:, :2].T + matrix[:, 2], np.float32)

    def to_frame(self, points_xy_px: FloatArray) -> FloatArray:
        """Points [..., 2] of the crop -> of the frame, float32."""
        matrix = self.matrix()
        return np.asarray((points_xy_px - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T, np.float32)

    @property
    def size_px(self) -> tuple[int, int]:
        return self.crop_px, self.crop_px

    def cut(self, picture: ImageArray) -> ImageArray:
        """[H, W, ...] of the frame -> the upright square that `lay` needs; off the frame its edge goes on."""
        (left, top), side, _ = self._part()
        height, width = picture.shape[:2]
        rows, columns = np.arange(top, top + side).clip(0, height - 1), np.arange(left, left + side).clip(0, width - 1)
        if rows[-1] - rows[0] == columns[-1] - columns[0] == side - 1:
            return picture[top : top + side, left : left + side]
        return np.asarray(picture[rows[:, None], columns])

    def lay(self, part: ImageArray) -> ImageArray:
        """What `cut` gave -> the crop [crop_px, crop_px, ...], of the same type.

        A face much larger than the crop is averaged over areas first, or its noise and lattice would come through.
        """
        corner, side, shrink = self._part()
        matrix = self.matrix()
        # pixel p of the part is centred on corner + shrink * p + (shrink - 1) / 2 of the frame
        matrix[:, 2] += matrix[:, :2] @ (np.array(corner) + (shrink - 1) / 2)
        matrix[:, :2] *= shrink
        if shrink > 1:
            part = np.asarray(cv2.resize(part, (side // shrink, side // shrink), interpolation=cv2.INTER_AREA))
        border = cv2.BORDER_REPLICATE
        return np.asarray(cv2.warpAffine(part, matrix, self.size_px, flags=cv2.INTER_LINEAR, borderMode=border))

    def on_frame(self, _frame_height_px: int, _frame_width_px: int) -> None:
        """Nothing of a crop is empty: what is off the frame goes on like its edge, and is varied with it."""

    def boxes(self, boxes_xyxy_px: FloatArray) -> FloatArray:
        """Boxes float32 [N, 4] in pixels of the frame -> upright ones about them in the crop, not cut to it."""
        left, top, right, bottom = (boxes_xyxy_px - np.float32(0.5)).T
        corners = self.to_crop(np.stack([left, top, right, top, right, bottom, left, bottom], axis=1).reshape(-1, 4, 2))
        return np.asarray(np.concatenate([corners.min(1), corners.max(1)], axis=1) + 0.5, np.float32)

    def _part(self) -> tuple[tuple[int, int], int, int]:
        """First pixel (x, y) and side of the upright square about the crop, and by what it is shrunk, a divisor."""
        shrink = max(1, int(self.side_px // self.crop_px))
        reach = self.side_px / 2 * (abs(np.cos(self.angle)) + abs(np.sin(self.angle))) + 2 * shrink
        left, top = (int(np.floor(middle - reach)) for middle in self.centre_xy_px)
        return (left, top), int(np.ceil((2 * reach + 1) / shrink)) * shrink, shrink


def crop_of_box(box_xyxy_px: FloatArray, box_scale: float, crop_px: int) -> FaceCrop:
    """The upright square about a face's box float32 [4], `box_scale` times its longer side wide, at least a pixel."""
    left, top, right, bottom = (float(value) for value in box_xyxy_px)
    side = max(right - left, bottom - top, 1.0) * box_scale
    return FaceCrop(((left + right) / 2, (top + bottom) / 2), side, crop_px)


def box_of_points(points_xy_px: FloatArray) -> FloatArray:
    """Points [P, 2], at least one -> the box float32 [4] about them, whole pixels of the outermost ones included."""
    return np.asarray(np.concatenate([points_xy_px.min(0), points_xy_px.max(0) + 1]), np.float32)
