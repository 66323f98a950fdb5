"""Labels keyed by stamp: found by their frame's header stamp, and never made up for a frame without any."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cgdet_core.data.bags.damage import BagWarning
from cgdet_core.data.bags.frames import load_stamped_labels, read_labelled_frames
from cgdet_core.errors import InputError

IMAGE = "sensor_msgs/msg/Image"
NAMES = ("person", "bicycle", "car")


def write(path, images, annotations=(), **more):
    document = {
        "images": [{"height": 48, "width": 64, **image} for image in images],
        "annotations": list(annotations),
        "categories": [{"id": number, "name": name} for number, name in enumerate(NAMES, 1)],
    }
    path.write_text(json.dumps({**document, **more}))
    return path


def bag_of(ros2, path, stamps):
    pixels = np.zeros((48, 64), np.uint8)
    return ros2.write(path, [("/ir", IMAGE, stamp, ros2.image(pixels, "mono8", stamp)) for stamp in stamps])


def test_labels_find_their_frames_by_stamp_given_as_number_or_as_name(tmp_path, ros2):
    stamp = 1_700_000_000_123_456_789  # one nanosecond more than a float can tell from its neighbour
    path = write(
        tmp_path / "labels.json",
        [{"id": 4, "file_name": "x.png", "stamp_ns": stamp}, {"id": 7, "file_name": f"frames/{stamp + 1}.png"}],
        [
            {"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [5, 6, 7, 8], "iscrowd": 1},
        ],
        unlabelled_images=[{"stamp_ns": stamp + 2, "reason": "RGB is dark"}],
    )
    bag = bag_of(ros2, tmp_path / "bag", [stamp, stamp + 1, stamp + 2])
    first, second, third = read_labelled_frames(bag, truth_topic=str(path))
    assert first.truth is not None
    assert len(first.truth) == 0
    assert second.truth is not None
    assert second.truth.boxes_xyxy_px.tolist() == [[1, 2, 4, 6], [5, 6, 12, 14]]
    assert second.truth.class_ids.tolist() == [2, 0]
    assert second.truth.ignore.tolist() == [False, True]
    assert third.truth is None


def test_light_scene_and_the_classes_of_a_frame_are_kept(tmp_path):
    images = [
        {"id": 1, "file_name": "100", "light": "night", "scene": "a"},
        {"id": 2, "file_name": "200", "labelled": ["car", "person"]},
    ]
    labels = load_stamped_labels(write(tmp_path / "labels.json", images))
    assert (labels.infos[100].light, labels.infos[100].scene) == ("night", "a")
    assert labels.truth[100].labelled is None
    assert labels.truth[200].labelled is not None
    assert labels.truth[200].labelled.tolist() == [True, False, True]


@pytest.mark.parametrize(
    "image",
    [
        {"file_name": "frame_7.png"},
        {"file_name": "7.png", "stamp_ns": "seven"},
        {"file_name": "7.png", "stamp_ns": -7},
        {"file_name": "\u0667.png"},  # a digit, of another script
        {"file_name": "8.png", "labelled": ["dog"]},
        {"file_name": "100.png"},  # the stamp of another image
    ],
)
def test_an_image_without_a_stamp_of_its_own_is_refused(tmp_path, image):
    path = write(tmp_path / "labels.json", [{"id": 1, "file_name": "100"}, {"id": 2, **image}])
    with pytest.raises(InputError, match=r"labels\.json: "):
        load_stamped_labels(path)
    with pytest.raises(InputError, match=r"none\.json: "):
        load_stamped_labels(write(tmp_path / "none.json", []))


def test_labels_of_another_topic_are_told_by_their_size_or_their_stamps(tmp_path, ros2):
    bag = bag_of(ros2, tmp_path / "bag", [100, 200])
    other_size = write(tmp_path / "size.json", [{"id": 1, "file_name": "100", "height": 480, "width": 640}])
    with pytest.raises(InputError, match=r"size\.json: .* 100 ns .*64x48.*640x480"):
        list(read_labelled_frames(bag, truth_topic=str(other_size)))
    other_stamps = write(tmp_path / "stamps.json", [{"id": 1, "file_name": "101"}])
    with pytest.raises(InputError, match=r"stamps\.json: .*/ir"):
        list(read_labelled_frames(bag, truth_topic=str(other_stamps)))


def test_labels_of_no_image_are_told(tmp_path, ros2):
    path = write(tmp_path / "labels.json", [{"id": stamp, "file_name": str(stamp)} for stamp in (1, 2, 5, 6, 7)])
    with pytest.warns(BagWarning, match="3 of its 5 stamps .* /ir"):
        samples = list(read_labelled_frames(bag_of(ros2, tmp_path / "bag", [1, 2, 3]), truth_topic=str(path)))
    assert [sample.truth is None for sample in samples] == [False, False, True]
