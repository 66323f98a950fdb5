"""Writes a rosbag2 (mcap): beside its place, then renamed, so that nothing half written is ever found there."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cgdet_core.data.bags import messages
from cgdet_core.data.bags.messages import header, typestore
from cgdet_core.data.bags.truth import FRAME_INFO_SUFFIX, FrameInfo, frame_info_message, truth_message
from cgdet_core.files import check_free, replacing_folder
from cgdet_core.thermal import plain_encoding
from cgdet_core.types import GroundTruth, ImageArray

_METADATA_VERSION: Literal[8] = 8  # read by Iron, Jazzy and later
_INDEX = "metadata.yaml"


class BagWriter:
    """A rosbag2 folder at `out`; a context manager.

    The bag appears at `out` when the block ends without an error; after an error or Ctrl-C nothing is left. overwrite:
    a bag at `out` is replaced, at the end; anything else there never is. Record times are the header stamps.
    Raises InputError for an `out` that is taken or cannot be, and where writing fails.
    """

    def __init__(self, out: Path | str, overwrite: bool = False) -> None:
        self.out, self.overwrite = Path(out), overwrite
        check_free(self.out, _INDEX, overwrite)
        self._connections: dict[str, Any] = {}

    def __enter__(self) -> BagWriter:
        from rosbags.rosbag2 import StoragePlugin, Writer

        with ExitStack() as stack:
            folder = stack.enter_context(replacing_folder(self.out, _INDEX, self.overwrite))
            folder.rmdir()  # rosbags makes it
            self._writer: Any = Writer(folder, version=_METADATA_VERSION, storage_plugin=StoragePlugin.MCAP)
            self._writer.open()
            stack.push(self._close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def _close(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._writer.abort()
        else:
            self._writer.close()

    def _write(self, topic: str, message: Any, message_type: str, stamp_ns: int) -> None:
        self.serialised(topic, typestore().serialize_cdr(message, message_type), message_type, stamp_ns)

    def serialised(self, topic: str, data: bytes | memoryview, message_type: str, record_time_ns: int) -> None:
        """A message in CDR."""
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, message_type, typestore=typestore())
        self._writer.write(self._connections[topic], record_time_ns, data)

    def image(self, topic: str, image: ImageArray, stamp_ns: int, frame_id: str) -> None:
        """A sensor_msgs/Image: mono8 or mono16 for uint8/uint16 [H, W], rgb8 for uint8 [H, W, 3]."""
        encoding = plain_encoding(image)
        pixels = np.ascontiguousarray(image, dtype=image.dtype.newbyteorder("<"))
        message = typestore().types[messages.IMAGE](
            header=header(stamp_ns, frame_id),
            height=image.shape[0],
            width=image.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=pixels.strides[0],
            data=pixels.reshape(-1).view(np.uint8),
        )
        self._write(topic, message, messages.IMAGE, stamp_ns)

    def compressed_image(self, topic: str, data: bytes, compressed_format: str, stamp_ns: int, frame_id: str) -> None:
        """A sensor_msgs/CompressedImage; compressed_format as image_transport writes it: jpeg or png."""
        message = typestore().types[messages.COMPRESSED_IMAGE](
            header=header(stamp_ns, frame_id), format=compressed_format, data=np.frombuffer(data, np.uint8)
        )
        self._write(topic, message, messages.COMPRESSED_IMAGE, stamp_ns)

    def camera_info(
        self, topic: str, focal_px: float, height_width_px: tuple[int, int], stamp_ns: int, frame_id: str
    ) -> None:
        """A sensor_msgs/CameraInfo of a pinhole without distortion whose axis meets the middle of the picture."""
        height, width = height_width_px
        x, y = (width - 1) / 2, (height - 1) / 2  # from the centre of the first pixel
        k = np.array([focal_px, 0, x, 0, focal_px, y, 0, 0, 1], np.float64)
        types = typestore().types
        message = types[messages.CAMERA_INFO](
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
        self._write(topic, message, messages.CAMERA_INFO, stamp_ns)

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
        self._write(topic, truth_message(truth, class_names, stamp_ns, frame_id), messages.DETECTIONS, stamp_ns)
        if info is not None:
            message = frame_info_message(info, stamp_ns, frame_id)
            self._write(topic + FRAME_INFO_SUFFIX, message, messages.FRAME_INFO, stamp_ns)
