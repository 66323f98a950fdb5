"""What a GPU does around the network, run on the CPU: bit for bit thermal.py, and postprocess.py's candidates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cgdet_core import thermal
from cgdet_core.config import PostprocessConfig, ThermalConfig
from cgdet_core.errors import InputError
from cgdet_core.runtime.backends.base import RawOutput
from cgdet_core.runtime.backends.cuda_backend import CudaBackend
from cgdet_core.runtime.backends.device_steps import best_candidates, normalise_counts, suppressed
from cgdet_core.runtime.backends.torch_backend import TorchBackend
from cgdet_core.runtime.model_file import load_model
from cgdet_core.runtime.predictor import Predictor
from cgdet_core.tasks.detection.cells import cells_of, map_sizes
from cgdet_core.tasks.detection.decode import FoundBoxes, postprocess
from cgdet_core.tasks.detection.head import cell_grid

Scene = Callable[..., tuple[np.ndarray, object]]

FRAMES = {
    "usual": lambda rng: rng.normal(7000, 300, (60, 96)),
    "flat": lambda rng: rng.integers(7000, 7010, (64, 96)),
    "one value": lambda rng: np.full((64, 50), 4321),
    "full range": lambda rng: rng.integers(0, 65536, (64, 96)),
    "above the half": lambda rng: rng.integers(40000, 65536, (33, 96)),
    "hot source": lambda rng: np.where(rng.random((60, 96)) < 0.01, 65535, rng.normal(20000, 900, (60, 96))),
    "hot on plain": lambda rng: np.where(rng.random((60, 96)) < 0.01, 65535, 20000),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    "config",
    [
        ThermalConfig(),
        ThermalConfig(hot_limit_spans=0.3),
        ThermalConfig(raw_range=(90, 7000)),
        ThermalConfig(low_percentile=0, high_percentile=100, hot_limit_spans=None),
    ],
)
def test_a_frame_is_normalised_bit_for_bit_as_on_the_cpu(name: str, dtype: type, config: ThermalConfig) -> None:
    counts = FRAMES[name](np.random.default_rng(3))
    frame = (counts / (1 if dtype == np.uint16 else 257)).astype(dtype)
    bits = frame.view(np.int16) if dtype == np.uint16 else frame
    fixed = None if config.raw_range is None else torch.tensor(config.raw_range, dtype=torch.float64)
    found = normalise_counts(torch.from_numpy(bits), config, fixed)
    assert found.dtype == torch.float32
    assert found.numpy().tobytes() == thermal.normalise(frame, config).tobytes()


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.9, 1.0])
def test_candidates_and_suppression_give_what_postprocessing_gives(threshold: float) -> None:
    generator = torch.Generator().manual_seed(1)
    cells, bins = 8 * 12 + 4 * 6 + 2 * 3, 8
    class_logits = torch.randn(cells, 2, generator=generator)
    class_logits[5] = class_logits[4]  # equal scores
    box_logits = torch.randn(cells, 4 * bins, generator=generator)
    centres, strides = cell_grid(map_sizes((64, 96)), torch.device("cpu"))
    config = PostprocessConfig(score_threshold=threshold, class_thresholds={"wide": 0.5}, max_detections=20)
    expected = postprocess(class_logits.numpy(), box_logits.numpy(), cells_of((64, 96)), config, ("tall", "wide"))
    thresholds = torch.tensor([threshold, 0.5])
    found = best_candidates(RawOutput(class_logits, box_logits), thresholds, 3000, centres, strides, bins)
    assert len(found.scores) == 2 * cells  # whatever passed
    assert bool(found.finite)
    kept = suppressed(found, config)
    assert kept.finite
    np.testing.assert_allclose(kept.scores, expected.scores, rtol=1e-6)
    np.testing.assert_allclose(kept.boxes_xyxy_px, expected.boxes_xyxy_px, rtol=1e-5, atol=1e-4)
    assert kept.class_ids.tolist() == expected.class_ids.tolist()


def test_numbers_that_are_none_are_told() -> None:
    centres, strides = cell_grid(map_sizes((32, 32)), torch.device("cpu"))
    logits = torch.zeros(len(strides), 2)
    logits[3, 1] = float("nan")
    found = best_candidates(RawOutput(logits, torch.zeros(len(strides), 8)), torch.zeros(2), 10, centres, strides, 2)
    assert not bool(found.finite)


class EagerBackend(CudaBackend):
    """All of the GPU's path but upload and capture, on the CPU."""

    def __init__(self, model: Path) -> None:
        detector, info = load_model(model)
        TorchBackend.__init__(self, detector, torch.device("cpu"), "fp32")
        self._info, self._config = info, None
        self._centres_xy_px, self._strides_px = cell_grid(map_sizes(info.input_height_width_px), self._device)
        self._thresholds = torch.zeros(len(info.class_names))
        self._range = torch.zeros(2, dtype=torch.float64)

    def detect(self, picture: np.ndarray, tone: ThermalConfig, config: PostprocessConfig) -> FoundBoxes:
        with torch.inference_mode():
            self._set_thresholds(config)
            tone = self._set_range(tone)
            bits = picture.view(np.int16) if picture.dtype == np.uint16 else picture
            whole = self._whole(torch.from_numpy(np.ascontiguousarray(bits)), tone, config.max_candidates)
            return suppressed(whole, config)


