"""A bag's thermal frames with the RGB frames that belong to them, streamed."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cgdet_core.data.registration.homography import Registration
from cgdet_core.data.registration.pairs import open_paired
from cgdet_core.errors import InputError

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
MS = 1_000_000
SIZE = (24, 32)


def thermal_row(ros2, stamp, record, value=0, size=SIZE):
    return "/thermal", IMAGE, record, ros2.image(np.full(size, value, np.uint16), "mono16", stamp)


def rgb_row(ros2, stamp, record, value=0, size=SIZE, topic="/rgb"):
    return topic, IMAGE, record, ros2.image(np.full((*size, 3), value, np.uint8), "rgb8", stamp)


def values(bag):
    """(thermal value, RGB value or None) of every frame."""
    pairs = []
    for frame in bag.frames():
        rgb = None if frame.rgb is None else int(bag.rgb_pixels(frame)[0, 0, 0])
        pairs.append((int(bag.thermal_frame(frame).image[0, 0]), rgb))
    return pairs


def shifted(offset_ns=0, tolerance_ns=5 * MS, matrix=None, rgb_size=SIZE):
    return Registration(np.eye(3) if matrix is None else matrix, SIZE, rgb_size, offset_ns, tolerance_ns)


@pytest.mark.parametrize("delay_ms", [-400, 0, 400])
def test_partners_are_found_however_far_apart_they_were_recorded(tmp_path, ros2, delay_ms):
    rows = [thermal_row(ros2, (1000 + 100 * k) * MS, (1000 + 100 * k) * MS, k) for k in range(8)]
    # every other frame has a partner, whose clock is 30 ms behind
    for k in range(0, 8, 2):
        rows.append(rgb_row(ros2, (970 + 100 * k) * MS, (1000 + 100 * k + delay_ms) * MS, 10 + k))
    path = ros2.write(tmp_path / "bag", sorted(rows, key=lambda row: row[2]))
    bag = open_paired(path, registration=shifted(30 * MS))
    assert values(bag) == [(k, 10 + k if k % 2 == 0 else None) for k in range(8)]
    assert len(bag) == 8
    assert bag.pairs is not None
    assert len(bag.pairs) == 4
    # without the offset no stamp is near enough
    assert {rgb for _, rgb in values(open_paired(path, registration=shifted()))} == {None}


def test_a_clock_that_jumps_back_leaves_every_frame_its_partner(tmp_path, ros2):
    stamps = [500, 600, 700, 100, 200, 300]
    rows = [thermal_row(ros2, stamp * MS, place * 10, place) for place, stamp in enumerate(stamps)]
    # the RGB frames were recorded in the order of their stamps
    rows += [rgb_row(ros2, stamp * MS, 1000 + stamp, stamp // 10) for stamp in sorted(stamps)]
    bag = open_paired(ros2.write(tmp_path / "bag", rows))
    assert values(bag) == [(place, stamp // 10) for place, stamp in enumerate(stamps)]


def test_every_chooses_frames_by_their_place(tmp_path, ros2):
    rows = [row for k in range(7) for row in (thermal_row(ros2, k, k, k), rgb_row(ros2, k, k, k))]
    path = ros2.write(tmp_path / "bag", rows)
    for every, places in ((3, [0, 3, 6]), (2, [0, 2, 4, 6]), (10, [0])):
        # one nanosecond apart: the tolerance of 20 ms pairs equal stamps first
        bag = open_paired(path, every=every)
        assert values(bag) == [(place, place) for place in places]
        assert [frame.number for frame in bag.frames()] == places
        assert len(bag) == len(places)
    with pytest.raises(InputError, match="every 0"):
        open_paired(path, every=0)


def test_a_bag_without_rgb_has_thermal_frames(tmp_path, ros2):
    path = ros2.write(tmp_path / "bag", [thermal_row(ros2, 1, 1, 5)])
    bag = open_paired(path)
    assert (bag.rgb_topic, bag.registration, bag.pairs) == (None, None, None)
    assert values(bag) == [(5, None)]
    with pytest.raises(InputError, match="has no RGB topic to register"):
        open_paired(path, registration=shifted())


def test_the_rgb_topic_is_the_one_in_colour_or_the_one_so_named(tmp_path, ros2):
    rows = [thermal_row(ros2, 1, 1), rgb_row(ros2, 1, 1, topic="/front/image")]
    assert open_paired(ros2.write(tmp_path / "one", rows)).rgb_topic == "/front/image"
    rows += [rgb_row(ros2, 1, 1, topic="/rgb/image"), rgb_row(ros2, 1, 1, topic="/rgb/overlay")]
    path = ros2.write(tmp_path / "named", rows)
    assert open_paired(path).rgb_topic == "/rgb/image"
    assert open_paired(path, rgb_topic="/front/image").rgb_topic == "/front/image"
    rows += [rgb_row(ros2, 1, 1, topic="/color/image")]
    path = ros2.write(tmp_path / "two", rows)
    with pytest.raises(InputError, match=r"several RGB image topics.*/color/image.*/rgb/image"):
        open_paired(path)
    for topic, said in (("/thermal", "'/thermal' is the thermal topic"), ("/nowhere", "image topic '/nowhere'")):
        with pytest.raises(InputError, match=said):
            open_paired(path, rgb_topic=topic)


def test_pictures_of_two_sizes_need_a_registration(tmp_path, ros2):
    rows = [thermal_row(ros2, 1, 1), rgb_row(ros2, 1, 1, size=(48, 64))]
    path = ros2.write(tmp_path / "bag", rows)
    with pytest.raises(InputError, match=r"/thermal and /rgb .*--registration"):
        open_paired(path)
    bag = open_paired(path, registration=shifted(matrix=np.diag([0.5, 0.5, 1]), rgb_size=(48, 64)))
    (frame,) = bag.frames()
    assert bag.rgb_pixels(frame).shape == (48, 64, 3)


def test_a_registration_of_other_cameras_is_refused(tmp_path, ros2):
    path = ros2.write(tmp_path / "bag", [thermal_row(ros2, 1, 1), rgb_row(ros2, 1, 1)])
    bag = open_paired(path, registration=shifted(rgb_size=(48, 64)))
    (frame,) = bag.frames()
    with pytest.raises(InputError, match=r"/rgb, image of stamp 1 ns: is 32x24 pixels, the registration is of 64x48"):
        bag.rgb_pixels(frame)
    bag = open_paired(path, registration=Registration(np.eye(3), (48, 64), SIZE))
    with pytest.raises(InputError, match=r"/thermal, image of stamp 1 ns: is 32x24 pixels, the registration .* 64x48"):
        bag.thermal_frame(frame)


def test_a_grey_picture_is_no_rgb(tmp_path, ros2):
    rows = [thermal_row(ros2, 1, 1), ("/grey", IMAGE, 1, ros2.image(np.zeros(SIZE, np.uint8), "mono8", 1))]
    bag = open_paired(ros2.write(tmp_path / "bag", rows), thermal_topic="/thermal", rgb_topic="/grey")
    (frame,) = bag.frames()
    with pytest.raises(InputError, match="/grey is not in colour"):
        bag.rgb_pixels(frame)


@pytest.mark.parametrize(("form", "suffix"), [("jpeg", ".jpg"), ("png", ".png")])
def test_registered_pictures_stay_the_very_bytes(tmp_path, ros2, form, suffix):
    picture = np.random.default_rng(0).integers(0, 256, (*SIZE, 3)).astype(np.uint8)
    data = cv2.imencode(suffix, picture)[1].tobytes()
    rows = [thermal_row(ros2, 1, 1), ("/rgb", COMPRESSED, 1, ros2.compressed(data, form, 1))]
    bag = open_paired(ros2.write(tmp_path / "bag", rows))
    (frame,) = bag.frames()
    registered = bag.registered_rgb(frame)
    assert registered is not None
    assert registered == (suffix, data)
    assert bag.valid is None


def test_rgb_is_laid_into_the_thermal_frame_and_its_reach_is_known(tmp_path, ros2):
    picture = np.zeros((*SIZE, 3), np.uint8)
    picture[8:16, 8:16] = 200
    rows = [thermal_row(ros2, 1, 1), ("/rgb", IMAGE, 1, ros2.image(picture, "rgb8", 1))]
    path = ros2.write(tmp_path / "bag", rows)
    bag = open_paired(path, registration=shifted(matrix=np.array([[1, 0, 10], [0, 1, 4], [0, 0, 1.0]])))
    (frame,) = bag.frames()
    registered = bag.registered_rgb(frame)
    assert registered is not None
    laid = cv2.imdecode(np.frombuffer(registered[1], np.uint8), cv2.IMREAD_COLOR)
    assert laid.shape == (*SIZE, 3)
    # ten to the right and four down
    assert laid[13:19, 19:25].min() > 180
    assert laid[:10].max() < 20
    assert bag.valid is not None
    expected = np.zeros(SIZE, np.bool_)
    expected[4:, 10:] = True
    assert (bag.valid == expected).all()


def test_by_record_times_frames_pair_whose_stamps_no_driver_set(tmp_path, ros2):
    rows = [thermal_row(ros2, 0, (100 + 100 * k) * MS, k) for k in range(4)]
    rows += [rgb_row(ros2, 7, (101 + 100 * k) * MS, 10 + k) for k in (0, 2, 3)]
    path = ros2.write(tmp_path / "bag", rows)
    bag = open_paired(path, registration=shifted(), by="record")
    assert values(bag) == [(0, 10), (1, None), (2, 12), (3, 13)]
    assert [frame.stamp_ns for frame in bag.frames()] == list(bag.stamps_ns) == [k * 100 * MS for k in (1, 2, 3, 4)]
    assert len(open_paired(path, registration=shifted(7)).pairs) == 1
