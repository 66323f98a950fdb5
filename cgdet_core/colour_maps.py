"""Colours for the tones of a thermal frame, as thermal cameras offer them."""

from __future__ import annotations

from functools import cache
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

ColourMap = Literal["white_hot", "black_hot", "ironbow", "inferno", "cividis"]

_BLACK, _WHITE = (0, 0, 0), (255, 255, 255)
# tone from 0 to 1, and RGB there
_RAMPS = {
    "white_hot": ((0.0, _BLACK), (1.0, _WHITE)),
    "black_hot": ((0.0, _WHITE), (1.0, _BLACK)),
    "ironbow": (  # black, indigo, magenta, orange, yellow, white
        (0.00, (0, 0, 10)),
        (0.20, (45, 0, 120)),
        (0.45, (165, 20, 150)),
        (0.65, (235, 90, 40)),
        (0.85, (255, 200, 30)),
        (1.00, (255, 255, 245)),
    ),
}
_OF_OPENCV = {"inferno": cv2.COLORMAP_INFERNO, "cividis": cv2.COLORMAP_CIVIDIS}


@cache
def colour_table(name: ColourMap) -> NDArray[np.uint8]:
    """uint8 [256, 3]: the RGB colour of each tone from cold (0) to hot (255); not to be written to.

    white_hot and black_hot are greys; ironbow, inferno and cividis (for the colour-blind) grow lighter with the heat.
    """
    tones = np.arange(256, dtype=np.uint8)
    if name in _OF_OPENCV:
        table = np.asarray(cv2.applyColorMap(tones[:, None], _OF_OPENCV[name])[:, 0, ::-1], np.uint8)
    else:
        places, colours = zip(*_RAMPS[name], strict=True)
        channels = [np.interp(tones / 255, places, channel) for channel in zip(*colours, strict=True)]
        table = np.rint(np.stack(channels, axis=1)).astype(np.uint8)
    table = np.ascontiguousarray(table)
    table.setflags(write=False)
    return table
