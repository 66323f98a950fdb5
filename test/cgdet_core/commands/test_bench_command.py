"""cgdet bench: what it writes, whom it times, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from refusing import refusal

from cgdet_core.cli import main
from cgdet_core.config import ModelConfig
from cgdet_core.runtime.model_file import ModelInfo, save_model
from cgdet_core.tasks.detection.head import DetectionNetwork

STAGES = ["preprocess", "infer", "postprocess", "total"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    config = ModelConfig(
        widths=(8, 8, 8, 8, 8), depths=(0, 0, 0, 0), neck_depth=0, head_width=8, bins=4, input_height_width_px=(64, 96)
    )
    path = tmp_path_factory.mktemp("bench") / "model.safetensors"
    save_model(path, DetectionNetwork(config), ModelInfo(model=config))
    return path


def bench(*words: object) -> int:
    return main(["bench", *(str(word) for word in words)])


def check_stages(run: dict) -> None:
    assert list(run["stages"]) == STAGES
    for figures in run["stages"].values():
        assert list(figures) == ["p50", "p95", "p99"]
        assert 0 < figures["p50"] <= figures["p95"] <= figures["p99"]
    assert run["stages"]["total"]["p50"] > run["stages"]["infer"]["p50"]


def test_one_backend_gives_the_keys_that_the_design_names(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bench.json"
    assert bench("--model", model, "--device", "cpu", "--frames", 100, "--threads", 1, "--json", path) == 0
    document = json.loads(path.read_text())
    check_stages(document)
    assert document["backend"]
    assert (document["device"], document["input"], document["frames"]) == ("cpu", [64, 96], 100)
    assert document["precision"] in ("fp32", "bf16", "int8")
    assert document["machine"]["cores"] >= 1
    assert document["machine"]["cpu"]
    printed = capsys.readouterr().out
    assert document["machine"]["cpu"] in printed
    assert all(stage in printed for stage in STAGES)


def test_several_precisions_are_rows_of_one_run_and_json_alone_is_printed(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--model", model, "--device", "cpu", "--backend", "torch", "--precision", "fp32", "bf16", "--frames", 100)
    assert bench(*words, "--threads", 1, "--json", "-") == 0
    document = json.loads(capsys.readouterr().out)
    assert [(run["backend"], run["precision"]) for run in document["runs"]] == [("torch", "fp32"), ("torch", "bf16")]
    for run in document["runs"]:
        check_stages(run)


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--frames", 99), "--frames 99"),
        (("--backend", "abacus"), "backend 'abacus'"),
        (("--precision", "fp32", "fp7"), "precision 'fp7'"),
        (("--device", "tpu"), "device 'tpu'"),
        (("--model", "missing.safetensors"), "missing.safetensors"),
        (("--json", f"{__file__}/bench.json"), "test_bench_command.py"),
    ],
)
def test_what_cannot_be_timed_is_refused_in_one_line(
    model: Path, words: tuple[object, ...], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reason in refusal(capsys, "bench", "--model", model, *words)
