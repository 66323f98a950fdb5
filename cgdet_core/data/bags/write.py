"""Writes a rosbag2: beside its place, then renamed, so that nothing half written is ever found there."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from cgdet_core.data.bags.truth import FRAME_INFO_SUFFIX, FrameInfo, frame_info_message, truth_message
from cgdet_core.data.bags.types import CAMERA_INFO, COMPRESSED_IMAGE, DETECTIONS, FRAME_INFO, IMAGE, header, typestore
from cgdet_core.errors import InputError
from cgdet_core.types import GroundTruth, ImageArray, check_image

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

Storage = Literal["mcap", "sqlite3"]
_METADATA_VERSION: Literal[8] = 8  # read by Iron, Jazzy and later
_URI_CHARACTERS = "?#%"
_NO_HASH = "unknown"  # the writer wants one; readers check those that begin with RIHS01_


class BagWriter:
    """A rosbag2 folder at `out`; a context manager.

    The bag appears at `out` when the block ends without an error; after an error or Ctrl-C nothing is
    left. overwrite: a bag at `out` is replaced, at the end; anything else there never is. Record times
    are the header stamps. Raises InputError from the constructor for an `out` that is taken or cannot
    be, and where writing fails (disk full, no permission).
    """

    def __init__(self, out: Path | str, storage: Storage = "mcap", overwrite: bool = False) -> None:
        self.out = Path(out)
        self.overwrite = overwrite
        if storage not in ("mcap", "sqlite3"):
            raise InputError(f"storage '{storage}' is none that cgdet writes: use mcap or sqlite3")
        self.storage = storage
        if storage == "sqlite3" and any(character in str(self.out) for character in _URI_CHARACTERS):
            raise InputError(f"{self.out}: the path of a sqlite3 bag cannot hold any of {_URI_CHARACTERS}: rename it")
        self._check_free()
        self._connections: dict[str, Any] = {}
        self._folder: Path | None = None
        self._writer: Any = None

    def _check_free(self) -> None:
        if not self.out.name or self.out.name == "..":
            raise InputError(f"{self.out}: is not a name for a bag: give the folder to make")
        if not (self.out.exists() or self.out.is_symlink()):
            return
        if not self.overwrite:
            raise InputError(f"{self.out}: exists already: choose another folder, or overwrite it with --overwrite")
        if self.out.is_symlink() or not (self.out / "metadata.yaml").is_file():
            raise InputError(f"{self.out}: is not a bag folder and is not overwritten: choose another folder")

    def __enter__(self) -> BagWriter:
        from rosbags.rosbag2 import StoragePlugin, Writer

        plugin = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}[self.storage]
        try:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            self._folder = Path(tempfile.mkdtemp(prefix=f".{self.out.name}.", suffix=".partial", dir=self.out.parent))
            self._writer = Writer(self._folder / self.out.name, version=_METADATA_VERSION, storage_plugin=plugin)
            self._writer.open()
        except OSError as error:
            self._discard()
            raise InputError(f"{self.out}: cannot be written ({error.strerror}): choose another folder") from None
        except BaseException:
            self._discard()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if exc_type is None:
                self._writer.close()
                self._publish()
            else:
                self._writer.abort()
        except OSError as error:
            raise _write_error(self.out, error) from None
        except sqlite3.Error as error:
            raise _write_error(self.out, error) from None
        finally:
            self._discard()

    def _publish(self) -> None:
        assert self._folder is not None
        self._check_free()  # somebody may have been quicker
        previous = self._folder / "previous"
        if self.out.exists():
            self.out.rename(previous)
        try:
            (self._folder / self.out.name).rename(self.out)
        except BaseException:
            if previous.exists():
                previous.rename(self.out)
            raise

    def _discard(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _write(self, topic: str, message: Any, message_type: str, stamp_ns: int) -> None:
        self._write_data(topic, typestore().serialize_cdr(message, message_type), message_type, stamp_ns)

    def _write_data(self, topic: str, data: bytes | memoryview, message_type: str, record_time_ns: int) -> None:
        try:
            if topic not in self._connections:
                self._connections[topic] = self._writer.add_connection(topic, message_type, typestore=typestore())
            self._writer.write(self._connections[topic], record_time_ns, data)
        except (OSError, sqlite3.Error) as error:
            raise _write_error(self.out, error) from None

    def copy(self, connection: Connection, record_time_ns: int, data: bytes) -> None:
        """A message of another bag as it was recorded there, serialised in CDR."""
        key = f"{connection.topic} {connection.msgtype}"
        try:
            if key not in self._connections:
                defined: dict[str, Any] = {"msgdef": connection.msgdef.data, "rihs01": connection.digest or _NO_HASH}
                if not defined["msgdef"] and connection.msgtype in typestore().fielddefs:
                    defined = {"typestore": typestore()}
                defined["offered_qos_profiles"] = getattr(connection.ext, "offered_qos_profiles", [])
                self._connections[key] = self._writer.add_connection(connection.topic, connection.msgtype, **defined)
            self._writer.write(self._connections[key], record_time_ns, data)
        except (OSError, sqlite3.Error) as error:
            raise _write_error(self.out, error) from None

    def detections(self, topic: str, data: bytes, record_time_ns: int) -> None:
        """A vision_msgs/Detection2DArray, serialised in CDR."""
        self._write_data(topic, data, DETECTIONS, record_time_ns)

    def image(self, topic: str, image: ImageArray, stamp_ns: int, frame_id: str) -> None:
        """A sensor_msgs/Image: mono8 or mono16 for uint8/uint16 [H, W], rgb8 for uint8 [H, W, 3]."""
        check_image(image)
        encoding = "rgb8" if image.ndim == 3 else {1: "mono8", 2: "mono16"}[image.dtype.itemsize]
        pixels = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("<"))
        message = typestore().types[IMAGE](
            header=header(stamp_ns, frame_id),
            height=image.shape[0],
            width=image.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=pixels.strides[0],
            data=pixels.reshape(-1).view(np.uint8),
        )
        self._write(topic, message, IMAGE, stamp_ns)

    def compressed_image(self, topic: str, data: bytes, compressed_format: str, stamp_ns: int, frame_id: str) -> None:
        """A sensor_msgs/CompressedImage; compressed_format as image_transport writes it: jpeg or png."""
        message = typestore().types[COMPRESSED_IMAGE](
            header=header(stamp_ns, frame_id), format=compressed_format, data=np.frombuffer(data, np.uint8)
        )
        self._write(topic, message, COMPRESSED_IMAGE, stamp_ns)

    def camera_info(
        self, topic: str, focal_px: float, height_width_px: tuple[int, int], stamp_ns: int, frame_id: str
    ) -> None:
        """A sensor_msgs/CameraInfo of a pinhole without distortion whose axis meets the middle of the picture.

        Its pixels are counted from the centre of the first one, half a pixel from where cgdet counts.
        """
        height, width = height_width_px
        x, y = (width - 1) / 2, (height - 1) / 2
        k = np.array([focal_px, 0, x, 0, focal_px, y, 0, 0, 1], np.float64)
        types = typestore().types
        message = types[CAMERA_INFO](
            header=header(stamp_ns, frame_id),
            height=height,
            width=width,
            distortion_model="plumb_bob",
            d=np.zeros(5, np.float64),
            k=k,
            r=np.eye(3, dtype=np.float64).reshape(-1),
            p=np.insert(k, [3, 6, 9], 0.0),
            binning_x=0,
            binning_y=0,
            roi=types["sensor_msgs/msg/RegionOfInterest"](x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
        )
        self._write(topic, message, CAMERA_INFO, stamp_ns)

    def truth(
        self,
        topic: str,
        truth: GroundTruth,
        class_names: Sequence[str],
        stamp_ns: int,
        frame_id: str,
        info: FrameInfo | None = None,
    ) -> None:
        """The labels of one image, which must bear the same stamp and frame_id; `info` on topic/frame_info."""
        self._write(topic, truth_message(truth, class_names, stamp_ns, frame_id), DETECTIONS, stamp_ns)
        if info is not None:
            message = frame_info_message(info, stamp_ns, frame_id)
            self._write(topic + FRAME_INFO_SUFFIX, message, FRAME_INFO, stamp_ns)


def encode_jpeg(rgb: ImageArray, quality: int) -> bytes:
    """uint8 [H, W, 3] in RGB order, or uint8 [H, W] -> JPEG; quality 1 to 100."""
    check_image(rgb)
    if rgb.dtype != np.uint8:
        raise InputError(f"an image of type {rgb.dtype} cannot become a JPEG: give 8 bits per channel")
    pixels = np.ascontiguousarray(rgb[:, :, ::-1] if rgb.ndim == 3 else rgb)
    written, data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not written:
        raise InputError(f"an image of shape {list(rgb.shape)} cannot become a JPEG: sides may have 65535 pixels")
    return data.tobytes()


def _write_error(out: Path, error: Exception) -> InputError:
    reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
    return InputError(f"{out}: writing failed ({reason}): check the disk's space and the permissions")
