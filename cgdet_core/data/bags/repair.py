"""A whole bag of what can be read of a damaged one, for everything that refuses damaged bags."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from cgdet_core.data.bags.images import raw_image
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.salvage_parts import Loss
from cgdet_core.data.bags.types import IMAGE, IMAGE_TYPES
from cgdet_core.data.bags.write import BagWriter
from cgdet_core.errors import InputError
from cgdet_core.files import replacing
from cgdet_core.thermal import ENCODINGS

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

_PICTURE_STARTS = (b"\xff\xd8", b"\x89PNG")

Write = Callable[["Connection", int, bytes], None]


def repair_bag(
    path: Path, out: Path, overwrite: bool = False, progress: bool = True
) -> tuple[dict[str, int], list[Loss]]:
    """Write all messages of the bag `path` that can be read to a new bag, as they were recorded, in order of time.

    A rosbag2 becomes a rosbag2 folder (mcap), a ROS 1 bag a .bag file. Messages that are none are left
    out, and images that cgdet could decode were they whole. Returns topic -> messages written, and what
    is lost. InputError where nothing can be read and where `out` is taken or cannot be written.
    """
    if out.resolve() == path.resolve():
        raise InputError(f"{out}: is the damaged bag itself: choose another place for the new one")
    with BagReader(path, "read") as bag:
        if bag.storage != "ros1":
            with BagWriter(out, overwrite=overwrite) as writer:
                written = _copy(bag, writer.copy, progress)
        else:
            written = _repair_ros1(bag, out, overwrite, progress)
        return written, bag.losses


def _repair_ros1(bag: BagReader, out: Path, overwrite: bool, progress: bool) -> dict[str, int]:
    from rosbags.rosbag1 import Writer

    if out.suffix != ".bag":
        raise InputError(f"{out}: a ROS 1 bag becomes a .bag file: give it that suffix")
    if out.exists() and not overwrite:
        raise InputError(f"{out}: exists already: choose another place, or overwrite it with --overwrite")
    connections: dict[tuple[str, str], Any] = {}
    with replacing(out) as partial, Writer(partial) as writer:

        def write(connection: Connection, record_time_ns: int, data: bytes) -> None:
            key = (connection.topic, connection.msgtype)
            if key not in connections:
                text, digest = connection.msgdef.data, connection.digest
                connections[key] = writer.add_connection(*key, msgdef=text, md5sum=digest)
            writer.write(connections[key], record_time_ns, data)

        return _copy(bag, write, progress)


def _copy(bag: BagReader, write: Write, progress: bool) -> dict[str, int]:
    """Topic -> messages written."""
    written = dict.fromkeys(bag.topics, 0)
    items = bag.serialised(list(bag.topics))
    for connection, record_time_ns, data in tqdm(items, unit="message", disable=None if progress else True):
        if _is_whole(bag, connection, record_time_ns, data):
            write(connection, record_time_ns, data)
            written[connection.topic] = written.get(connection.topic, 0) + 1
    return written


def _is_whole(bag: BagReader, connection: Connection, record_time_ns: int, data: bytes) -> bool:
    """Whether the message is one of its type, and its image one that can be decoded; names it where it is not."""
    with suppress(InputError):
        item = bag.deserialised(connection, record_time_ns, data)
        if item is None:
            return False
        if item.type in IMAGE_TYPES:
            image = raw_image(item.message, item.type, item.topic, record_time_ns)
            known = (
                image.encoding in ENCODINGS if item.type == IMAGE else bytes(image.data[:4]).startswith(_PICTURE_STARTS)
            )
            try:
                if known:
                    image.decode()
            except InputError as error:
                bag.lose(item.topic, f"holds images that cannot be decoded: {error}", record_time_ns)
                return False
    return True  # what nothing defines is taken as it is
