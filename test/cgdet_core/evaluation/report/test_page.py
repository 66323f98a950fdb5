"""The page is whole without a network, shows what it was given, and trusts no name."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cgdet_core.evaluation.metrics.matching import EvaluatedFrame
from cgdet_core.evaluation.metrics.metrics import Metrics, evaluate
from cgdet_core.evaluation.replay import ReplayedFrame
from cgdet_core.evaluation.report.page import Gallery, Picture, precision_recall, write_page
from cgdet_core.types import Detections, GroundTruth

COUNTS = ("in_bag", "not_played", "repeated_stamps", "not_sendable", "answered", "overtaken", "lost_before_node")
COUNTS = (*COUNTS, "refused", "failed", "in_work", "lost_answers")
DIFFERENCE = {"name": "mAP", "a": 0.5, "b": 0.4, "difference": -0.1, "low": -0.15, "high": -0.05, "verdict": "worse"}
NOTHING = {**dict.fromkeys(DIFFERENCE), "verdict": "no difference shown"}
COMPARISON: dict[str, Any] = {
    "words": "B is worse than A: mAP -0.1000",
    "images": 12,
    "models": {
        letter: {
            "file": f"{letter}.safetensors",
            "ms_per_image": {"p50": ms},
            "params": 3_150_000,
            **dict.fromkeys(("device", "precision", "backend"), "x"),
        }
        for letter, ms in (("a", 7.0), ("b", 9.0))
    },
    "overall": {
        "map": DIFFERENCE,
        "map50": {**DIFFERENCE, "name": "mAP50", "low": None, "high": None, "verdict": "no difference shown"},
    },
    "per_class": {
        "person": {
            "map": {**DIFFERENCE, "name": "person AP", "difference": 0.1, "low": 0.01, "high": 0.2, "verdict": "better"}
        }
    },
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


def replay_document(metrics: Metrics | None, of_class: str = "person") -> dict[str, Any]:
    ranks = {"p50": 10.0, "p95": 20.0, "p99": 30.0}
    answers = {"compared": 10, "same": 9, "different": 1, "different_stamps_ns": [17]}
    return {
        "frames": {**dict.fromkeys(COUNTS, 0), "in_bag": 11, "sent": 11, "answered": 10, "overtaken": None},
        "dropped": 1,
        "frames_evaluated": 9,
        "frames_sent": 11,
        "score_threshold": 0.2,
        "latency_ms": ranks,
        "lockstep": False,
        "stages_ms": {"infer": ranks},
        "offline": {
            "stages_ms": {"infer": ranks},
            "labelled_frames": 9,
            "steps": [
                {"step": name, "map50": ap, "map": None, "per_class": {of_class: {"map50": ap + 0.1}}, "by_light": {}}
                for name, ap in (("offline", 0.7), ("thresholds", 0.65), ("drops", 0.45), ("live", 0.45))
                if metrics
            ],
            "answers": {**answers, "within_box_px": 0.5, "within_score": 0.01},
        },
    }


def sent(latency_ms: np.ndarray) -> list[ReplayedFrame]:
    """A frame a second, the last without an answer."""
    frames = [ReplayedFrame(i, (64, 96), float(i), float(i), latency_ms=ms) for i, ms in enumerate(latency_ms)]
    return [*frames, ReplayedFrame(len(frames), (64, 96), float(len(frames)), 0.0)]


def full_page(path: Path, metrics: Metrics) -> str:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
    wide = np.zeros((20, 2000, 3), np.uint8)
    write_page(
        path, "Replay of street.mcap", [full_part(metrics, image, wide)], warnings=["No video."], command="cmd x"
    )
    return path.read_text(encoding="utf-8")


def full_part(metrics: Metrics, *images: np.ndarray) -> dict[str, Any]:
    galleries = [Gallery("Frames", [Picture(image, f"frame {number}")]) for number, image in enumerate(images)]
    return {
        "tiles": [("Frames sent", "10", "", "")],
        "metrics": metrics,
        "replay": replay_document(metrics),
        "video": "run of the night.webm",
        "frames": sent(np.linspace(10, 20, 10)),
        "galleries": [*galleries, Gallery("Frames with the most duplicates", [])],
        "facts": {"Model": "detector.safetensors"},
    }


def two_models(path: Path, metrics: Metrics) -> str:
    image = np.zeros((48, 64, 3), np.uint8)
    parts = [{**full_part(metrics, image), "name": f"Model {letter}"} for letter in "AB"]
    comparison = {
        "figures": COMPARISON,
        "unit": "image",
        "curves": precision_recall([("A", metrics), ("B", metrics)], "both-"),
        "curves_note": "B dashed",
        "galleries": [
            Gallery("Where B is worse than A", [Picture(image, "A, x: 1 missed"), Picture(image, "B, x: 2 missed")])
        ],
    }
    write_page(path, "Two models", parts, comparison=comparison)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def metrics() -> Metrics:
    return made_metrics()


@pytest.fixture(scope="module")
def html(metrics: Metrics, tmp_path_factory: pytest.TempPathFactory) -> str:
    return full_page(tmp_path_factory.mktemp("page") / "page.html", metrics)


@pytest.fixture(scope="module")
def html_of_two(metrics: Metrics, tmp_path_factory: pytest.TempPathFactory) -> str:
    return two_models(tmp_path_factory.mktemp("page") / "page.html", metrics)


def test_the_page_is_well_formed_and_refers_to_nothing_outside(html: str) -> None:
    page = Page(html)
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "data", "action"):
            value = attributes.get(name)
            if value is not None:
                assert value.startswith(("data:image/", "#")) or value == "run%20of%20the%20night.webm", (tag, value)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base"})
    assert "@import" not in html
    assert not re.search(r"url\((?!#)", html)
    # plots take the colour of their text from the page
    assert "currentColor" in html
    assert "#010203" not in html


def test_the_page_shows_what_it_was_given(html: str, metrics: Metrics) -> None:
    page = Page(html)
    words = page.words()
    for part in ("Replay of street.mcap", "No video.", f"{metrics.map50:.3f}", "frame 1", "cmd x", "night", "nothing"):
        assert part in words
    # latency, precision over recall
    assert sum(tag == "svg" for tag, _ in page.tags) == 2
    for part in metrics.misses_by_height:
        assert (f"from {part['from_px']:g} " in words) == (part["truths"] > 0)
    assert "unknown: the node ended" in words  # of the count that there is not


def test_from_offline_to_live_every_step_says_what_it_changes(html: str) -> None:
    rows = re.findall(r"<tr><td>(?:mAP50|person AP50)</td>.*?</tr>", html, re.DOTALL)
    cells = [re.findall(r"<td[^>]*>([^<]*)</td>", row) for row in rows]
    assert cells == [
        ["mAP50", "0.700", "\N{MINUS SIGN}0.050", "\N{MINUS SIGN}0.200", "0", "0.450"],
        ["person AP50", "0.800", "\N{MINUS SIGN}0.050", "\N{MINUS SIGN}0.200", "0", "0.550"],
    ]


def test_two_models_are_compared_first_and_told_of_one_after_the_other(html_of_two: str) -> None:
    words = Page(re.sub("<nav.*?</nav>", "", html_of_two)).words()
    places = [words.index(part) for part in ("B is worse than A: mAP", "Where B is worse", "Model A", "Model B")]
    assert places == sorted(places)
    row = next(row for row in re.findall(r"<tr>.*?</tr>", html_of_two, re.DOTALL) if ">person AP<" in row)
    assert re.findall(r"<td[^>]*>([^<]*)</td>", row)[3:] == ["+0.1000", "+0.0100 to +0.2000", "better"]
    assert "night" not in "".join(re.findall(r'<table class="versus">.*?</table>', html_of_two, re.DOTALL))


@pytest.mark.parametrize("name", ["html", "html_of_two"])
def test_ids_of_the_plots_are_unique_in_the_page_and_all_that_is_referred_to_exists(
    name: str, request: pytest.FixtureRequest
) -> None:
    html = request.getfixturevalue(name)
    ids = [attributes["id"] for _, attributes in Page(html).tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", html)) | set(re.findall(r'href="#([^"]+)"', html)) <= set(ids)


@pytest.mark.parametrize("name", ["html", "html_of_two"])
def test_contents_link_to_every_section_in_order(name: str, request: pytest.FixtureRequest) -> None:
    html = request.getfixturevalue(name)
    links = re.findall(r'<a href="#(s\d+)">(.*?)</a>', html)
    assert links == re.findall(r'<h2 id="(s\d+)"[^>]*>(.*?)</h2>', html)
    assert len(links) == html.count("<h2") > 3
    assert html.index("<nav") < html.index("<h2")


@pytest.mark.parametrize("name", ["html", "html_of_two"])
def test_in_a_browser_as_wide_as_a_phone_nothing_reaches_beyond_the_page(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    browser = shutil.which("chromium") or pytest.skip("chromium is not installed")
    page = escape(request.getfixturevalue(name))
    measure = "document.body.dataset.width = this.contentDocument.documentElement.scrollWidth"
    frame = f'<iframe style="border: 0; width: 390px; height: 800px" onload="{measure}" srcdoc="{page}"></iframe>'
    (tmp_path / "page.html").write_text(frame, encoding="utf-8")
    words = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--dump-dom"]
    words += [f"--user-data-dir={tmp_path / 'profile'}", f"file://{tmp_path / 'page.html'}"]
    shown = subprocess.run([browser, *words], capture_output=True, text=True, check=False, timeout=60).stdout
    (width,) = re.findall(r'data-width="(\d+)"', shown)
    assert int(width) == 390


def test_pictures_are_embedded_and_wide_ones_made_smaller(html: str) -> None:
    sources = [attributes["src"] or "" for tag, attributes in Page(html).tags if tag == "img"]
    shapes = []
    for source in sources:
        assert source.startswith("data:image/jpeg;base64,")
        image = cv2.imdecode(np.frombuffer(base64.b64decode(source.split(",")[1]), np.uint8), cv2.IMREAD_COLOR)
        shapes.append(image.shape)
    assert shapes == [(48, 64, 3), (13, 1280, 3)]


def test_a_run_without_labels_has_no_accuracy_part(tmp_path: Path) -> None:
    write_page(tmp_path / "x.html", "Replay", [{"tiles": [("Frames sent", "10", "", "")]}])
    words = Page((tmp_path / "x.html").read_text()).words()
    assert "holds no labels" in words
    assert "mAP" not in words
    assert "Latency" not in words


def test_figures_of_landmarks_are_their_accuracy(tmp_path: Path) -> None:
    part = {"nme": 0.0412, "nme_by_group": {"jaw": 0.0736}, "failure_rate": 0.25, "auc": 0.5, "faces": 8}
    figures = {**part, "nme_by_box": 0.0331, "faces_by_box": 2, "by_camera": {NASTY: part}}
    write_page(tmp_path / "x.html", "Faces", [{"landmarks": figures}])
    words = Page((tmp_path / "x.html").read_text()).words()
    assert words.count("8 0.0412 0.0736 0.250 0.500") == 2
    assert NASTY in words
    assert "2 more faces" in words
    assert "0.0331" in words
    assert "no labels" not in words


def test_names_are_escaped_wherever_they_come_from(tmp_path: Path) -> None:
    metrics = made_metrics((NASTY, "car"))
    picture = Picture(np.zeros((8, 8, 3), np.uint8), f'" onerror="{NASTY}')
    part = {
        **full_part(metrics),
        "name": NASTY,
        "tiles": [(NASTY, NASTY, NASTY, NASTY)],
        "replay": replay_document(metrics, NASTY),
        "video": f'"{NASTY}.webm',
        "galleries": [Gallery(NASTY, [picture], NASTY)],
        "facts": {NASTY: NASTY},
    }
    models = {letter: {**model, "file": NASTY} for letter, model in COMPARISON["models"].items()}
    difference = {**COMPARISON, "words": NASTY, "models": models, "per_class": {NASTY: {"map": DIFFERENCE}}}
    comparison = {
        "figures": difference,
        "unit": "image",
        "curves": precision_recall([(NASTY, metrics)], "both-"),
        "curves_note": NASTY,
        "galleries": [],
    }
    path = tmp_path / "x.html"
    write_page(path, NASTY, [part], subtitle=NASTY, warnings=[NASTY], comparison=comparison, command=NASTY)
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert "<script" not in html
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert page.words().count(NASTY) > 10


def test_many_points_do_not_make_a_page_that_no_browser_opens(tmp_path: Path, metrics: Metrics) -> None:
    latency_ms = np.random.default_rng(1).gamma(9, 2, 50_000)
    write_page(tmp_path / "x.html", "long", [{**full_part(metrics), "frames": sent(latency_ms)}])
    assert (tmp_path / "x.html").stat().st_size < 1_000_000
