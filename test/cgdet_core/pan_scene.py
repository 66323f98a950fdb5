"""A bag of two cameras that sway before drawn pictures: offset, homography, rates and drops are known to the bit.

What registers a bag needs motion: both cameras look through a window that sways over a pair of pictures, each at its
own pace, size and clock, the RGB one through a homography. The pictures share their outlines, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from cgdet_core.data.bags.write import BagWriter
from cgdet_core.data.synthetic.bag import (
    JPEG_QUALITY,
    RGB_FRAME_ID,
    RGB_TOPIC,
    START_STAMP_NS,
    THERMAL_FRAME_ID,
    THERMAL_TOPIC,
)
from cgdet_core.images import encode_jpeg
from cgdet_core.types import NANOSECONDS, ImageArray

Matrix = NDArray[np.float64]
THERMAL_PX, RGB_PX = (128, 160), (144, 192)
_NOISE_PX = 1200  # side of the field that noise is cut from; no camera may be larger
_PAUSE_S = 0.7  # without a frame between two shots, so that no cut, which no camera makes, tells the offset


@dataclass(frozen=True)
class Pan:
    """homography: RGB pixel -> thermal pixel, (0, 0) the outer corner. offset_ns: thermal clock less RGB clock.

    sway_px: how far the windows go from the middle, in pixels of the pictures (width, height), 0 0: a static scene.
    drop: share of the frames lost, of each stream on its own. noise: standard deviation of what is added to the
    pixels, in counts of 8 bits. gains: how far the thermal gain drifts, and the RGB exposure, as shares.
    """

    homography: Matrix
    offset_ns: int = 0
    thermal_height_width_px: tuple[int, int] = (320, 400)
    rgb_height_width_px: tuple[int, int] = (384, 512)
    thermal_hz: float = 30.0
    rgb_hz: float = 30.0
    seconds_per_shot: float = 6.0
    sway_px: tuple[float, float] = (45.0, 30.0)
    drop: float = 0.0
    noise: float = 2.0
    gains: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class PanFrame:
    """kind: whose frame. stamp_ns: of its own clock. time_ns: of the thermal clock. image: uint8, grey or RGB."""

    kind: Literal["thermal", "rgb"]
    stamp_ns: int
    time_ns: int
    image: ImageArray


def pan_frames(shots: Sequence[tuple[ImageArray, ImageArray]], pan: Pan, start_ns: int = 0) -> Iterator[PanFrame]:
    """The frames of both cameras in order of time. shots: thermal uint8 [H, W] and RGB uint8 [H, W, 3], aligned."""
    rng = np.random.default_rng(pan.seed)
    noise = (rng.standard_normal((_NOISE_PX, _NOISE_PX)) * pan.noise).astype(np.float32)
    paths = [_Path(rng, pan) for _ in shots]
    phases = {"thermal": 0.0, "rgb": float(rng.uniform(0, 1 / pan.rgb_hz))}
    plan = []
    for number in range(len(shots)):
        for kind, rate in (("thermal", pan.thermal_hz), ("rgb", pan.rgb_hz)):
            seconds = phases[kind] + np.arange(round(pan.seconds_per_shot * rate)) / rate
            kept = rng.random(len(seconds)) >= pan.drop
            plan += [(number * (pan.seconds_per_shot + _PAUSE_S) + second, kind, number) for second in seconds[kept]]
    for second, kind, number in sorted(plan):
        view = paths[number].view(second)
        thermal, rgb = shots[number]
        time_ns = start_ns + round(second * NANOSECONDS)
        drift = 1 + pan.gains * np.sin(2 * np.pi * (0.13 if kind == "thermal" else 0.21) * second)
        if kind == "thermal":
            image = _seen(thermal, view, pan.thermal_height_width_px)
            yield PanFrame("thermal", time_ns, time_ns, _noisy(image * drift, noise, rng))
        else:
            image = _seen(rgb, view @ pan.homography, pan.rgb_height_width_px)
            yield PanFrame("rgb", time_ns - pan.offset_ns, time_ns, _noisy(image * drift, noise, rng))


def make_pan_bag(out: Path | str, shots: Sequence[tuple[ImageArray, ImageArray]], pan: Pan) -> int:
    """Write the frames as a bag, thermal mono8 and RGB as JPEG; how many there are."""
    frames = 0
    with BagWriter(out) as bag:
        for frame in pan_frames(shots, pan, START_STAMP_NS):
            if frame.kind == "thermal":
                bag.image(THERMAL_TOPIC, frame.image, frame.stamp_ns, THERMAL_FRAME_ID)
            else:
                data = encode_jpeg(frame.image, JPEG_QUALITY)
                topic = f"{RGB_TOPIC}/compressed"
                bag.compressed_image(topic, data, "jpeg", frame.stamp_ns, RGB_FRAME_ID)
            frames += 1
    return frames


def random_homography(
    rng: np.random.Generator,
    thermal_height_width_px: tuple[int, int],
    rgb_height_width_px: tuple[int, int],
    *,
    wider: tuple[float, float] = (1.1, 1.3),
    degrees: float = 3.0,
    shift: float = 0.05,
    perspective: float = 0.04,
) -> Matrix:
    """RGB pixel -> thermal pixel: the RGB view is `wider` times the thermal one, turned by up to `degrees`, shifted by
    up to `shift` of the frame, and its scale changes by up to `perspective` from one edge to the other."""
    (height, width), (rgb_height, rgb_width) = thermal_height_width_px, rgb_height_width_px
    scale = rng.uniform(*wider) * width / rgb_width
    angle = np.radians(rng.uniform(-degrees, degrees))
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    turned = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]])
    tilt = np.eye(3)
    tilt[2, :2] = rng.uniform(-perspective, perspective, 2) / (rgb_width, rgb_height)
    to_middle = np.array([[1, 0, -rgb_width / 2], [0, 1, -rgb_height / 2], [0, 0, 1]])
    x, y = (0.5 + rng.uniform(-shift, shift, 2)) * (width, height)
    return np.asarray(np.array([[1, 0, x], [0, 1, y], [0, 0, 1]]) @ turned @ tilt @ to_middle, np.float64)


class _Path:
    """A smooth random way of the thermal window over a picture."""

    def __init__(self, rng: np.random.Generator, pan: Pan) -> None:
        self._pan = pan
        # slow turns of the vehicle, and the shake of the road
        self._hertz = np.concatenate([rng.uniform(0.08, 0.5, (4, 3)), rng.uniform(1.0, 3.0, (4, 2))], axis=1)
        self._phase = rng.uniform(0, 2 * np.pi, (4, 5))
        self._share = np.array([0.4, 0.3, 0.25, 0.03, 0.02])

    def view(self, second: float) -> Matrix:
        """float64 [3, 3]: thermal pixel -> picture pixel, less the middle of the picture."""
        sway = (self._share * np.sin(2 * np.pi * self._hertz * second + self._phase)).sum(1)
        x, y = sway[0] * self._pan.sway_px[0], sway[1] * self._pan.sway_px[1]
        moves = self._pan.sway_px != (0, 0)
        turn, zoom = (0.03 * sway[2], np.exp(0.05 * sway[3])) if moves else (0.0, 1.0)
        height, width = self._pan.thermal_height_width_px
        cosine, sine = zoom * np.cos(turn), zoom * np.sin(turn)
        turned = np.array([[cosine, -sine, x], [sine, cosine, y], [0, 0, 1]])
        return np.asarray(turned @ np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]]), np.float64)


def _seen(picture: ImageArray, view: Matrix, height_width_px: tuple[int, int]) -> NDArray[np.float32]:
    """What a camera of this size sees of the picture; mirrored where it looks beyond the edge."""
    height, width = picture.shape[:2]
    from_middle = np.array([[1, 0, width / 2], [0, 1, height / 2], [0, 0, 1]])
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = np.linalg.inv(half) @ from_middle @ view @ half
    size = (height_width_px[1], height_width_px[0])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpPerspective(picture, matrix, size, flags=flags, borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)


def _noisy(image: NDArray[np.float32], noise: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8]:
    """With noise from a random place of the field `noise`, alike in all channels; a field for each would take long."""
    height, width = image.shape[:2]
    down, right = rng.integers(0, (_NOISE_PX - height, _NOISE_PX - width), endpoint=True)
    patch = noise[down : down + height, right : right + width]
    return np.asarray((image + (patch if image.ndim == 2 else patch[:, :, None])).round().clip(0, 255), np.uint8)


def shapes(seed: int, height_px: int = 220, width_px: int = 280) -> tuple[np.ndarray, np.ndarray]:
    """Thermal uint8 [H, W] and RGB uint8 [H, W, 3]: boxes, discs, poles, each of a grey and a colour of its own."""
    rng = np.random.default_rng(seed)
    thermal = np.full((height_px, width_px), 90, np.uint8)
    rgb = np.full((height_px, width_px, 3), 110, np.uint8)
    for number in range(60):
        x, y = int(rng.integers(0, width_px)), int(rng.integers(0, height_px))
        grey = int(rng.integers(20, 240))
        colour = tuple(int(value) for value in rng.integers(10, 250, 3))
        wide, high = (int(side) for side in rng.integers(8, 36, 2))
        for picture, value in ((thermal, grey), (rgb, colour)):
            if number % 3 == 0:
                cv2.circle(picture, (x, y), wide // 2, value, -1)
            else:
                cv2.rectangle(picture, (x, y), (x + wide, y + (high if number % 3 == 1 else 3 * high)), value, -1)
    return thermal, rgb


def small_pan(seed: int, **changes: object) -> Pan:
    """A Pan of small pictures and a random homography; `changes`: its fields."""
    homography = random_homography(np.random.default_rng(seed), THERMAL_PX, RGB_PX, wider=(1.05, 1.2))
    fields: dict[str, object] = {
        "homography": homography,
        "thermal_height_width_px": THERMAL_PX,
        "rgb_height_width_px": RGB_PX,
        "thermal_hz": 20.0,
        "rgb_hz": 20.0,
        "seconds_per_shot": 5.0,
        "sway_px": (30.0, 22.0),
        "seed": seed,
    }
    return Pan(**{**fields, **changes})  # type: ignore[arg-type]
