"""The page is whole without a network, shows what it was given, and trusts no name."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from cgdet_core.errors import InputError
from cgdet_core.evaluation.metrics import EvaluatedFrame, Metrics, evaluate
from cgdet_core.evaluation.report import (
    NOT_LABELLED,
    KeyFigure,
    LatencyTrace,
    Picture,
    Report,
    accuracy_figures,
    render_report,
    write_report,
)
from cgdet_core.evaluation.worst import worst_frames
from cgdet_core.types import Detections, GroundTruth

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
    return Report(
        title="Replay of street.mcap",
        subtitle="10 frames",
        warnings=["No video: no encoder."],
        key_figures=[KeyFigure("Frames sent", "10"), *accuracy_figures(metrics)],
        video="run of the night.webm",
        facts={"Model": "detector.safetensors"},
        latency=LatencyTrace(np.arange(10.0), np.linspace(10, 20, 10), np.array([3.5])),
        metrics=metrics,
        samples=[Picture(image, "the first frame")],
        worst=[Picture(np.zeros((20, 2000, 3), np.uint8), "the worst frame")],
        commands=["cgdet-replay street.mcap --out build/demo"],
    )


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
    assert sum(tag == "svg" for tag, _ in page.tags) == 5
    assert NOT_LABELLED not in words


def test_ids_of_the_plots_are_unique_in_the_page_and_all_that_is_referred_to_exists() -> None:
    html = render_report(full_report(made_metrics()))
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
    words = Page(render_report(Report("Replay", key_figures=[KeyFigure("Frames sent", "10")]))).words()
    assert NOT_LABELLED in words
    assert "mAP" not in words
    assert "Latency" not in words


def test_names_are_escaped_wherever_they_come_from() -> None:
    metrics = made_metrics((NASTY, "car"))
    report = Report(
        title=NASTY,
        subtitle=NASTY,
        warnings=[NASTY],
        key_figures=[KeyFigure(NASTY, NASTY, NASTY, NASTY)],
        video=f'"{NASTY}.webm',
        facts={NASTY: NASTY},
        latency=LatencyTrace(np.arange(3.0), np.ones(3)),
        metrics=metrics,
        samples=[Picture(np.zeros((8, 8, 3), np.uint8), f'" onerror="{NASTY}')],
        commands=[NASTY],
    )
    html = render_report(report)
    page = Page(html)
    assert "<script" not in html
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert page.words().count(NASTY) > 10


def test_many_points_do_not_make_a_page_that_no_browser_opens() -> None:
    trace = LatencyTrace(np.arange(50_000.0), np.random.default_rng(1).gamma(9, 2, 50_000))
    html = render_report(Report("long", latency=trace))
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
