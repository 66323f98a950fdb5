"""Libraries that are used where they are there, and said in one line where they are not."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from cgdet_core.errors import InputError

# library -> what it would import to tell its maker that it was used; all go without where it is missing
_TELLTALES = {"openvino": "openvino_telemetry"}
# library -> the variable by which its users forbid the same, read at its import (ONNX Runtime from 1.31 on)
_FORBIDDEN_BY = {"onnxruntime": "ORT_DISABLE_TELEMETRY"}


def is_installed(module: str) -> bool:
    """Whether `module` can be found; it is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def need(module: str, what: str, package: str) -> ModuleType:
    """Import `module`; InputError with the remedy where it is missing or broken.

    what: who needs it, such as "backend openvino"; package: its name for pip, which names the file of
    requirements/ with its bounds too.
    """
    if module in _FORBIDDEN_BY:
        os.environ.setdefault(_FORBIDDEN_BY[module], "1")
    try:
        with _without(_TELLTALES.get(module)):
            return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise InputError(f"{what}: {module} is broken, it lacks {error.name}: pip install {package}") from None
        raise InputError(
            f"{what} needs {package}, which is not installed: pip install {package} "
            f"(versions: requirements/{package.partition('-')[0]}.txt)"
        ) from None
    except (ImportError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{what}: {module} cannot be imported ({reason}): pip install {package}") from None


@contextmanager
def _without(module: str | None) -> Iterator[None]:
    """As if `module` were not installed, unless it is imported already. A vehicle sends nothing home."""
    if module is None or module in sys.modules:
        yield
        return
    sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[module]
