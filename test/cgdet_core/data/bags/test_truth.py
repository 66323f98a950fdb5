"""Labels in bags: matched by header stamp, whatever the order; classes by name, number or mapping."""

from __future__ import annotations

import math
from types import SimpleNamespace as Namespace

import numpy as np
import pytest

from cgdet_core.data.bags.frames import read_labelled_frames
from cgdet_core.data.bags.messages import FRAME_INFO
from cgdet_core.data.bags.truth import FrameInfo, frame_info_message, truth_from_message, truth_message
from cgdet_core.errors import InputError
from cgdet_core.types import GroundTruth

IMAGE = "sensor_msgs/msg/Image"
DETECTIONS = "vision_msgs/msg/Detection2DArray"
NAMES = ("person", "bicycle", "car")
PIXELS = np.zeros((48, 64), np.uint8)


def image_row(ros2, record_ns, stamp_ns, topic="/ir"):
    return topic, IMAGE, record_ns, ros2.image(PIXELS, "mono8", stamp_ns)


def truth_row(ros2, record_ns, stamp_ns, labels, topic="/ground_truth"):
    return topic, DETECTIONS, record_ns, ros2.truth(labels, stamp_ns)


def labelled(ros2, path, labels, **arguments):
    """The ground truth read back from a bag of one frame with `labels`."""
    (sample,) = read_labelled_frames(
        ros2.write(path, [image_row(ros2, 1, 9), truth_row(ros2, 1, 9, labels)]), **arguments
    )
    return sample.truth


def test_labels_recorded_long_before_or_after_their_image_find_it(tmp_path, ros2):
    rows = [truth_row(ros2, 1, 300, [("car", 30, 20, 10, 8)])]
    rows += [image_row(ros2, 10 + k, 100 * (k + 1)) for k in range(4)]
    rows += [truth_row(ros2, 90, 100, [("person", 10, 20, 4, 8), ("bicycle", 12, 22, 6, 4)])]
    rows += [truth_row(ros2, 91, 200, [])]
    samples = list(read_labelled_frames(ros2.write(tmp_path / "bag", rows)))
    assert [sample.frame.stamp_ns for sample in samples] == [100, 200, 300, 400]
    assert samples[0].truth.class_ids.tolist() == [0, 1]
    assert samples[0].truth.boxes_xyxy_px.tolist() == [[8, 16, 12, 24], [9, 20, 15, 24]]
    assert samples[2].truth.boxes_xyxy_px.tolist() == [[25, 16, 35, 24]]


def test_a_stamp_one_nanosecond_off_is_another_frame(tmp_path, ros2):
    rows = [image_row(ros2, 1, 100), image_row(ros2, 2, 200), truth_row(ros2, 1, 101, [])]
    first, second = read_labelled_frames(ros2.write(tmp_path / "bag", [*rows, truth_row(ros2, 2, 200, [])]))
    assert first.truth is None
    assert second.truth is not None
    assert len(second.truth) == 0
    with pytest.raises(InputError, match="/ground_truth: none of its 1"):
        list(read_labelled_frames(ros2.write(tmp_path / "none", rows)))
    with pytest.raises(InputError, match="/ground_truth, labels of stamp 101 ns"):  # two arrays of one stamp
        list(read_labelled_frames(ros2.write(tmp_path / "two", [*rows, truth_row(ros2, 2, 101, [])])))


def test_a_bag_without_labels_is_refused_where_they_are_needed_with_the_topics_that_were_not_taken(tmp_path, ros2):
    rows = [image_row(ros2, 1, 100), ("/detections", DETECTIONS, 2, ros2.truth([], 100))]
    bag = ros2.write(tmp_path / "bag", rows)
    (sample,) = read_labelled_frames(bag)
    assert (sample.truth, sample.light) == (None, None)
    with pytest.raises(InputError, match="/detections"):
        list(read_labelled_frames(bag, need_labels=True))


def test_names_are_unique_even_where_stamps_are_not(tmp_path, ros2):
    rows = [image_row(ros2, record, stamp) for record, stamp in [(1, 0), (2, 0), (3, 5), (4, 0)]]
    names = [sample.name for sample in read_labelled_frames(ros2.write(tmp_path / "bag", rows))]
    assert names == ["/ir@0", "/ir@0#2", "/ir@5", "/ir@0#3"]


def test_an_unknown_class_is_refused_with_its_topic_and_the_remedy(ros2):
    for class_id in ("dog", "3", "-1", "", "ignore:dog", "²"):
        with pytest.raises(InputError) as caught:
            truth_from_message(ros2.truth([(class_id, 9, 9, 2, 2)], 9), NAMES, {}, "/ground_truth")
        for part in ("/ground_truth", f"'{class_id.removeprefix('ignore:')}'", "--class-map"):
            assert part in str(caught.value)


def test_classes_are_names_or_numbers_and_mapped_and_ignored(tmp_path, ros2):
    labels = [("van", 9, 9, 2, 2), ("ignore:bicycle", 9, 9, 4, 4), ("dog", 9, 9, 6, 6), ("ignore:van", 9, 9, 8, 8)]
    labels += [("0", 9, 9, 10, 10), ("cat", 9, 9, 12, 12), ("ignore:cat", 9, 9, 14, 14)]
    class_map = {"van": "car", "dog": "ignore", "cat": "background"}
    truth = labelled(ros2, tmp_path / "bag", labels, class_map=class_map)
    assert truth.class_ids.tolist() == [2, 1, 0, 1, 2, 2, 0]
    assert truth.ignore.tolist() == [False, True, True, True, True, True, False]
    assert (truth.boxes_xyxy_px[:, 2] - truth.boxes_xyxy_px[:, 0]).tolist() == [2, 4, 6, 6, 6, 8, 10]
    with pytest.raises(InputError, match=r"class_map: unknown class 'human'"):
        labelled(ros2, tmp_path / "other", labels, class_map={**class_map, "dog": "human"})


