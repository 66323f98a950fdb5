"""The figures against hand-worked cases and computations written another way."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from cgdet_core.boxes import xyxy_to_xywh
from cgdet_core.errors import InputError
from cgdet_core.evaluation.detection import DETECTION
from cgdet_core.evaluation.metrics.matching import EvaluatedFrame
from cgdet_core.evaluation.metrics.metrics import evaluate
from cgdet_core.types import Detections, GroundTruth

NAMES = ("person", "bicycle", "car")
PERSON, BICYCLE, CAR = 0, 1, 2


def frame(
    found: list[tuple[list[float], float, int]],
    there: list[tuple[list[float], int]],
    ignore: tuple[int, ...] = (),
    labelled: list[bool] | None = None,
    light: str | None = None,
    name: str = "frame",
) -> EvaluatedFrame:
    """A frame from (box, score, class) and (box, class); `ignore` numbers the objects that are regions."""
    found = sorted(found, key=lambda item: -item[1])
    detections = Detections(
        np.array([box for box, _, _ in found], np.float32).reshape(-1, 4),
        np.array([score for _, score, _ in found], np.float32),
        np.array([class_id for _, _, class_id in found], np.int64),
    )
    truth = GroundTruth(
        np.array([box for box, _ in there], np.float32).reshape(-1, 4),
        np.array([class_id for _, class_id in there], np.int64),
        np.array([i in ignore for i in range(len(there))], np.bool_),
        None if labelled is None else np.array(labelled, np.bool_),
    )
    return EvaluatedFrame(name, detections, truth, (512, 640), light)


def box(x: float, y: float = 0, width: float = 40, height: float = 40) -> list[float]:
    return [x, y, x + width, y + height]


def random_frames(count: int, seed: int, labelled: bool = False) -> list[EvaluatedFrame]:
    """Frames with hits of many overlaps, duplicates, false alarms and regions to ignore."""
    random = np.random.default_rng(seed)
    frames = []
    for number in range(count):
        there = []
        for _ in range(random.integers(0, 6)):
            side = float(random.choice([12, 25, 50, 80, 130]))
            x, y = random.uniform(0, 500), random.uniform(0, 380)
            there.append((box(x, y, side, side * random.uniform(0.6, 1.6)), int(random.integers(0, 3))))
        found = []
        for corners, class_id in there:
            for _ in range(random.integers(0, 3)):
                shift = random.normal(0, 0.12, 4) * (corners[2] - corners[0])
                moved = [float(value) for value in np.array(corners) + shift]
                found.append((moved, float(random.uniform(0.01, 1)), class_id if random.random() < 0.9 else 0))
        for _ in range(random.integers(0, 5)):
            corners = box(random.uniform(0, 500), random.uniform(0, 380), random.uniform(8, 90), random.uniform(8, 90))
            found.append((corners, float(random.uniform(0, 0.7)), int(random.integers(0, 3))))
        regions = tuple(i for i in range(len(there)) if random.random() < 0.15)
        marks = [bool(random.random() < 0.8) for _ in NAMES] if labelled else None
        frames.append(frame(found, there, regions, marks, light=["day", "night"][number % 2], name=str(number)))
    return frames


# ---- average precision, written again from COCO's definition -------------------------------------


def plain_iou(a: list[float], b: list[float], over_a: bool = False) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    area_a, area_b = (a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1])
    return width * height / (area_a if over_a else area_a + area_b - width * height)


def plain_events(
    frames: list[EvaluatedFrame], class_id: int, iou_threshold: float
) -> tuple[list[tuple[float, bool]], int]:
    """(score, right or wrong) of each detection of a class that counts, best first, and how many objects there are."""
    events: list[tuple[float, bool]] = []
    objects = 0
    for item in frames:
        if item.truth.labelled is not None and not item.truth.labelled[class_id]:
            continue
        mine = [i for i in range(len(item.truth)) if item.truth.class_ids[i] == class_id]
        boxes = item.truth.boxes_xyxy_px.astype(float).tolist()
        objects += sum(not item.truth.ignore[i] for i in mine)
        taken: set[int] = set()
        for corners, score, found_class in zip(
            item.detections.boxes_xyxy_px.astype(float).tolist(),
            item.detections.scores.tolist(),
            item.detections.class_ids.tolist(),
            strict=True,
        ):
            if found_class != class_id or score < 0.001:
                continue
            free = [i for i in mine if not item.truth.ignore[i] and i not in taken]
            best = max(free, key=lambda i: plain_iou(corners, boxes[i]), default=None)
            if best is not None and plain_iou(corners, boxes[best]) >= iou_threshold:
                taken.add(best)
                events.append((score, True))
            elif not any(
                item.truth.ignore[i] and plain_iou(corners, boxes[i], over_a=True) >= iou_threshold for i in mine
            ):
                events.append((score, False))
    return sorted(events, key=lambda event: -event[0]), objects


def plain_average_precision(frames: list[EvaluatedFrame], class_id: int, iou_threshold: float) -> float | None:
    """101-point interpolated average precision of one class: the mean of the best precision at recall >= r."""
    events, objects = plain_events(frames, class_id, iou_threshold)
    if objects == 0:
        return None
    hits, points = 0, []
    for number, (_, hit) in enumerate(events, start=1):
        hits += hit
        points.append((hits / objects, hits / number))
    recalls = [step / 100 for step in range(101)]
    return sum(max((p for r, p in points if r >= recall - 1e-12), default=0.0) for recall in recalls) / 101


@pytest.mark.parametrize("labelled", [False, True])
def test_average_precision_agrees_with_a_plain_computation(labelled: bool) -> None:
    frames = random_frames(60, seed=3, labelled=labelled)
    metrics = evaluate(frames, NAMES)
    for class_id, name in enumerate(NAMES):
        by_threshold = [plain_average_precision(frames, class_id, 0.5 + 0.05 * i) for i in range(10)]
        assert metrics.per_class[name]["map50"] == pytest.approx(by_threshold[0], abs=1e-6)
        assert metrics.per_class[name]["map75"] == pytest.approx(by_threshold[5], abs=1e-6)
        assert metrics.per_class[name]["map"] == pytest.approx(np.mean(by_threshold), abs=1e-6)
    assert metrics.map == pytest.approx(np.mean([metrics.per_class[name]["map"] for name in NAMES]))
    assert 0.1 < metrics.map50 < 0.9


def test_sizes_and_lights_agree_with_pycocotools_fed_the_ordinary_way(
    tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    frames = random_frames(50, seed=11)
    metrics = evaluate(frames, NAMES)
    assert capsys.readouterr().out == ""
    truths = [
        (number, int(class_id), int(ignore), xywh.astype(float).tolist())
        for number, item in enumerate(frames)
        for xywh, class_id, ignore in zip(
            xyxy_to_xywh(item.truth.boxes_xyxy_px), item.truth.class_ids, item.truth.ignore, strict=True
        )
    ]
    annotations = [
        {"id": k, "image_id": image, "category_id": kind, "bbox": xywh, "area": xywh[2] * xywh[3], "iscrowd": ignore}
        for k, (image, kind, ignore, xywh) in enumerate(truths, 1)
    ]
    results = [
        {"image_id": number, "category_id": int(class_id), "bbox": xywh.astype(float).tolist(), "score": float(score)}
        for number, item in enumerate(frames)
        for found in [item.detections.above(0.001)]
        for xywh, score, class_id in zip(xyxy_to_xywh(found.boxes_xyxy_px), found.scores, found.class_ids, strict=True)
    ]

    def stats(chosen: list[int]) -> np.ndarray:
        path = tmp_path_factory.mktemp("coco") / "truth.json"
        images = [{"id": i, "width": 640, "height": 512} for i in range(len(frames))]
        categories = [{"id": i, "name": name} for i, name in enumerate(NAMES)]
        path.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
        coco = COCO(str(path))
        evaluator = COCOeval(coco, coco.loadRes(results), "bbox")
        evaluator.params.imgIds = chosen
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
        return evaluator.stats

    whole = stats(list(range(50)))
    ours = [metrics.map, metrics.map50, metrics.map75, *(metrics.by_size[s]["map"] for s in metrics.by_size)]
    assert list(metrics.by_size) == ["small", "medium", "large"]
    assert ours == pytest.approx(list(whole[:6]), abs=1e-6)
    night = stats(list(range(1, 50, 2)))
    assert [metrics.by_light["night"][key] for key in ("map", "map50")] == pytest.approx(list(night[:2]), abs=1e-6)
    assert metrics.by_light["night"]["images"] == 25


# ---- hand-worked cases -----------------------------------------------------------------------------


def test_everything_found_exactly_scores_one() -> None:
    there = [(box(0), PERSON), (box(100), BICYCLE), (box(200), CAR)]
    metrics = evaluate([frame([(corners, 0.9, c) for corners, c in there], there)], NAMES)
    assert (metrics.map, metrics.map50, metrics.map75) == pytest.approx((1, 1, 1))
    assert metrics.duplicates_per_object["all"] == 0.0
    assert metrics.operating_point["car"]["false_alarms_per_image"] == 0.0


def test_one_of_two_found_after_a_false_alarm_is_worked_out_by_hand() -> None:
    # scores 0.9 false, 0.8 right, 1 of 2 objects: precision 1/2 up to recall 0.5, which are 51 of 101 points
    metrics = evaluate(
        [frame([(box(300), 0.9, PERSON), (box(0), 0.8, PERSON)], [(box(0), PERSON), (box(100), PERSON)])], NAMES
    )
    assert metrics.map50 == pytest.approx(0.5 * 51 / 101)
    point = metrics.operating_point["person"]
    assert (point["precision"], point["recall"], point["false_alarms_per_image"]) == (0.5, 0.5, 1.0)


def test_a_class_without_objects_is_null_and_left_out_of_the_means() -> None:
    metrics = evaluate([frame([(box(0), 0.9, PERSON), (box(300), 0.8, CAR)], [(box(0), PERSON)])], NAMES)
    assert metrics.map == pytest.approx(1)
    assert metrics.per_class["car"] == {"map": None, "map50": None, "map75": None, "truths": 0}
    assert metrics.duplicates_per_object["car"] is None
    assert metrics.log_average_miss_rate["car"] is None
    assert metrics.operating_point["car"]["false_alarms"] == 1


def test_a_region_to_ignore_counts_neither_for_nor_against() -> None:
    plain = frame([(box(0), 0.9, PERSON)], [(box(0), PERSON)])
    crowd = box(200, 0, 200, 200)
    inside = [(box(210), 0.95, PERSON), (box(260), 0.94, PERSON), (box(300, 50), 0.93, PERSON)]
    ignored = frame([*inside, (box(0), 0.9, PERSON)], [(box(0), PERSON), (crowd, PERSON)], ignore=(1,))
    unfound = frame([(box(0), 0.9, PERSON)], [(box(0), PERSON), (crowd, PERSON)], ignore=(1,))
    figures = [evaluate([item], NAMES) for item in (plain, ignored, unfound)]
    for other in figures[1:]:
        assert other.to_json() == figures[0].to_json()
    # of another class it protects nothing
    other_class = evaluate(
        [frame([*inside, (box(0), 0.9, PERSON)], [(box(0), PERSON), (crowd, CAR)], ignore=(1,))], NAMES
    )
    assert other_class.operating_point["person"]["false_alarms"] == 3


def test_a_region_of_no_known_class_holds_for_every_class() -> None:
    there = [(box(0), PERSON), (box(200, 0, 200, 200), -1)]
    metrics = evaluate([frame([(box(0), 0.8, PERSON), (box(210), 0.9, CAR)], there, ignore=(1,))], NAMES)
    assert metrics.operating_point["car"]["false_alarms"] == 0
    assert metrics.map == pytest.approx(1)


def test_a_class_that_is_not_labelled_in_a_frame_counts_neither_for_nor_against_there() -> None:
    good = frame([(box(0), 0.8, CAR), (box(100), 0.9, PERSON)], [(box(0), CAR), (box(100), PERSON)])
    persons_only = frame(
        [(box(0), 0.99, CAR), (box(200), 0.98, CAR), (box(100), 0.9, PERSON)],
        [(box(100), PERSON)],
        labelled=[True, False, False],
    )
    metrics = evaluate([good, persons_only], NAMES)
    assert metrics.map == pytest.approx(1)
    car = metrics.operating_point["car"]
    assert (car["images"], car["false_alarms"], car["recall"]) == (1, 0, 1.0)
    assert metrics.confusion["matrix"][3] == [0, 0, 0, 0]
    # labelled, the same two cars are false alarms
    assert evaluate([good, frame([(box(0), 0.99, CAR)], [(box(100), PERSON)])], NAMES).per_class["car"]["map50"] < 1


def test_duplicates_are_counted_by_hand() -> None:
    there = [(box(0), PERSON), (box(100), PERSON), (box(300), CAR)]
    found = [
        (box(0), 0.9, PERSON),
        (box(4), 0.8, PERSON),  # IoU 36/44 with a taken person: a duplicate
        (box(8), 0.7, PERSON),  # IoU 32/48: another
        (box(6), 0.2, PERSON),  # below the operating score
        (box(0), 0.6, CAR),  # of another class: a false alarm, no duplicate
        (box(200), 0.6, PERSON),  # over nothing: a false alarm
        (box(300), 0.5, CAR),
    ]
    metrics = evaluate([frame(found, there)], NAMES)
    assert metrics.duplicates_per_object == {"person": 1.0, "bicycle": None, "car": 0.0, "all": 2 / 3}
    assert metrics.operating_point["person"]["false_alarms"] == 3


def test_misses_are_binned_by_the_height_of_the_box() -> None:
    there = [(box(0, 0, 10, 10), PERSON), (box(50, 0, 10, 16), PERSON), (box(100, 0, 10, 300), CAR)]
    metrics = evaluate([frame([(there[1][0], 0.9, PERSON)], there)], NAMES)
    bins = {item["from_px"]: item for item in metrics.misses_by_height}
    assert (bins[0]["truths"], bins[0]["missed"], bins[0]["miss_rate"]) == (1, 1, 1.0)
    assert (bins[16]["truths"], bins[16]["missed"], bins[16]["miss_rate"]) == (1, 0, 0.0)
    assert bins[256]["to_px"] is None
    assert bins[256]["per_class"]["car"]["missed"] == 1
    assert bins[32]["miss_rate"] is None
    assert sum(item["truths"] for item in metrics.misses_by_height) == 3


def test_confusions_are_told_from_misses_and_false_alarms() -> None:
    there = [(box(0), PERSON), (box(100), BICYCLE), (box(200), CAR), (box(300), CAR)]
    found = [
        (box(0), 0.9, PERSON),
        (box(102), 0.8, PERSON),  # the bicycle, taken for a person
        (box(200), 0.7, CAR),
        (box(300), 0.24, CAR),  # below the operating score: missed
        (box(400), 0.6, BICYCLE),  # over nothing
        (box(1), 0.5, CAR),  # over a person that is found already: a false alarm
    ]
    confusion = evaluate([frame(found, there)], NAMES).confusion
    assert confusion["names"] == ["person", "bicycle", "car", "nothing"]
    assert confusion["matrix"] == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [0, 1, 1, 0]]


# ---- curves and thresholds ---------------------------------------------------------------------------


@pytest.mark.parametrize("labelled", [False, True])
def test_log_average_miss_rate_agrees_with_a_direct_computation(labelled: bool) -> None:
    frames = random_frames(40, seed=5, labelled=labelled)
    images = sum(item.truth.labelled is None or bool(item.truth.labelled[PERSON]) for item in frames)
    events, objects = plain_events(frames, PERSON, 0.5)
    logarithms = []
    for exponent in range(9):
        allowed = 10 ** (-2 + exponent / 4) * images
        hits = alarms = 0
        for _, right in events:
            if alarms + (not right) > allowed:
                break
            hits, alarms = hits + right, alarms + (not right)
        logarithms.append(math.log(1 - hits / objects))
    direct = math.exp(sum(logarithms) / 9)
    assert 0.05 < direct < 0.95
    assert evaluate(frames, NAMES).log_average_miss_rate["person"] == pytest.approx(direct, abs=1e-9)


def test_the_chosen_threshold_has_the_best_f1_of_all() -> None:
    frames = random_frames(30, seed=9)
    chosen, _, _ = DETECTION.choose_thresholds(frames, NAMES)

    def f1(name: str, threshold: float) -> float:
        point = evaluate(frames, NAMES, {name: threshold}).operating_point[name]
        return 2 * point["true_positives"] / (point["true_positives"] + point["false_alarms"] + point["truths"])

    best = f1("car", chosen["car"])
    assert best > f1("car", 0.9)
    for threshold in np.linspace(0.05, 0.95, 19):
        assert f1("car", float(threshold)) <= best + 1e-12


def test_a_class_never_found_keeps_the_configured_threshold() -> None:
    frames = [frame([(box(0), 0.7, PERSON), (box(300), 0.9, CAR)], [(box(0), PERSON), (box(100), CAR)])]
    chosen, metrics, warnings = DETECTION.choose_thresholds(frames, NAMES)
    assert chosen["bicycle"] == chosen["car"] == 0.25
    assert chosen["person"] == 0.699  # just below the score, 0.7 in float32
    assert metrics.operating_point["person"]["recall"] == 1.0
    (few,) = warnings
    assert "person (of 1)" in few


# ---- contract --------------------------------------------------------------------------------------


def test_json_holds_the_promised_keys_and_no_nan() -> None:
    metrics = evaluate(random_frames(5, seed=1), NAMES)
    text = json.dumps(metrics.to_json({"params": 3_150_000, "ms_per_image": {"p50": 1.0}}), allow_nan=False)
    read = json.loads(text)
    promised = "map map50 map75 per_class by_size by_light duplicates_per_object images params model_bytes ms_per_image"
    assert set(promised.split()) <= set(read)
    assert read["params"] == 3_150_000
    assert read["model_bytes"] is None


def test_average_precision_takes_the_hundred_best_of_a_frame_and_class() -> None:
    crowd = [(box(100 + i, 100), 0.5 - i / 1000, PERSON) for i in range(120)]
    there = [(box(0), PERSON), (box(0, 400), CAR)]
    frames = [frame([*crowd, (box(0), 0.1, PERSON), (box(0, 400), 0.05, CAR)], there)]
    metrics = evaluate(frames, NAMES)
    assert metrics.per_class["person"]["map"] == 0.0
    assert metrics.per_class["car"]["map"] == pytest.approx(1)


def test_a_frame_without_detections_counts_its_objects_as_missed() -> None:
    metrics = evaluate([frame([], [(box(0), PERSON)]), frame([], [])], NAMES)
    assert metrics.map == 0.0
    assert metrics.operating_point["person"]["recall"] == 0.0
    assert metrics.operating_point["person"]["precision"] is None
    assert metrics.log_average_miss_rate["person"] == 1.0


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([], "no frame"),
        ([frame([(box(0), 0.9, PERSON)], [])], "none of the 1 frames"),
        ([frame([], [(box(0), PERSON)], ignore=(0,))], "none of the 1 frames"),
        ([frame([], [(box(0), 7)], name="00012")], "00012: its labels have class 7"),
        ([frame([(box(0), 0.9, 3)], [(box(0), PERSON)], name="00012")], "00012: its detections have class 3"),
        ([frame([], [(box(0), PERSON)], labelled=[True])], "1 classes"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(frames: list[EvaluatedFrame], words: str) -> None:
    with pytest.raises(InputError, match=words) as refusal:
        evaluate(frames, NAMES)
    assert "\n" not in str(refusal.value)


# ---- calibration of scores -----------------------------------------------------------------------


def test_the_error_of_scores_by_hand() -> None:
    """Two hits at 0.9 and 0.8, a false alarm at 0.85, one at 0.32 beside a hit at 0.38; one below the least score."""
    found = [
        (box(0), 0.9, PERSON),
        (box(100), 0.8, PERSON),
        (box(300), 0.85, PERSON),
        (box(200), 0.38, PERSON),
        (box(400), 0.32, PERSON),
        (box(450), 0.05, PERSON),
    ]
    metrics = evaluate([frame(found, [(box(0), PERSON), (box(100), PERSON), (box(200), PERSON)])], NAMES)
    person = metrics.calibration["person"]
    assert [(each["from"], each["detections"]) for each in person["bins"]] == [(0.3, 2), (0.8, 2), (0.9, 1)]
    assert [each["precision"] for each in person["bins"]] == [0.5, 0.5, 1.0]
    assert [each["mean_score"] for each in person["bins"]] == pytest.approx([0.35, 0.825, 0.9])
    # two of five lie in bins that are off by 0.15, two in one off by 0.325, one is off by 0.1
    assert person["error"] == pytest.approx(0.4 * 0.15 + 0.4 * 0.325 + 0.2 * 0.1)
    assert person["detections"] == 5
    assert metrics.calibration["all"] == person
    assert metrics.calibration["car"] == {"error": None, "detections": 0, "bins": []}


def test_what_counts_neither_for_nor_against_is_no_part_of_the_calibration() -> None:
    found = [(box(0), 0.9, PERSON), (box(100), 0.9, PERSON), (box(0), 0.7, CAR)]
    there = [(box(0), PERSON), (box(100), PERSON)]
    metrics = evaluate([frame(found, there, ignore=(1,), labelled=[True, True, False])], NAMES)
    assert metrics.calibration["person"]["detections"] == 1
    assert metrics.calibration["car"]["detections"] == 0
    assert metrics.calibration["all"]["error"] == pytest.approx(0.1)
