"""The page is whole without a network, shows what it was given, and trusts no name."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from cgdet_core.errors import InputError
from cgdet_core.evaluation.metrics.metrics import EvaluatedFrame, Metrics, evaluate
from cgdet_core.evaluation.report.page import render_report
from cgdet_core.evaluation.report.report import (
    NOT_LABELLED,
    ComparisonPart,
    Gallery,
    KeyFigure,
    LatencyTrace,
    Part,
    Picture,
    Report,
    StageTimes,
    accuracy_figures,
    write_report,
)
from cgdet_core.evaluation.report.worst import worst_frames
from cgdet_core.types import Detections, GroundTruth

STEPS = [
    {"step": name, "map50": value, "map": value / 2, "per_class": {"person": part, "car": part}, "by_light": {}}
    for name, value in (("offline", 0.7), ("thresholds", 0.65), ("drops", 0.45), ("live", 0.45))
    for part in ({"map50": value + 0.1, "map": value / 2},)
]
DIFFERENCE = {"a": 0.5, "b": 0.4, "difference": -0.1, "low": -0.15, "high": -0.05, "verdict": "worse"}
NOTHING = {**dict.fromkeys(DIFFERENCE), "verdict": "no difference shown"}
COMPARISON = {
    "words": "B is worse than A: mAP -0.1000",
    "overall": {
        "map": DIFFERENCE,
        "map50": {**DIFFERENCE, "low": None, "high": None, "verdict": "no difference shown"},
    },
    "per_class": {"person": {"map": {**DIFFERENCE, "difference": 0.1, "low": 0.01, "high": 0.2, "verdict": "better"}}},
    "by_light": {"night": {"map": NOTHING}},
}
NASTY = '<script>alert("x")</script> & $a_b$'
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; raises where tags do not close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


def made_metrics(names: tuple[str, ...] = ("person", "car")) -> Metrics:
    random = np.random.default_rng(2)
    frames = []
    for number in range(12):
        corners = random.uniform(0, 400, (4, 2))
        boxes = np.concatenate([corners, corners + random.uniform(10, 90, (4, 2))], axis=1)
        moved = np.concatenate([boxes + random.normal(0, 2, (4, 4)), boxes[:1] + 200])
        scores = np.sort(random.uniform(0.1, 1, 5))[::-1]
        frames.append(
            EvaluatedFrame(
                str(number),
                Detections(moved, scores, np.array([0, 1, 0, 1, 0])),
                GroundTruth(boxes, np.array([0, 1, 0, 1]), np.zeros(4, bool)),
                (512, 640),
                "night",
            )
        )
    return evaluate(frames, names)


def full_report(metrics: Metrics) -> Report:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    part = Part(
        key_figures=[KeyFigure("Frames sent", "10"), *accuracy_figures(metrics)],
        video="run of the night.webm",
        counts=[("frames in the bag", "11", "by its index"), ("answered", "10", "")],
        facts={"Model": "detector.safetensors"},
        latency=LatencyTrace(
            np.arange(10.0),
            np.linspace(10, 20, 10),
            np.array([3.5]),
            np.array([[0.1, 0.2], [0.2, 0.3]]),
            np.array([[10.0, 110], [11, 111]]),
        ),
        stages=StageTimes(("p50",), {"infer": ["7.1"]}, "of the node", np.arange(3.0), {"infer": np.ones(3)}),
        steps=STEPS,
        answers="9 of 10 answers are the same.",
        metrics=metrics,
        galleries=[
            Gallery("Frames", [Picture(image, "the first frame")]),
            Gallery("Frames with the most misses", [Picture(np.zeros((20, 2000, 3), np.uint8), "the worst frame")]),
            Gallery("Frames with the most duplicates", []),
        ],
    )
    return Report(
        title="Replay of street.mcap",
        subtitle="10 frames",
        warnings=["No video: no encoder."],
        parts=[part],
        commands=["cgdet-replay street.mcap --out build/demo"],
    )


def two_models(metrics: Metrics) -> Report:
    one = full_report(metrics).parts[0]
    parts = [replace(one, name=f"Model {letter}") for letter in "AB"]
    image = np.zeros((48, 64, 3), np.uint8)
    comparison = ComparisonPart(
        COMPARISON,
        ("a.safetensors", "b.safetensors"),
        [("latency p50, ms", "7.0", "9.0")],
        (metrics, metrics),
        "Over every frame.",
        [Gallery("Where B is worse than A", [Picture(image, "A, x: 1 missed"), Picture(image, "B, x: 2 missed")])],
    )
    return Report("Two models", comparison=comparison, parts=parts)


def test_the_page_is_well_formed_and_refers_to_nothing_outside() -> None:
    html = render_report(full_report(made_metrics()))
    page = Page(html)
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "data", "action"):
            value = attributes.get(name)
            if value is not None:
                assert value.startswith(("data:image/", "#")) or value == "run%20of%20the%20night.webm", (tag, value)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base"})
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)


def test_the_page_shows_what_it_was_given() -> None:
    metrics = made_metrics()
    page = Page(render_report(full_report(metrics)))
    words = page.words()
    for part in (
        "Replay of street.mcap",
        "No video: no encoder.",
        "detector.safetensors",
        f"{metrics.map50:.3f}",
        "the worst frame",
        "cgdet-replay street.mcap --out build/demo",
        "night",
        "nothing",
    ):
        assert part in words
    assert sum(tag == "svg" for tag, _ in page.tags) == 7
    assert NOT_LABELLED not in words


def test_from_offline_to_live_every_step_says_what_it_changes() -> None:
    html = render_report(full_report(made_metrics()))
    rows = re.findall(r"<tr><td>(?:mAP50|person AP50)</td>.*?</tr>", html, re.DOTALL)
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in rows]
    assert cells == [
        ["mAP50", "0.700", "\N{MINUS SIGN}0.050", "\N{MINUS SIGN}0.200", "0", "0.450"],
        ["person AP50", "0.800", "\N{MINUS SIGN}0.050", "\N{MINUS SIGN}0.200", "0", "0.550"],
    ]


def test_two_models_are_compared_first_and_told_of_one_after_the_other() -> None:
    html = render_report(two_models(made_metrics()))
    words = Page(html).words()
    places = [words.index(part) for part in ("B is worse than A: mAP", "Where B is worse", "Model A", "Model B")]
    assert places == sorted(places)
    row = next(row for row in re.findall(r"<tr>.*?</tr>", html, re.DOTALL) if ">person AP<" in row)
    assert re.findall(r"<td[^>]*>([^<]*)</td>", row)[3:] == ["+0.1000", "+0.0100 to +0.2000", "better"]
    assert "night" not in "".join(re.findall(r'<table class="versus">.*?</table>', html, re.DOTALL))


def test_the_page_has_colours_for_dark_screens_and_rules_for_paper() -> None:
    html = render_report(full_report(made_metrics()))
    assert "@media (prefers-color-scheme: dark)" in html
    assert "@media print" in html
    # a plot takes its colour of text from the page
    assert "currentColor" in html
    assert "#010203" not in html


@pytest.mark.parametrize("make", [full_report, two_models])
def test_ids_of_the_plots_are_unique_in_the_page_and_all_that_is_referred_to_exists(
    make: Callable[[Metrics], Report],
) -> None:
    html = render_report(make(made_metrics()))
    ids = [attributes["id"] for _, attributes in Page(html).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", html)) | set(re.findall(r'href="#([^"]+)"', html)) <= set(ids)


def test_pictures_are_embedded_and_wide_ones_made_smaller() -> None:
    page = Page(render_report(full_report(made_metrics())))
    sources = [attributes["src"] or "" for tag, attributes in page.tags if tag == "img"]
    shapes = []
    for source in sources:
        assert source.startswith("data:image/jpeg;base64,")
        image = cv2.imdecode(np.frombuffer(base64.b64decode(source.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
        shapes.append(image.shape)
    assert shapes == [(48, 64, 3), (13, 1280, 3)]


def test_a_run_without_labels_says_so_and_has_no_accuracy_part() -> None:
    part = Part(key_figures=[KeyFigure("Frames sent", "10")])
    words = Page(render_report(Report("Replay", parts=[part]))).words()
    assert NOT_LABELLED in words
    assert "mAP" not in words
    assert "Latency" not in words


def test_names_are_escaped_wherever_they_come_from() -> None:
    metrics = made_metrics((NASTY, "car"))
    picture = Picture(np.zeros((8, 8, 3), np.uint8), f'" onerror="{NASTY}')
    part = Part(
        name=NASTY,
        key_figures=[KeyFigure(NASTY, NASTY, NASTY, NASTY)],
        video=f'"{NASTY}.webm',
        counts=[(NASTY, NASTY, NASTY)],
        facts={NASTY: NASTY},
        latency=LatencyTrace(np.arange(3.0), np.ones(3)),
        stages=StageTimes([NASTY], {NASTY: [NASTY]}, NASTY, np.arange(2.0), {NASTY: np.ones(2)}),
        answers=NASTY,
        metrics=metrics,
        metrics_note=NASTY,
        galleries=[Gallery(NASTY, [picture], NASTY)],
    )
    difference = {**COMPARISON, "words": NASTY, "per_class": {NASTY: {"map": DIFFERENCE}}}
    comparison = ComparisonPart(difference, (NASTY, NASTY), [(NASTY, NASTY, NASTY)], (metrics, metrics), NASTY)
    report = Report(NASTY, NASTY, [NASTY], comparison, [part], [NASTY])
    html = render_report(report)
    page = Page(html)
    assert "<script" not in html
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert page.words().count(NASTY) > 10


def test_many_points_do_not_make_a_page_that_no_browser_opens() -> None:
    trace = LatencyTrace(np.arange(50_000.0), np.random.default_rng(1).gamma(9, 2, 50_000))
    html = render_report(Report("long", parts=[Part(latency=trace)]))
    assert len(html) < 1_000_000
    assert 'src="' not in html.replace('src="data:', "")


def test_the_file_is_replaced_whole_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    write_report(path, Report("new"))
    assert "<title>new</title>" in path.read_text(encoding="utf-8")
    assert [item.name for item in tmp_path.iterdir()] == ["report.html"]


def test_the_folder_of_a_report_is_made(tmp_path: Path) -> None:
    write_report(tmp_path / "new" / "report.html", Report("x"))
    assert [item.name for item in (tmp_path / "new").iterdir()] == ["report.html"]


def test_a_place_that_cannot_hold_the_report_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "taken.html").mkdir()
    for path in (tmp_path / "file" / "report.html", tmp_path / "taken.html"):
        with pytest.raises(InputError, match=r"cannot be written|is a folder") as caught:
            write_report(path, Report("x"))
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "taken.html"]


def test_the_worst_frames_come_first_and_faultless_ones_not_at_all() -> None:
    person = np.array([[0.0, 0, 40, 40]])
    there = GroundTruth(person, np.array([0]), np.array([False]))

    def frame(name: str, boxes: list[list[float]], truth: GroundTruth) -> EvaluatedFrame:
        found = Detections(np.array(boxes).reshape(-1, 4), np.linspace(0.9, 0.5, len(boxes)), np.zeros(len(boxes)))
        return EvaluatedFrame(name, found, truth, (480, 640))

    frames = [
        frame("good", [[0, 0, 40, 40]], there),
        frame("missed", [], there),
        frame("bad", [[0, 0, 40, 40], [2, 0, 42, 40], [100, 0, 140, 40], [200, 0, 240, 40]], there),
        frame("empty", [], GroundTruth.empty()),
    ]
    worst = worst_frames(frames, 5)
    assert [(item.index, item.name) for item in worst] == [(2, "bad"), (1, "missed")]
    assert (worst[0].found, worst[0].missed, worst[0].false_alarms, worst[0].duplicates) == (1, 0, 2, 1)
    assert worst[0].caption == "bad: 1 found, no missed, 2 false alarms, 1 duplicate"
    assert [item.name for item in worst_frames(frames, 1)] == ["bad"]
    # at a threshold above all scores everything is missed
    assert worst_frames(frames, 1, thresholds={"person": 0.99})[0].missed == 1
