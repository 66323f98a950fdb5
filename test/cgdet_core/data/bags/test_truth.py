"""Labels in bags: matched by header stamp, whatever the order; classes by name, number or mapping."""

from __future__ import annotations

import math
from types import SimpleNamespace as Namespace

import numpy as np
import pytest

from cgdet_core.data.bags.frames import read_labelled_frames
from cgdet_core.data.bags.truth import truth_from_message, truth_message
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


def test_a_frame_without_labels_is_not_a_frame_with_nothing_to_find(tmp_path, ros2):
    rows = [image_row(ros2, 1, 1), image_row(ros2, 2, 2), truth_row(ros2, 3, 2, [])]
    first, second = read_labelled_frames(ros2.write(tmp_path / "bag", rows))
    assert first.truth is None
    assert second.truth is not None
    assert len(second.truth) == 0


def test_a_stamp_one_nanosecond_off_is_another_frame(tmp_path, ros2):
    rows = [image_row(ros2, 1, 100), image_row(ros2, 2, 200), truth_row(ros2, 1, 101, []), truth_row(ros2, 2, 200, [])]
    samples = list(read_labelled_frames(ros2.write(tmp_path / "bag", rows)))
    assert [sample.truth is None for sample in samples] == [True, False]


def test_labels_that_fit_no_image_at_all_are_refused(tmp_path, ros2):
    rows = [image_row(ros2, 1, 100), truth_row(ros2, 1, 101, [])]
    with pytest.raises(InputError, match=r"/ground_truth: none of its 1 labelled stamps.*header"):
        list(read_labelled_frames(ros2.write(tmp_path / "bag", rows)))


def test_two_arrays_for_one_image_are_refused(tmp_path, ros2):
    rows = [image_row(ros2, 1, 100), truth_row(ros2, 1, 100, []), truth_row(ros2, 2, 100, [])]
    with pytest.raises(InputError, match="/ground_truth, labels of stamp 100 ns: there are several"):
        list(read_labelled_frames(ros2.write(tmp_path / "bag", rows)))


def test_a_bag_without_labels_gives_frames_without_truth(tmp_path, ros2):
    (sample,) = read_labelled_frames(ros2.write(tmp_path / "bag", [image_row(ros2, 1, 100)]))
    assert sample.truth is None
    assert sample.light is None


def test_a_bag_without_labels_is_refused_where_they_are_needed_with_the_topics_that_were_not_taken(tmp_path, ros2):
    with pytest.raises(InputError, match=r"bag: has no topic of labels: name one, .*cgdet-replay shows what is found"):
        list(read_labelled_frames(ros2.write(tmp_path / "bag", [image_row(ros2, 1, 100)]), need_labels=True))
    rows = [image_row(ros2, 1, 100), ("/detections", DETECTIONS, 2, ros2.truth([], 100))]
    with pytest.raises(InputError, match=r"no topic of labels \(/detections .*named like a detector's output\)"):
        list(read_labelled_frames(ros2.write(tmp_path / "other", rows), need_labels=True))


def test_a_class_map_onto_no_class_is_told_as_what_it_is(tmp_path, ros2):
    with pytest.raises(InputError, match=r"^--class-map person=human: class 'human' is none of the classes"):
        labelled(ros2, tmp_path / "bag", [("ignore:person", 9, 9, 2, 2)], class_map={"person": "human"})


def test_names_are_unique_even_where_stamps_are_not(tmp_path, ros2):
    rows = [image_row(ros2, record, stamp) for record, stamp in [(1, 0), (2, 0), (3, 5), (4, 0)]]
    names = [sample.name for sample in read_labelled_frames(ros2.write(tmp_path / "bag", rows))]
    assert names == ["/ir@0", "/ir@0#2", "/ir@5", "/ir@0#3"]


def test_class_ids_may_be_names_or_numbers(tmp_path, ros2):
    truth = labelled(ros2, tmp_path / "bag", [("car", 9, 9, 2, 2), ("0", 9, 9, 2, 2), ("1", 9, 9, 2, 2)])
    assert truth.class_ids.tolist() == [2, 0, 1]
    assert not truth.ignore.any()