def pictures(draw_scene: Scene, seed: int) -> list[np.ndarray]:
    """A frame of the input's size, 16 and 8 bit, lower, narrower, twice as large, in colour, and a flat one."""
    frame, _ = draw_scene(np.random.default_rng(500 + seed))
    small = ((frame.astype(float) - 6900) / 4).clip(0, 255).astype(np.uint8)
    twice = np.repeat(np.repeat(frame, 2, 0), 2, 1)
    colour = np.repeat(small[:, :, None], 3, 2)
    return [frame, small, frame[:60], frame[:, :50], twice, colour, np.zeros_like(frame)]


def test_the_path_of_a_gpu_finds_what_the_cpu_finds(learned_model: Path, draw_scene: Scene) -> None:
    expected = Predictor(learned_model, "cpu", "fp32", backend="torch")
    predictor = Predictor(learned_model, "cpu", "fp32", backend="torch")
    predictor._network = predictor._detecting = EagerBackend(learned_model)
    for picture in pictures(draw_scene, 0):
        for rows in (0, 4, -4):
            wanted, found = expected.predict(picture, rows), predictor.predict(picture, rows)
            assert found.class_ids.tolist() == wanted.class_ids.tolist()
            np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-6)
            np.testing.assert_allclose(found.boxes_xyxy_px, wanted.boxes_xyxy_px, atol=1e-3)
    frame = pictures(draw_scene, 0)[0]
    for low in (6900, 7100):  # a range for every frame, as the node's smoothing gives it
        tone = ThermalConfig(raw_range=(low, low + 700))
        wanted, found = (each.predict(frame, thermal=tone) for each in (expected, predictor))
        np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-6)
    assert len(predictor.predict(frame)) >= 2
    one = PostprocessConfig(class_thresholds={"tall": 1.0}, max_detections=1)
    for each in (expected, predictor):
        assert each.predict(frame, postprocess=one).class_ids.tolist() == [1]
    for weight in predictor._network.network.parameters():
        weight.data.fill_(float("nan"))
    with pytest.raises(InputError, match="not finite in fp32"):
        predictor.predict(frame)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here: the CUDA path cannot run")
def test_a_gpu_finds_what_the_cpu_finds_in_frames_of_every_size_and_kind(
    learned_model: Path, draw_scene: Scene
) -> None:
    expected = Predictor(learned_model, "cpu", "fp32", backend="torch")
    for precision, atol_px in (("fp32", 0.1), ("fp16", 1.0)):
        predictor = Predictor(learned_model, "cuda", precision, backend="torch")
        assert (predictor.backend, predictor.precision) == ("torch", precision)
        for seed in range(3):
            for picture in pictures(draw_scene, seed):
                wanted, found = expected.predict(picture), predictor.predict(picture)
                assert found.class_ids.tolist() == wanted.class_ids.tolist()
                np.testing.assert_allclose(found.scores, wanted.scores, atol=0.02)
                np.testing.assert_allclose(found.boxes_xyxy_px, wanted.boxes_xyxy_px, atol=atol_px)
