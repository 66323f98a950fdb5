"""The network that tasks share: blocks, backbone and neck; each task adds its head."""

from typing import Final

STRIDES: Final[tuple[int, int, int]] = (8, 16, 32)  # of the maps that a head takes