@pytest.mark.parametrize("class_id", ["dog", "3", "-1", "", "ignore:dog", "²"])
def test_an_unknown_class_is_refused_with_its_topic_and_the_remedy(tmp_path, ros2, class_id):
    with pytest.raises(InputError) as caught:
        labelled(ros2, tmp_path / "bag", [(class_id, 9, 9, 2, 2)])
    message = str(caught.value)
    assert "/ground_truth" in message
    assert f"'{class_id.removeprefix('ignore:')}'" in message
    assert "--class-map" in message
    assert "\n" not in message


def test_classes_are_mapped_and_ignored(tmp_path, ros2):
    labels = [("van", 9, 9, 2, 2), ("ignore:bicycle", 9, 9, 4, 4), ("dog", 9, 9, 6, 6), ("ignore:van", 9, 9, 8, 8)]
    truth = labelled(ros2, tmp_path / "bag", labels, class_map={"van": "car", "dog": "ignore"})
    assert truth.class_ids.tolist() == [2, 1, 0, 1, 2, 2]
    assert truth.ignore.tolist() == [False, True, True, True, True, True]
    assert (truth.boxes_xyxy_px[:, 2] - truth.boxes_xyxy_px[:, 0]).tolist() == [2, 4, 6, 6, 6, 8]


def test_background_leaves_also_where_it_is_to_be_ignored(tmp_path, ros2):
    labels = [("van", 9, 9, 2, 2), ("ignore:van", 9, 9, 8, 8), ("car", 9, 9, 4, 4)]
    truth = labelled(ros2, tmp_path / "bag", labels, class_map={"van": "background"})
    assert truth.class_ids.tolist() == [2]


def test_a_rotated_label_becomes_the_upright_box_around_it(tmp_path, ros2):
    rows = [image_row(ros2, 1, 9), ("/truth", DETECTIONS, 1, ros2.truth([("car", 30, 20, 10, 4)], 9, theta=0.3))]
    (sample,) = read_labelled_frames(ros2.write(tmp_path / "bag", rows))
    corners = np.array([[-5, -2], [5, -2], [5, 2], [-5, 2]], np.float64)
    turn = np.array([[math.cos(0.3), -math.sin(0.3)], [math.sin(0.3), math.cos(0.3)]])
    turned = corners @ turn.T + [30, 20]
    expected = [*turned.min(axis=0), *turned.max(axis=0)]
    assert np.allclose(sample.truth.boxes_xyxy_px[0], expected, atol=1e-4)


@pytest.mark.parametrize("size", [(math.nan, 2.0), (-1.0, 2.0), (2.0, math.inf)])
def test_a_box_that_is_none_is_refused(tmp_path, ros2, size):
    with pytest.raises(InputError, match=r"labels of stamp 9 ns: a box is none"):
        labelled(ros2, tmp_path / "bag", [("car", 9, 9, *size)])


def test_a_label_without_a_class_is_refused(tmp_path, ros2):
    message = ros2.truth([("car", 9, 9, 2, 2)], 9)
    message.detections[0].results.clear()
    rows = [image_row(ros2, 1, 9), ("/truth", DETECTIONS, 1, message)]
    with pytest.raises(InputError, match="a label has no class"):
        list(read_labelled_frames(ros2.write(tmp_path / "bag", rows)))


def test_the_best_of_several_hypotheses_is_the_class(tmp_path, ros2):
    message = ros2.truth([("car", 9, 9, 2, 2), ("person", 9, 9, 2, 2)], 9)
    message.detections[0].results[0].hypothesis.score = 0.3
    message.detections[0].results.append(message.detections[1].results[0])
    del message.detections[1]
    rows = [image_row(ros2, 1, 9), ("/truth", DETECTIONS, 1, message)]
    (sample,) = read_labelled_frames(ros2.write(tmp_path / "bag", rows))
    assert sample.truth.class_ids.tolist() == [0]


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
