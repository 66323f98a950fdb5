"""Every backend gives what PyTorch gives; what cannot be had is refused in one line with its remedy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cgdet_core import thermal
from cgdet_core.config import ThermalConfig
from cgdet_core.errors import InputError
from cgdet_core.files import sha256_of
from cgdet_core.runtime import backends
from cgdet_core.runtime.backends import base, choose_backend, device_name, open_model, shipped_model
from cgdet_core.runtime.backends.base import cpu_facts, cpu_precision, is_installed, need, usable_cores
from cgdet_core.runtime.model_file import default_model_path, read_description, read_info
from cgdet_core.runtime.predictor import Predictor

Scene = Callable[..., tuple[np.ndarray, object]]
WITHOUT_TORCH = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision"):
            raise ImportError(f"{name} is not to be imported")
sys.meta_path.insert(0, Absent())
"""


def installed(name: str) -> None:
    if not is_installed(name):
        pytest.skip(f"{name} is not installed: pip install {name}")


def run_python(code: str, *words: object, **environment: str) -> str:
    command = [sys.executable, "-c", code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def canvas(draw_scene: Scene) -> np.ndarray:
    frame, _ = draw_scene(np.random.default_rng(5))
    return thermal.normalise(frame, ThermalConfig())


@pytest.mark.parametrize(
    ("name", "suffix"), [("openvino", ".safetensors"), ("openvino", ".onnx"), ("onnxruntime", ".onnx")]
)
def test_a_backend_gives_what_pytorch_gives_at_another_size_of_input(
    learned_model: Path, learned_onnx: Path, name: str, suffix: str
) -> None:
    installed(name)
    path, size = learned_onnx if suffix == ".onnx" else learned_model, (96, 64)
    canvas = np.random.default_rng(0).random(size, np.float32)
    expected, _ = open_model(learned_model, "torch", "cpu", "fp32", 0, size)
    backend, description = open_model(path, name, "cpu", "fp32", 0, size)
    assert description.info.input_height_width_px == size
    for output, by_other in zip(backend.infer(canvas), expected.infer(canvas), strict=True):
        np.testing.assert_allclose(output, by_other, atol=1e-4)
    with pytest.raises(InputError, match="multiples of 32"):
        open_model(path, name, "cpu", "fp32", 0, (96, 60))


@pytest.mark.parametrize(("name", "file"), [("openvino", "landmarks.onnx"), ("onnxruntime", "landmarks.onnx")])
def test_the_crop_of_a_face_has_the_models_size(repository: Path, name: str, file: str) -> None:
    installed(name)
    with pytest.raises(InputError, match=file):
        open_model(repository / "models" / file, name, "cpu", "fp32", 0, (160, 160))


@pytest.mark.parametrize(
    ("name", "suffix"), [("openvino", ".safetensors"), ("openvino", ".onnx"), ("onnxruntime", ".onnx")]
)
def test_a_backend_gives_what_pytorch_gives(
    learned_model: Path,
    learned_onnx: Path,
    draw_scene: Scene,
    canvas: np.ndarray,
    caplog: pytest.LogCaptureFixture,
    name: str,
    suffix: str,
) -> None:
    installed(name)
    caplog.set_level("INFO", "cgdet")
    expected, of_model = open_model(learned_model, "torch", "cpu", "fp32", 0)
    path = learned_onnx if suffix == ".onnx" else learned_model
    backend, description = open_model(path, name, "cpu", "fp32", 0)
    assert (backend.name, backend.device, backend.precision) == (name, "cpu", "fp32")
    assert description == of_model
    assert (str(path) in caplog.text) == (suffix == ".safetensors")  # that it is converted is said
    found, wanted = backend.infer(canvas), expected.infer(canvas)
    cells = 8 * 12 + 4 * 6 + 2 * 3
    for output, by_other, columns in zip(found, wanted, (2, 4 * 8), strict=True):  # classes, then box distances
        assert output.dtype == np.float32
        assert output.shape == (cells, columns)
        np.testing.assert_allclose(output, by_other, atol=1e-4)
    frame, _ = draw_scene(np.random.default_rng(6), 2)
    detected, by_torch = (
        Predictor(*words, backend=b).predict(frame)
        for words, b in (((path, "cpu", "fp32"), name), ((learned_model, "cpu", "fp32"), "torch"))
    )
    assert len(by_torch) >= 2
    assert detected.class_ids.tolist() == by_torch.class_ids.tolist()
    np.testing.assert_allclose(detected.scores, by_torch.scores, atol=1e-4)
    np.testing.assert_allclose(detected.boxes_xyxy_px, by_torch.boxes_xyxy_px, atol=0.02)


def test_bf16_is_what_openvino_runs_and_near_fp32(learned_onnx: Path, canvas: np.ndarray) -> None:
    installed("openvino")
    if cpu_precision() != "bf16":
        pytest.skip("this CPU has no instructions for bf16")
    logits = {}
    for precision in ("fp32", "bf16"):
        backend, _ = open_model(learned_onnx, "openvino", "cpu", precision, 0)
        assert backend.precision == precision
        logits[precision] = np.array(backend.infer(canvas)[0])
    assert 0 < np.abs(logits["bf16"] - logits["fp32"]).max() < 0.3


def test_auto_prefers_what_was_measured_to_be_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    there: set[str] = set()
    monkeypatch.setattr(backends, "is_installed", lambda name: name in there)
    for name, device, precision, order in (
        ("m.safetensors", "cpu", "auto", ["openvino", "torch"]),
        ("m.onnx", "cpu", "auto", ["openvino", "onnxruntime"]),
        ("m.onnx", "cpu", "bf16", ["openvino"]),
        ("m.onnx", "cpu", "int8", ["openvino", "onnxruntime"]),
        ("m.safetensors", "cuda:0", "auto", ["torch"]),
        ("m.onnx", "cuda:0", "auto", ["onnxruntime"]),
    ):
        for first, expected in enumerate(order):
            there = set(order[first:])
            assert choose_backend(Path(name), "auto", device, precision) == expected
        there = set()  # the absence of the first is told with its remedy
        assert choose_backend(Path(name), "auto", device, precision) == order[0]
    there = {"onnxruntime"}
    assert choose_backend(Path("m.onnx"), "auto", "cuda:0", "fp16") == "tensorrt"


@pytest.mark.parametrize(
    ("flags", "pays"),
    [
        ("avx2", True),
        ("avx2 avx512_vnni avx512_bf16", True),
        ("avx2 avx512_vnni amx_bf16 amx_int8", False),
        ("sse4_2 avx", False),
        ("", False),
    ],
)
def test_the_shipped_detector_is_the_int8_onnx_where_that_is_the_fastest(
    flags: str, pays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "cpu_facts", lambda: {"flags": flags})
    in_int8, plain, trained = (default_model_path(suffix) for suffix in (".int8.onnx", ".onnx", ".safetensors"))
    assert shipped_model("auto", "cpu") == shipped_model("onnxruntime", "cpu") == (in_int8 if pays else plain)
    assert shipped_model("auto", "cpu", "int8") == in_int8
    assert shipped_model("auto", "cpu", "bf16") == shipped_model("openvino", "cpu", "fp32") == plain
    assert shipped_model("torch", "cpu") == trained
    assert shipped_model("auto", "cpu", task="landmarks") == default_model_path(".onnx", "landmarks")
    assert shipped_model("torch", "cpu", task="landmarks") == default_model_path(".safetensors", "landmarks")
    monkeypatch.setattr(backends, "device_name", lambda *_: "cuda:0")
    assert shipped_model("auto", "cuda") == trained
    assert shipped_model("tensorrt", "cuda") == plain


def test_a_missing_or_broken_library_is_told_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_library.py").write_text("raise ImportError('libtbb.so.12: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, said in (("no_such_library", "no_such_library"), ("broken_library", r"libtbb\.so\.12")):
        with pytest.raises(InputError, match=rf"{said}.*requirements/train\.txt"):
            need(name, "an export", "train")
    assert [is_installed(name) for name in ("no_such_library", "numpy")] == [False, True]


def test_detect_and_the_predictor_run_the_shipped_model_without_pytorch(tmp_path: Path) -> None:
    """In processes in which `import torch` raises, from the model that is shipped, with OpenVINO or ONNX Runtime."""
    import cv2

    from cgdet_core.data.synthetic.street import SyntheticStreet

    street = SyntheticStreet(1).sample(0).frame.image
    cv2.imwrite(str(tmp_path / "street.png"), street)
    code = WITHOUT_TORCH + "from cgdet_core.cli import main; sys.exit(main(sys.argv[1:]))"
    run_python(code, "detect", tmp_path / "street.png", "--out", tmp_path / "found", "--device", "cpu")
    assert (tmp_path / "found" / "detections.json").is_file()
    code = WITHOUT_TORCH + (
        "import cv2; from cgdet_core.runtime.predictor import Predictor; "
        "p = Predictor(device='cpu', precision='fp32', backend=sys.argv[2]); "
        "print(len(p.predict(cv2.imread(sys.argv[1], -1))), p.backend, 'torch' in sys.modules)"
    )
    expected = len(Predictor(device="cpu", precision="fp32", backend="torch").predict(street))
    assert expected > 0
    for name in [name for name in ("openvino", "onnxruntime") if is_installed(name)]:
        assert run_python(code, tmp_path / "street.png", name) == f"{expected} {name} False"


@pytest.mark.parametrize(
    ("task", "suffix", "precision"),
    [("detection", ".onnx", "fp32"), ("detection", ".int8.onnx", "int8"), ("landmarks", ".onnx", "fp32")],
)
def test_the_shipped_onnx_is_made_of_the_shipped_model(task: str, suffix: str, precision: str) -> None:
    trained, deployed = (default_model_path(each, task) for each in (".safetensors", suffix))
    assert read_info(trained).task == task
    assert trained.parent == deployed.parent
    assert read_info(deployed) == read_info(trained)
    described = read_description(deployed)
    assert (described.model_sha256, described.precision) == (sha256_of(trained), precision)


def test_a_signal_is_handled_after_two_networks_of_overlapping_lives(learned_onnx: Path) -> None:
    installed("openvino")
    code = (
        "import gc, os, signal, sys; from pathlib import Path; from cgdet_core.runtime.predictor import Predictor; "
        "make = lambda: Predictor(Path(sys.argv[1]), 'cpu', 'fp32', backend='openvino'); "
        "signal.signal(signal.SIGINT, lambda *_: print('handled', flush=True)); "
        "first = make(); second = make(); del first; gc.collect(); del second; gc.collect(); "
        "os.kill(os.getpid(), signal.SIGINT); print('alive')"
    )
    assert run_python(code, learned_onnx).split() == ["handled", "alive"]


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_library_is_used_without_its_telemetry(learned_onnx: Path, tmp_path: Path, name: str) -> None:
    installed(name)
    code = (
        "import sys; from pathlib import Path; from cgdet_core.runtime.predictor import Predictor; "
        "p = Predictor(Path(sys.argv[1]), 'cpu', backend=sys.argv[2]); p.warm_up(1); "
        "print(p.backend, bool(sys.modules.get('openvino_telemetry')))"
    )
    places = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    for place in places.values():
        Path(place).mkdir()
    assert run_python(code, learned_onnx, name, **places) == f"{name} False"
    # telemetry would keep what it wants to send and a number for this machine
    assert list((tmp_path / "home").iterdir()) == []
    assert {path.name for path in (tmp_path / "cache").iterdir()} <= {"cgdet"}


@pytest.mark.parametrize(
    ("suffix", "backend", "device", "precision"),
    [
        (".safetensors", "caffe", "cpu", "auto"),
        (".safetensors", "torch", "cpu", "int4"),
        (".safetensors", "auto", "cpu", "fp16"),
        (".safetensors", "openvino", "cpu", "int8"),
        (".safetensors", "onnxruntime", "cpu", "auto"),
        (".onnx", "torch", "cpu", "auto"),
        (".onnx", "onnxruntime", "cpu", "bf16"),
        (".onnx", "tensorrt", "cpu", "auto"),
        (".onnx", "auto", "cpu", "int8"),
        *((".safetensors", "auto", device, "auto") for device in ("gpu", "cuda:99", "", "meta", "cuda:-1")),
    ],
)
def test_what_cannot_be_executed_is_refused_in_one_line(
    learned_model: Path, learned_onnx: Path, suffix: str, backend: str, device: str, precision: str
) -> None:
    with pytest.raises(InputError) as caught:
        Predictor({".onnx": learned_onnx}.get(suffix, learned_model), device, precision, backend=backend)
    asked = device if device != "cpu" else precision if precision != "auto" else backend
    assert asked in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_the_cpu_is_and_has_is_read_from_the_kernels_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "cpuinfo"
    for words, expected in (
        ("flags\t\t: fpu avx512f amx_bf16", "bf16"),
        ("flags : fpu avx512_bf16", "bf16"),
        ("Features : fp asimd bf16", "bf16"),
        ("flags : fpu avx2", "fp32"),
        ("", "fp32"),
    ):
        path.write_text(f"model\t\t: 167\nmodel name\t: A Fast One @ 2 GHz\n{words}\n\nmodel name : other\n")
        facts = cpu_facts.__wrapped__(path)
        assert facts["model name"] == "A Fast One @ 2 GHz"
        monkeypatch.setattr(base, "cpu_facts", lambda facts=facts: facts)
        assert cpu_precision() == expected
    assert cpu_facts.__wrapped__(tmp_path / "none") == {}


def test_the_number_of_threads_reaches_the_library(learned_model: Path, learned_onnx: Path) -> None:
    before = torch.get_num_threads()
    try:
        for name in [name for name in ("openvino", "onnxruntime") if is_installed(name)]:
            torch.set_num_threads(3)
            backend: Any = open_model(learned_onnx, name, "cpu", "fp32", 1)[0]
            assert torch.get_num_threads() == 3  # PyTorch does not run the network: its threads are the user's
            if name == "openvino":
                assert backend.compiled.get_property("INFERENCE_NUM_THREADS") == 1
                # threads that have every core to themselves keep to them, fewer go where there is room
                assert backend.compiled.get_property("ENABLE_CPU_PINNING") == (usable_cores() == 1)
                every: Any = open_model(learned_onnx, name, "cpu", "fp32", 0)[0]
                assert every.compiled.get_property("ENABLE_CPU_PINNING")
            else:
                assert backend.session.get_session_options().intra_op_num_threads == 1
        open_model(learned_model, "torch", "cpu", "fp32", 1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_gpu_is_asked_for_only_where_a_driver_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("nvidiactl", "nvmap", "dxg", "kfd"):
        assert not base.has_gpu_driver(tmp_path)
        (tmp_path / name).touch()
        assert base.has_gpu_driver(tmp_path)
        (tmp_path / name).unlink()
    monkeypatch.setattr(backends, "has_gpu_driver", lambda: False)
    monkeypatch.setitem(sys.modules, "torch", None)
    for suffix in (".safetensors", ".onnx"):
        assert device_name("auto", suffix) == device_name("cpu", suffix) == "cpu"
    assert device_name("cuda:1", ".onnx") == "cuda:1"
    with pytest.raises(InputError, match="device 'gpu'"):
        device_name("gpu", ".onnx")


def test_what_was_compiled_is_kept_and_a_damaged_cache_is_made_again(
    learned_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, canvas: np.ndarray
) -> None:
    installed("openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    expected = np.array(open_model(learned_onnx, "openvino", "cpu", "fp32", 1)[0].infer(canvas)[0])
    (kept,) = (tmp_path / "cgdet").iterdir()
    content = kept.read_bytes()
    kept.chmod(0o644)
    for damaged in (content, content[:-100], b"", content[: len(content) // 2] + b"\0" * 99):
        kept.write_bytes(damaged)
        backend: Any = open_model(learned_onnx, "openvino", "cpu", "fp32", 1)[0]
        assert backend.compiled.get_property("LOADED_FROM_CACHE") == (damaged == content)
        np.testing.assert_array_equal(backend.infer(canvas)[0], expected)


def test_without_a_place_to_write_it_works_all_the_same(
    learned_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed("openvino")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "below"))
    Predictor(learned_onnx, "cpu", backend="openvino").warm_up()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]
