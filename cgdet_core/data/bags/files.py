"""Where a bag lies: its files, of what kind they are, and the reader of rosbags that they need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cgdet_core.data.bags.damage import bag_errors, check_index, check_length, check_no_log
from cgdet_core.errors import InputError

if TYPE_CHECKING:
    from rosbags.rosbag1 import Reader as Rosbag1Reader
    from rosbags.rosbag2 import Reader as Rosbag2Reader

STORAGE_SUFFIXES = (".mcap", ".db3")
_URI_CHARACTERS = "?#%"  # rosbags opens sqlite3 files by an unescaped URI
_GIVE = "give a rosbag2 folder, an .mcap or .db3 file, or a ROS 1 .bag file"


class BagFiles:
    """The file or folder at `path`; InputError from the constructor where it could be no bag, be it damaged."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            raise InputError(f"{path}: no such bag: {_GIVE}")
        if path.is_dir() and not (path / "metadata.yaml").is_file() and not self._storages():
            raise InputError(
                f"{path}: is not a bag: a rosbag2 folder holds metadata.yaml and .mcap or .db3 files"
                f"{_bags_within(path)}"
            )
        if path.is_file() and path.suffix not in (*STORAGE_SUFFIXES, ".bag"):
            raise InputError(f"{path}: is not a bag: {_GIVE}")

    @property
    def storage(self) -> str:
        """mcap, sqlite3 or ros1."""
        if self.is_ros1:
            return "ros1"
        return "mcap" if self._holds(".mcap") else "sqlite3"

    @property
    def is_ros1(self) -> bool:
        return self.path.suffix == ".bag" and self.path.is_file()  # a rosbag2 folder may be named something.bag

    @property
    def size_bytes(self) -> int:
        """Bytes of all its files."""
        return sum(entry.stat().st_size for entry in self._files())

    def _files(self) -> list[Path]:
        if self.path.is_dir():
            return sorted(entry for entry in self.path.iterdir() if entry.is_file())
        return [self.path]

    def _storages(self) -> list[Path]:
        """The storage files; compressed ones have a suffix more."""
        return [entry for entry in self._files() if {*entry.suffixes[-2:]} & {*STORAGE_SUFFIXES}]

    def _holds(self, suffix: str) -> bool:
        return any(suffix in entry.suffixes for entry in self._files())

    def reader(self) -> Rosbag1Reader | Rosbag2Reader:
        """To be opened; InputError where the bag has no index, or one that is damaged or of other files."""
        from rosbags.rosbag1 import Reader as Rosbag1Reader
        from rosbags.rosbag2 import Reader as Rosbag2Reader

        path = self.path
        if path.is_dir() and not (path / "metadata.yaml").is_file():
            raise InputError(
                f"{path}: metadata.yaml is missing (recording cut short?): run `ros2 bag reindex {path}`, "
                f"or give the file in it, {self._storages()[0].name}"
            )
        if path.is_dir():
            check_index(path)
        if self._holds(".db3") and any(character in str(path) for character in _URI_CHARACTERS):
            raise InputError(f"{path}: the path of a sqlite3 bag cannot hold any of {_URI_CHARACTERS}: rename it")
        with bag_errors(path):
            return Rosbag1Reader(path) if self.is_ros1 else Rosbag2Reader(path)

    def check_whole(self) -> None:
        """InputError where SQLite would not notice that a file is cut short."""
        for file in self._files():
            if file.suffix == ".db3":
                check_length(file)
                check_no_log(file)


def _bags_within(path: Path) -> str:
    inner = sorted(entry.parent.name for entry in path.glob("*/metadata.yaml"))
    return f"; it holds the bags {', '.join(inner[:5])}: give one of them" if inner else ""