def test_a_rotated_label_becomes_the_upright_box_around_it(ros2):
    truth = truth_from_message(ros2.truth([("car", 30, 20, 10, 4)], 9, theta=0.3), NAMES, {}, "here")
    corners = np.array([[-5, -2], [5, -2], [5, 2], [-5, 2]], np.float64)
    turn = np.array([[math.cos(0.3), -math.sin(0.3)], [math.sin(0.3), math.cos(0.3)]])
    turned = corners @ turn.T + [30, 20]
    assert np.allclose(truth.boxes_xyxy_px[0], [*turned.min(axis=0), *turned.max(axis=0)], atol=1e-4)


def test_a_label_without_a_box_or_a_class_is_refused(ros2):
    messages = [ros2.truth([("car", 9, 9, *size)], 9) for size in ((math.nan, 2.0), (-1.0, 2.0), (2.0, math.inf))]
    messages.append(ros2.truth([("car", 9, 9, 2, 2)], 9))
    messages[-1].detections[0].results.clear()
    for message in messages:
        with pytest.raises(InputError, match=r"^here: "):
            truth_from_message(message, NAMES, {}, "here")


def test_the_best_of_several_hypotheses_is_the_class(ros2):
    message = ros2.truth([("car", 9, 9, 2, 2), ("person", 9, 9, 2, 2)], 9)
    message.detections[0].results[0].hypothesis.score = 0.3
    message.detections[0].results.append(message.detections[1].results[0])
    del message.detections[1]
    assert truth_from_message(message, NAMES, {}, "here").class_ids.tolist() == [0]


def test_the_older_vision_msgs_are_read():
    """ROS 1: an integer id in the result itself, and a geometry_msgs/Pose2D as the centre."""
    box = Namespace(center=Namespace(x=10.0, y=20.0, theta=0.0), size_x=4.0, size_y=6.0)
    message = Namespace(detections=[Namespace(results=[Namespace(id=1, score=0.9)], bbox=box)])
    truth = truth_from_message(message, NAMES, {}, "here")
    assert truth.class_ids.tolist() == [1]
    assert truth.boxes_xyxy_px.tolist() == [[8, 17, 12, 23]]


def test_ground_truth_survives_being_written_and_read():
    rng = np.random.default_rng(3)
    low = rng.uniform(0, 500, (40, 2))
    truth = GroundTruth(
        np.concatenate([low, low + rng.uniform(0.3, 90, (40, 2))], axis=1), rng.integers(0, 3, 40), rng.random(40) < 0.2
    )
    again = truth_from_message(truth_message(truth, NAMES, 5, "camera"), NAMES, {}, "here")
    assert np.allclose(again.boxes_xyxy_px, truth.boxes_xyxy_px, atol=1e-4)
    assert again.class_ids.tolist() == truth.class_ids.tolist()
    assert again.ignore.tolist() == truth.ignore.tolist()


def test_labels_that_cannot_be_meant_are_refused_in_a_bag_as_in_a_set(tmp_path, ros2):
    for name, box in (("shares", (0.5, 0.5, 0.2, 0.4)), ("elsewhere", (640, 480, 20, 40))):
        with pytest.raises(InputError, match=r"/ground_truth: 3 of 3 boxes"):
            labelled(ros2, tmp_path / name, [("car", *box)] * 3)


def test_boxes_are_cut_to_their_frame_and_those_beyond_it_leave(tmp_path, ros2):
    labels = [("car", 30, 20, 10, 8)] * 11 + [("person", 60, 40, 20, 10), ("bicycle", 100, 90, 4, 4)]
    with pytest.warns(UserWarning, match="1 of 13 boxes have more beyond their frame than in it, 1 without any area"):
        truth = labelled(ros2, tmp_path / "bag", labels)
    assert truth.class_ids.tolist() == [2] * 11 + [0]
    assert truth.boxes_xyxy_px[-1].tolist() == [50, 35, 64, 45]


def test_classes_and_light_of_other_case_or_blanks_are_read_as_in_a_set(tmp_path, ros2):
    assert labelled(ros2, tmp_path / "bag", [("CAR ", 30, 20, 10, 8)]).class_ids.tolist() == [2]
    info = FrameInfo(light="Night ", labelled=("Car",))
    rows = [image_row(ros2, 1, 9), truth_row(ros2, 1, 9, [("person", 30, 20, 10, 8)])]
    rows.append(("/ground_truth/frame_info", FRAME_INFO, 1, frame_info_message(info, 9, "")))
    with pytest.warns(UserWarning, match="1 objects are of classes that `labelled` leaves out"):
        (sample,) = read_labelled_frames(ros2.write(tmp_path / "other", rows))
    assert (sample.light, sample.truth.labelled.tolist()) == ("night", [False, False, True])


def test_detections_taken_for_labels_are_told_by_their_scores(tmp_path, ros2):
    message = ros2.truth([("car", 9, 9, 2, 2), ("car", 20, 9, 2, 2), ("car", 30, 9, 2, 2)], 9)
    for detection, score in zip(message.detections, (0.0, 0.4, 1.0), strict=True):  # tools that set none leave 0
        detection.results[0].hypothesis.score = score
    rows = [image_row(ros2, 1, 9), ("/found", DETECTIONS, 1, message)]
    with pytest.warns(UserWarning, match="/found: 1 have a score"):
        list(read_labelled_frames(ros2.write(tmp_path / "bag", rows), truth_topic="/found"))
