"""What a figure in milliseconds was measured on."""

from __future__ import annotations

import platform
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from cgdet_core.runtime.backends.base import usable_cores


def machine_facts(device: str = "cpu") -> dict[str, Any]:
    """cpu: model name; cores: those that this process may use; versions of python and of the libraries that are
    installed, none of which is imported; gpu: where `device` is one."""
    facts: dict[str, Any] = {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "python": platform.python_version(),
    }
    for name in ("torch", "openvino", "onnxruntime"):
        with suppress(PackageNotFoundError):
            facts[name] = version(name)
    if device.startswith("cuda"):
        import torch

        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def cpu_name(path: Path = Path("/proc/cpuinfo")) -> str:
    """The CPU's name as the kernel tells it, else its architecture."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    # x86 gives a model name; on ARM boards "Model" names the board, if anything
    for key in ("model name", "Model"):
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == key and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()
