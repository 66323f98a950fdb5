"""Bags in a storage of fsspec, read as local ones."""

from __future__ import annotations

from argparse import Namespace

import numpy as np
import pytest

from cgdet_core.data.bags import remote
from cgdet_core.data.bags.reader import BagReader
from cgdet_core.data.bags.write import BagWriter
from cgdet_core.errors import InputError
from cgdet_core.types import CLASS_NAMES, GroundTruth

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: pip install fsspec")
TOPICS = ("/thermal", "/rgb", "/ground_truth")


@pytest.fixture
def bag(tmp_path):
    rng = np.random.default_rng(0)
    with BagWriter(tmp_path / "bag") as writer:
        for place in range(8):
            stamp = 10**18 + place * 10**8
            writer.image("/rgb", rng.integers(0, 256, (256, 320, 3)).astype(np.uint8), stamp, "rgb")
            writer.image("/thermal", rng.integers(0, 65536, (256, 320)).astype(np.uint16), stamp, "thermal")
            writer.truth("/ground_truth", GroundTruth.empty(), CLASS_NAMES, stamp, "thermal")
    storage = fsspec.filesystem("memory")
    storage.put(str(tmp_path / "bag"), "/fleet/bag", recursive=True)
    yield tmp_path / "bag"
    storage.rm("/fleet", recursive=True)


def held(path, topics):
    with BagReader(path) as bag:
        return [(item.topic, item.record_time_ns, item.stamp_ns) for item in bag.messages(topics)], bag.size_bytes


@pytest.mark.parametrize("topics", [*((topic,) for topic in TOPICS), TOPICS])
def test_topics_are_read_as_of_a_local_bag_and_no_more_than_they(bag, topics, monkeypatch):
    from fsspec.implementations.memory import MemoryFile

    read_bytes = []
    real = MemoryFile.read

    def counting(self, *size):
        data = real(self, *size)
        read_bytes.append(len(data))
        return data

    monkeypatch.setattr(MemoryFile, "read", counting)
    with remote.local("memory://fleet/bag") as path:
        assert path.name == "bag"
        read_bytes.clear()
        assert held(path, topics) == held(bag, topics)
    assert not path.exists()
    share = {"/thermal": 0.4, "/rgb": 0.6, "/ground_truth": 0.0}
    size = (bag / "bag.mcap").stat().st_size
    assert sum(read_bytes) / size == pytest.approx(sum(share[topic] for topic in topics), abs=0.05)


def test_what_is_not_there_or_too_large_is_named_without_a_password(bag, monkeypatch):
    monkeypatch.setattr(remote.shutil, "disk_usage", lambda _: Namespace(free=1000))
    for place in ("memory://nowhere", "memory://fleet/bag"):
        with pytest.raises(InputError, match=place), remote.local(place):
            pass
    told = "s3://me:secret@host/bag and https://host/bag?Signature=secret, memory://bag"
    assert remote.masked(told) == "s3://***@host/bag and https://host/bag?*** memory://bag"
    with pytest.raises(InputError) as error, remote.local("nothing://me:secret@host/bag"):
        pass
    assert "secret" not in str(error.value)


def test_what_is_written_is_put_with_the_files_of_its_top_last(monkeypatch):
    storage = fsspec.filesystem("memory")
    put = []
    monkeypatch.setattr(type(storage), "put", lambda self, files, there: put.append(there))
    with remote.written("memory://out/set") as folder:
        (folder / "thermal").mkdir(parents=True)
        (folder / "set.json").touch()
        (folder / "thermal" / "0.png").touch()
    assert put == [["/out/set/thermal/0.png"], ["/out/set/set.json"]]
