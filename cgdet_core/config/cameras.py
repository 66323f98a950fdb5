"""What a camera's frames look like, by one word: config/cameras/NAME.yaml, facts of its maker's documents."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from pydantic import Field

from cgdet_core.config.reading import read_mapping, settings_from_mapping
from cgdet_core.config.settings import Settings
from cgdet_core.errors import check_known
from cgdet_core.files import shipped_places


class CameraConfig(Settings):
    """A key that is left out says nothing: the frames may be any."""

    height_width_px: tuple[int, int] | None = Field(None, description="of a frame as it comes, telemetry included")
    encodings: tuple[str, ...] = Field((), description="of sensor_msgs/Image that a driver may publish it in")
    telemetry_rows: int = Field(0, description="rows that are no picture, at the bottom (> 0) or at the top (< 0)")

    def gives(self, kind: str) -> bool:
        """Whether a frame may be of it; kind: its size and encoding or format, such as "640x512 mono16"."""
        size, _, encoding = kind.partition(" ")
        of_size = self.height_width_px is None or size == f"{self.height_width_px[1]}x{self.height_width_px[0]}"
        return of_size and (not self.encodings or any(each in encoding for each in self.encodings))


@cache
def load_camera(name: str) -> CameraConfig:
    """The camera of that name, or, for an empty one, any. InputError for a name that there is none of."""
    if not name:
        return CameraConfig()
    files = {path.stem: path for place in shipped_places(Path("config", "cameras")) for path in place.glob("*.yaml")}
    check_known("", "camera", [name], sorted(files), "or give the rows of telemetry themselves")
    return settings_from_mapping(CameraConfig, read_mapping(files[name]), str(files[name]))
