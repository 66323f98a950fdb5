"""Model files: what was saved comes back; anything odd is one line that names the file."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from cgdet_core import files
from cgdet_core.config import ModelConfig, PostprocessConfig, ThermalConfig
from cgdet_core.errors import InputError
from cgdet_core.runtime.model_file import ModelInfo, default_model_path, load_model, read_info, save_model
from cgdet_core.tasks.detection.head import DetectionNetwork


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        load_model(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def parts(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with safe_open(path, framework="pt") as handle:
        return load_file(path), json.loads(handle.metadata()["cgdet"])


def rewrite(path: Path, tensors: dict[str, Tensor], description: Any) -> Path:
    save_file(tensors, path, metadata={"cgdet": json.dumps(description)})
    return path


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    torch.manual_seed(3)
    config = ModelConfig(
        widths=(8, 16, 8, 16, 8), depths=(1, 0, 2, 0), neck_depth=0, head_width=8, bins=3, class_names=("dog", "cat")
    )
    detector = DetectionNetwork(config)
    for tensor in detector.state_dict().values():
        if tensor.dtype.is_floating_point:
            tensor.uniform_(0.1, 1)
    info = ModelInfo(
        model=config,
        thermal=ThermalConfig(raw_range=(100, 900)),
        postprocess=PostprocessConfig(score_threshold=0.4, class_thresholds={"dog": 0.1}),
        training={"data": {"a": 3}},
        scores={"map": 0.25},
    )
    save_model(tmp_path / "deep" / "m.safetensors", detector, info)
    back, back_info = load_model(tmp_path / "deep" / "m.safetensors")
    assert back_info == info.model_copy(update={"parameters": sum(p.numel() for p in detector.parameters())})
    assert read_info(tmp_path / "deep" / "m.safetensors") == back_info
    assert back_info.class_names == ("dog", "cat")
    assert back_info.input_height_width_px == (512, 640)
    assert not back.training
    for name, tensor in detector.state_dict().items():
        if "num_batches_tracked" not in name:
            assert torch.equal(back.state_dict()[name], tensor)
    image = torch.rand(1, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(back(image).class_logits, detector.eval()(image).class_logits)


def test_weights_that_float16_holds_exactly_take_half_the_file_and_come_back_the_same(tmp_path: Path) -> None:
    detector = DetectionNetwork(ModelConfig(widths=(8, 16, 16, 32, 64), depths=(1, 1, 1, 1)))
    info = ModelInfo(model=detector.config, thermal=ThermalConfig(), postprocess=PostprocessConfig())
    sizes = []
    for name in ("whole", "halves"):
        save_model(tmp_path / name, detector, info)
        back, _ = load_model(tmp_path / name)
        for tensor, stored in zip(detector.parameters(), back.parameters(), strict=True):
            assert stored.dtype == torch.float32
            assert torch.equal(stored, tensor)
        sizes.append((tmp_path / name).stat().st_size)
        for parameter in detector.parameters():
            parameter.data = parameter.half().float()
    assert sizes[1] < 0.6 * sizes[0]


def test_any_memory_layout_is_saved_alike(learned_model: Path, tmp_path: Path) -> None:
    detector, info = load_model(learned_model)
    save_model(tmp_path / "turned", detector.to(memory_format=torch.channels_last), info)
    assert (tmp_path / "turned").read_bytes() == learned_model.read_bytes()


def test_a_full_disk_leaves_the_old_model(
    learned_model: Path, tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"old")
    detector, info = load_model(learned_model)
    with full_disk(1000), pytest.raises(InputError, match=str(path)):
        save_model(path, detector, info)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_cut_anywhere_or_with_bytes_added_is_refused(learned_model: Path, tmp_path: Path) -> None:
    data = learned_model.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    for length in (0, 1, 7, 8, 100, header - 1, header, header + 1, len(data) // 2, len(data) - 1):
        (tmp_path / "cut").write_bytes(data[:length])
        refusal(tmp_path / "cut")
    (tmp_path / "long").write_bytes(data + b"more")
    refusal(tmp_path / "long")


def test_a_missing_file_a_folder_and_other_files_are_refused(tmp_path: Path) -> None:
    refusal(tmp_path / "none.safetensors")
    refusal(tmp_path)
    for number, content in enumerate((b"hello world, this is a text", b"\x89PNG\r\n\x1a\n" + b"\0" * 64, b"\0" * 64)):
        (tmp_path / str(number)).write_bytes(content)
        refusal(tmp_path / str(number))


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self):  # type: ignore[no-untyped-def]
            return (Path.touch, (tmp_path / "sprung",))

    torch.save({"weights": torch.zeros(3), "trap": Trap()}, tmp_path / "m.pt")
    torch.save({"trap": Trap()}, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    refusal(tmp_path / "m.pt")
    refusal(tmp_path / "old.pt")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        *(({"format_version": version}, "'format_version'") for version in (0, 2, "1.0", None)),
        ({"architecture": "resnet"}, "'architecture'"),
        ({"model": None}, "'model'"),
        ({"thermal": {"low_percentile": 70}}, "'thermal.low_percentile'"),
        ({"postprocess": {"nms": 1}}, "'postprocess.nms'"),
        ({"unknown_key": 1}, "'unknown_key'"),
        ({"parameters": -1}, "'parameters'"),
        ({"parameters": 7}, "7 parameters"),
    ],
)
def test_an_odd_entry_of_the_description_is_named(
    learned_model: Path, tmp_path: Path, changed: dict[str, Any], named: str
) -> None:
    tensors, description = parts(learned_model)
    assert named in refusal(rewrite(tmp_path / "m", tensors, {**description, **changed}))


def test_what_is_no_description_is_refused(learned_model: Path, tmp_path: Path) -> None:
    tensors, _ = parts(learned_model)
    for odd in ([], "text", 5, None):
        refusal(rewrite(tmp_path / "m", tensors, odd))
    for metadata in (None, {"format": "pt"}, {"cgdet": "{"}):
        save_file(tensors, tmp_path / "m", metadata=metadata)
        refusal(tmp_path / "m")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("widths", [8, 8, 8, 8, 4104]),
        ("depths", [1, 1, 1, 10**9]),
        ("neck_depth", 65),
        ("head_width", 8_000_000),
        ("bins", 10**12),
        ("input_height_width_px", [512, 8224]),
        ("class_names", [str(number) for number in range(1001)]),
    ],
)
def test_a_network_beyond_all_bounds_is_refused_before_it_is_built(
    learned_model: Path, tmp_path: Path, key: str, value: Any
) -> None:
    tensors, description = parts(learned_model)
    description["model"][key] = value
    assert f"model.{key}" in refusal(rewrite(tmp_path / "m", tensors, description))


def test_a_file_from_before_the_limit_of_what_is_hot_has_none(learned_model: Path, tmp_path: Path) -> None:
    tensors, description = parts(learned_model)
    assert description["thermal"].pop("hot_limit_spans") == ThermalConfig().hot_limit_spans == 1.0
    rewrite(tmp_path / "m", tensors, description)
    assert load_model(tmp_path / "m")[1].thermal == ThermalConfig(hot_limit_spans=None)


def test_a_great_network_that_the_file_does_not_hold_takes_no_memory(learned_model: Path, tmp_path: Path) -> None:
    tensors, description = parts(learned_model)
    description["model"] |= {"widths": [4096] * 5, "head_width": 4096}
    rewrite(tmp_path / "m", tensors, description)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal(tmp_path / "m")
    # its weights are more than 10 GB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 500_000


def test_a_description_nested_too_deep_or_with_endless_numbers_is_refused(learned_model: Path, tmp_path: Path) -> None:
    tensors, description = parts(learned_model)
    text = json.dumps(description)
    for inner in ("[" * depth + "]" * depth for depth in (400, 5_000, 200_000)):
        odd = text.replace('"seed": 0', f'"seed": {inner}')
        assert odd != text
        save_file(tensors, tmp_path / "m", metadata={"cgdet": odd})
        refusal(tmp_path / "m")
    save_file(tensors, tmp_path / "m", metadata={"cgdet": text.replace('"seed": 0', f'"seed": {"1" * 5000}')})
    refusal(tmp_path / "m")


def test_a_missing_an_additional_a_misshapen_and_an_endless_tensor_are_named(
    learned_model: Path, tmp_path: Path
) -> None:
    tensors, description = parts(learned_model)
    name = "head.class_branches.1.0.conv.weight"
    lacking = {key: value for key, value in tensors.items() if key != name}
    assert name in refusal(rewrite(tmp_path / "m", lacking, description))
    more = {**tensors, "teacher.weight": torch.zeros(1)}
    assert "teacher.weight" in refusal(rewrite(tmp_path / "m", more, description))
    weights = tensors[name]
    for odd in (weights[:-1], weights.flatten(), weights.int(), weights.double(), weights.bfloat16()):
        message = refusal(rewrite(tmp_path / "m", {**tensors, name: odd.contiguous()}, description))
        assert name in message
    for value in (float("nan"), float("inf")):
        weights.view(-1)[3] = value
        assert name in refusal(rewrite(tmp_path / "m", tensors, description))


def test_the_shipped_model_is_found_beside_the_sources_in_share_and_in_ament_prefixes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "__file__", str(tmp_path / "src" / "cgdet_core" / "files.py"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "venv"))
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path / 'a'}::{tmp_path / 'b'}")
    with pytest.raises(InputError) as caught:
        default_model_path(".safetensors")
    assert "\n" not in str(caught.value)
    places = [
        tmp_path / "b" / "share" / "cgdet_ros" / "models" / "detector.safetensors",
        tmp_path / "a" / "share" / "cgdet_ros" / "models" / "detector.safetensors",
        tmp_path / "venv" / "share" / "cgdet_ros" / "models" / "detector.safetensors",
        tmp_path / "src" / "models" / "detector.safetensors",
    ]
    for place in places:
        assert str(place) in str(caught.value)
    # the later in this list, the sooner it is taken
    for place in places:
        place.parent.mkdir(parents=True)
        place.write_bytes(b"")
        assert default_model_path(".safetensors") == place
