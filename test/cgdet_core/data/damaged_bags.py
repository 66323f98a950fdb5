"""Ten frames in bags put together byte by byte, and what is read of them when they are broken."""

from __future__ import annotations

import bag_bytes as by_hand
import numpy as np

from cgdet_core.data.bags.frames import BagReader, read_labelled_frames
from cgdet_core.errors import InputError

START = 1_700_000_000_000_000_000
STEP = 100_000_000
TOPIC = "/thermal/image_raw"
COUNTS = [np.full((20, 30), 1000 * index, np.uint16) + np.arange(30, dtype=np.uint16) for index in range(10)]
ROWS = [by_hand.image(TOPIC, START + index * STEP, counts, "mono16") for index, counts in enumerate(COUNTS)]
FILES = {"mcap": ("a.mcap", by_hand.mcap), "ros1": ("a.bag", by_hand.ros1)}


def read(path):
    """(indices of the frames that are read, what is named or why it is refused).

    Every frame that is read is as it was packed.
    """
    frames, losses, refusal = samples_of(path)
    if refusal:
        return [], [refusal]
    indices = []
    for sample in frames:
        index = int(sample.frame.image[0, 0]) // 1000
        assert np.array_equal(sample.frame.image, COUNTS[index])
        assert sample.frame.stamp_ns == ROWS[index].stamp_ns
        indices.append(index)
    return indices, losses


def bytes_read(path, data):
    path.write_bytes(data)
    return read(path)[0]


def samples_of(path, topic=TOPIC):
    """(samples, what is named, why it is refused): the last where nothing can be read."""
    losses = []
    try:
        samples = list(read_labelled_frames(path, topic, damaged="read", losses=losses))
    except InputError as error:
        return [], [], str(error)
    return samples, [str(loss) for loss in losses], ""


def broken(data, at, new):
    return data[:at] + new + data[at + len(new) :]


def split_bag(folder, storage="mcap"):
    """Three files of 4, 4 and 2 messages."""
    folder.mkdir()
    parts = [ROWS[:4], ROWS[4:8], ROWS[8:]]
    suffix = {"mcap": "mcap", "sqlite3": "db3"}[storage]
    files = [(f"drive_{number}.{suffix}", part) for number, part in enumerate(parts)]
    for name, part in files:
        if storage == "mcap":
            (folder / name).write_bytes(by_hand.mcap(part, "zstd").data)
        else:
            by_hand.sqlite(folder / name, part)
    return by_hand.metadata(folder, storage, files)


def times(path, topic, damaged="refuse"):
    with BagReader(path, damaged) as bag:
        return [item.record_time_ns for item in bag.messages([topic])]
