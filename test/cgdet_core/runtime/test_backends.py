"""Every backend gives what PyTorch gives; what cannot be had is refused in one line with its remedy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from cgdet_core import thermal
from cgdet_core.config import ThermalConfig
from cgdet_core.errors import InputError
from cgdet_core.runtime.backends import choice, devices
from cgdet_core.runtime.backends.choice import BACKENDS, choose_backend, open_model
from cgdet_core.runtime.backends.devices import cpu_flags, cpu_precision, device_name, usable_cores
from cgdet_core.runtime.backends.libraries import is_installed, need
from cgdet_core.runtime.exports import from_model
from cgdet_core.runtime.exports.description import export_path
from cgdet_core.runtime.predictor import Predictor

Scene = Callable[..., tuple[np.ndarray, object]]


def installed(name: str) -> None:
    if not is_installed(name):
        pytest.skip(f"{name} is not installed: pip install {name}")


@pytest.fixture
def canvas(draw_scene: Scene) -> np.ndarray:
    frame, _ = draw_scene(np.random.default_rng(5))
    return thermal.normalise(frame, ThermalConfig())


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_backend_gives_what_pytorch_gives(learned_model: Path, name: str, canvas: np.ndarray) -> None:
    installed(name)
    expected = open_model(learned_model, "torch", "cpu", "fp32", 0).backend.infer(canvas)
    opened = open_model(learned_model, name, "cpu", "fp32", 0)
    assert (opened.backend.name, opened.backend.device, opened.backend.precision) == (name, "cpu", "fp32")
    found = opened.backend.infer(canvas)
    assert found.class_logits.dtype == found.box_logits.dtype == np.float32
    assert found.class_logits.shape == (8 * 12 + 4 * 6 + 2 * 3, 2)
    assert found.box_logits.shape == (8 * 12 + 4 * 6 + 2 * 3, 4 * 8)
    np.testing.assert_allclose(found.class_logits, expected.class_logits, atol=1e-4)
    np.testing.assert_allclose(found.box_logits, expected.box_logits, atol=1e-4)


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_bf16_is_what_runs_and_near_fp32(learned_model: Path, name: str, canvas: np.ndarray) -> None:
    installed(name)
    if cpu_precision() != "bf16":
        pytest.skip("this CPU has no instructions for bf16")
    expected = open_model(learned_model, "torch", "cpu", "fp32", 0).backend.infer(canvas)
    backend = open_model(learned_model, name, "cpu", "bf16", 0).backend
    assert backend.precision == "bf16"
    found = backend.infer(canvas)
    gap = np.abs(np.asarray(found.class_logits) - np.asarray(expected.class_logits))
    assert 0 < gap.max() < 0.3


def test_the_whole_path_is_the_same_in_every_backend(learned_model: Path, draw_scene: Scene) -> None:
    names = [name for name in ("openvino", "onnxruntime") if is_installed(name)]
    if not names:
        pytest.skip("neither openvino nor onnxruntime is installed")
    frame, _ = draw_scene(np.random.default_rng(6), 2)
    expected = Predictor(learned_model, "cpu", "fp32", backend="torch").predict(frame)
    assert len(expected) >= 2
    for name in names:
        found = Predictor(learned_model, "cpu", "fp32", backend=name).predict(frame)
        assert found.class_ids.tolist() == expected.class_ids.tolist()
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
        np.testing.assert_allclose(found.boxes_xyxy_px, expected.boxes_xyxy_px, atol=0.02)


def test_auto_prefers_what_was_measured_to_be_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    there: set[str] = {"torch", "openvino", "onnxruntime"}
    monkeypatch.setattr(choice, "is_installed", lambda name: name in there)
    monkeypatch.setattr(choice, "need", lambda *_: None)
    for native, order in (("bf16", ["openvino", "torch"]), ("fp32", ["openvino", "onnxruntime", "torch"])):
        monkeypatch.setattr(choice, "cpu_precision", lambda native=native: native)
        for first, _ in enumerate(order):
            there = {"torch", *order[first:]}
            assert choose_backend("cpu", "auto") == order[first]
    there = {"torch", "openvino", "onnxruntime", "tensorrt"}
    assert choose_backend("cuda", "auto") == "torch"
    assert choose_backend("cpu", "fp32") == "openvino"
    there = {"torch"}
    assert choose_backend("cpu", "int8") == "openvino"  # whose absence is told with the remedy


def test_a_broken_library_is_told_and_auto_goes_on_without_it(
    learned_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("openvino", "onnxruntime"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('libtbb.so.12: cannot open shared object file')\n")
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert Predictor(learned_model, "cpu", "fp32").backend == "torch"
    assert "libtbb.so.12" in caplog.text
    assert "going on without it" in caplog.text
    with pytest.raises(InputError, match=r"libtbb\.so\.12.*pip install openvino"):
        Predictor(learned_model, "cpu", backend="openvino")
    for name in ("openvino", "onnxruntime"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def test_a_missing_library_is_one_line_with_the_remedy() -> None:
    with pytest.raises(InputError) as caught:
        need("no_such_library", "backend x", "no-such-library")
    assert str(caught.value) == (
        "backend x needs no-such-library, which is not installed: pip install no-such-library "
        "(versions: requirements/no.txt)"
    )
    assert not is_installed("no_such_library")
    assert is_installed("numpy")


def test_a_signal_is_handled_after_two_networks_of_overlapping_lives(learned_model: Path) -> None:
    installed("openvino")
    code = (
        "import gc, os, signal; from pathlib import Path; from cgdet_core.runtime.predictor import Predictor; "
        f"make = lambda: Predictor(Path({str(learned_model)!r}), 'cpu', 'fp32', backend='openvino'); "
        "signal.signal(signal.SIGINT, lambda *_: print('handled', flush=True)); "
        "first = make(); second = make(); del first; gc.collect(); del second; gc.collect(); "
        "os.kill(os.getpid(), signal.SIGINT); print('alive')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, ["handled", "alive"]), done.stderr


def test_openvino_is_used_without_its_telemetry(learned_model: Path) -> None:
    installed("openvino")
    code = (
        "import sys; from pathlib import Path; from cgdet_core.runtime.predictor import Predictor; "
        f"p = Predictor(Path({str(learned_model)!r}), 'cpu', backend='openvino'); p.warm_up(1); "
        "print(p.backend, [name for name in sys.modules if name.startswith('openvino_telemetry')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "openvino []"


def test_onnxruntime_is_used_without_its_telemetry(learned_model: Path, tmp_path: Path) -> None:
    installed("onnxruntime")
    code = (
        "from pathlib import Path; from cgdet_core.runtime.predictor import Predictor; "
        f"p = Predictor(Path({str(learned_model)!r}), 'cpu', backend='onnxruntime'); p.warm_up(1); print(p.backend)"
    )
    (tmp_path / "home").mkdir()
    places = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"} | places
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "onnxruntime"
    # its telemetry would keep what it wants to send and a number for this machine
    assert list((tmp_path / "home").iterdir()) == []
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["cgdet"]


@pytest.mark.parametrize(
    ("backend", "precision", "said"),
    [
        ("caffe", "auto", f"backend 'caffe' is unknown: use {', '.join(BACKENDS)}"),
        ("torch", "int4", "precision 'int4' is unknown"),
        ("torch", "int8", "precision 'int8' is not executed by backend torch on cpu: use auto, fp32, bf16"),
        ("torch", "fp16", "precision 'fp16' is not executed by backend torch on cpu"),
        ("openvino", "fp16", "precision 'fp16' is not executed by backend openvino on cpu"),
        ("onnxruntime", "bf16", "precision 'bf16' is not executed by backend onnxruntime on cpu: use auto, fp32"),
        ("onnxruntime", "int8", "precision 'int8' is not executed by backend onnxruntime"),
        ("tensorrt", "auto", "backend tensorrt does not run on device cpu: use backend openvino or torch"),
        ("openvino", "int8", "precision int8 needs a calibrated export beside it: cgdet export --model"),
        ("auto", "int8", "precision int8 needs a calibrated export beside it: cgdet export --model"),
        ("auto", "fp16", "precision 'fp16' is not executed by backend torch on cpu"),
    ],
)
def test_what_cannot_be_executed_is_refused_in_one_line(
    learned_model: Path, backend: str, precision: str, said: str
) -> None:
    with pytest.raises(InputError) as caught:
        Predictor(learned_model, "cpu", precision, backend=backend)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_the_cpu_has_is_read_from_the_kernels_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words, expected in (
        ("flags\t\t: fpu avx512f amx_bf16", "bf16"),
        ("flags : fpu avx512_bf16", "bf16"),
        ("Features : fp asimd bf16", "bf16"),
        ("flags : fpu avx2", "fp32"),
        ("", "fp32"),
    ):
        path = tmp_path / "cpuinfo"
        path.write_text(f"processor : 0\n{words}\n")
        monkeypatch.setattr(devices, "cpu_flags", lambda path=path: cpu_flags.__wrapped__(path))
        assert cpu_precision() == expected
    assert cpu_flags.__wrapped__(tmp_path / "none") == frozenset()


def test_the_number_of_threads_reaches_the_library(learned_model: Path) -> None:
    before = torch.get_num_threads()
    try:
        for name in ("openvino", "onnxruntime"):
            if not is_installed(name):
                continue
            torch.set_num_threads(3)
            backend = open_model(learned_model, name, "cpu", "fp32", 1).backend
            assert torch.get_num_threads() == 3  # PyTorch does not run the network: its threads are the user's
            if name == "openvino":
                assert backend.compiled.get_property("INFERENCE_NUM_THREADS") == 1  # type: ignore[attr-defined]
                # threads that have every core to themselves keep to them, fewer go where there is room
                assert backend.compiled.get_property("ENABLE_CPU_PINNING") == (usable_cores() == 1)  # type: ignore[attr-defined]
                every = open_model(learned_model, name, "cpu", "fp32", 0).backend
                assert every.compiled.get_property("ENABLE_CPU_PINNING")  # type: ignore[attr-defined]
            else:
                assert backend._session.get_session_options().intra_op_num_threads == 1  # type: ignore[attr-defined]
        open_model(learned_model, "torch", "cpu", "fp32", 1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_a_compiled_network_needs_no_pytorch(learned_model: Path, own_cache: Path) -> None:
    installed("openvino")
    code = (
        "import sys; from pathlib import Path; from cgdet_core.runtime.predictor import Predictor; "
        f"p = Predictor(Path({str(learned_model)!r}), 'cpu', backend='openvino', threads=1); p.warm_up(1); "
        "print(p.backend, [name for name in ('torch', 'torchvision') if name in sys.modules])"
    )
    for expected in ("openvino ['torch']", "openvino []"):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == expected


def test_pytorch_is_asked_for_a_gpu_only_where_a_driver_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(devices, "choose_device", lambda device: asked.append(device) or torch.device("cuda:1"))
    monkeypatch.setattr(sys, "platform", "linux")
    assert device_name("auto", tmp_path) == "cpu"
    assert device_name("cpu", tmp_path) == "cpu"
    assert not asked
    assert device_name("cuda:1", tmp_path) == "cuda:1"
    for name in ("nvidiactl", "nvmap", "dxg", "kfd"):
        (tmp_path / name).touch()
        assert device_name("auto", tmp_path) == "cuda:1"
        (tmp_path / name).unlink()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert device_name("auto", tmp_path) == "cuda:1"


def cache_files() -> list[Path]:
    folder = Path(os.environ["XDG_CACHE_HOME"]) / "cgdet"
    return sorted(folder.iterdir()) if folder.is_dir() else []


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_was_compiled_is_kept_and_used_again(learned_model: Path, own_cache: Path, canvas: np.ndarray) -> None:
    installed("openvino")
    first = open_model(learned_model, "openvino", "cpu", "fp32", 1).backend.infer(canvas)
    (kept,) = cache_files()
    assert kept.name.startswith("openvino-")
    expected = np.array(first.class_logits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(from_model, "network_onnx", None)  # not written again
        again = open_model(learned_model, "openvino", "cpu", "fp32", 1).backend.infer(canvas)
    np.testing.assert_array_equal(np.array(again.class_logits), expected)
    open_model(learned_model, "openvino", "cpu", "fp32", 2)
    assert len(cache_files()) == 2


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_cache_is_made_again(learned_model: Path, own_cache: Path, canvas: np.ndarray, damage: str) -> None:
    installed("openvino")
    expected = np.array(open_model(learned_model, "openvino", "cpu", "fp32", 1).backend.infer(canvas).class_logits)
    (kept,) = cache_files()
    content = kept.read_bytes()
    kept.write_bytes({"cut": content[:-100], "changed": content[:-1] + b"\0\1", "empty": b""}[damage])
    found = open_model(learned_model, "openvino", "cpu", "fp32", 1).backend.infer(canvas)
    np.testing.assert_array_equal(np.array(found.class_logits), expected)
    assert kept.read_bytes()[:32] == content[:32] or len(kept.read_bytes()) > 1000


def test_without_a_place_to_write_it_works_all_the_same_and_says_so_once(
    learned_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    installed("openvino")
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "below"))
    predictor = Predictor(learned_model, "cpu", backend="openvino")
    predictor.warm_up()
    (record,) = caplog.records
    assert "is not kept for the next start" in record.getMessage()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_the_cache_lies_where_xdg_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from cgdet_core.runtime.exports.cache import cache_folder

    monkeypatch.setenv("HOME", str(tmp_path))
    for value, expected in (
        ("", tmp_path / ".cache" / "cgdet"),
        ("relative", tmp_path / ".cache" / "cgdet"),
        (str(tmp_path / "x"), tmp_path / "x" / "cgdet"),
    ):
        monkeypatch.setenv("XDG_CACHE_HOME", value)
        assert cache_folder() == expected


def test_the_oldest_entries_of_the_cache_go(own_cache: Path) -> None:
    from cgdet_core.runtime.exports import cache

    for number in range(cache.ENTRIES + 3):
        key: dict[str, object] = {"library": "x", "number": number}
        cache.store(key, b"content")
        os.utime(cache.entry_path(key), (number, number))
    assert cache.load({"library": "x", "number": 0}) is None
    assert cache.load({"library": "x", "number": cache.ENTRIES + 2}) == b"content"
    assert len(cache_files()) == cache.ENTRIES


def test_torchscript_is_never_loaded(learned_model: Path, tmp_path: Path) -> None:
    path = export_path(tmp_path / learned_model.name, "torchscript", "fp32")
    shutil.copy(learned_model, path)
    with pytest.raises(InputError, match="TorchScript holds code and is not loaded"):
        Predictor(path)
