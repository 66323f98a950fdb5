"""The predictor as the node uses it: opened from parameters, and replaced by the CPU's where a GPU fails."""

from __future__ import annotations

import gc
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cgdet_core.config import PostprocessConfig
from cgdet_core.errors import InputError
from cgdet_core.runtime.gain import GainSmoother
from cgdet_core.thermal import cut_telemetry, to_grey
from cgdet_core.types import Detections, ImageArray
from cgdet_ros.config import NodeConfig
from cgdet_ros.node import parameters

if TYPE_CHECKING:
    from cgdet_core.runtime.predictor import Predictor


_GPU_NAME = re.compile(r"cuda(:\d+)?")


class Engine:
    """A predictor for `config`, its smoothing of the gain, and the way back to the CPU.

    Raises InputError, or whatever the device raises, where there is none to be had. `fallback` is the
    reason why it is the CPU's, or nothing; `tone` is what the last frame was normalised by. `warm_up`,
    `predict` and `fall_back` belong to one thread.
    """

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self.fallback = ""
        self.predictor = open_predictor(config)
        self._thermal = self.tone = parameters.thermal_of(config, self.predictor.info.thermal)
        self._smoother = self._new_smoother()

    @property
    def can_fall_back(self) -> bool:
        """Whether a failure may be the GPU's, and the CPU is wanted then."""
        return self._config.cpu_fallback and self.predictor.device != "cpu"

    def warm_up(self) -> None:
        """Run empty frames; raises what the device raises, where that is not the GPU's to be replaced."""
        try:
            self.predictor.warm_up()
        except Exception as error:
            if not self.can_fall_back:
                raise
            self.fall_back(error, self._config)

    def fall_back(self, error: Exception, config: NodeConfig) -> None:
        """Put the CPU in place of the GPU that raised `error`; config: as it is now, its live settings hold.

        Takes as long as loading a model. Where that fails too, the predictor stays the one that failed.
        """
        replacement = open_predictor(on_cpu(config))
        replacement.warm_up()
        self.predictor = replacement
        self.fallback = one_line(error)
        self.forget()
        release_device_memory()

    def forget(self) -> None:
        """The next frame is of another stream."""
        if self._smoother is not None:
            self._smoother.forget()

    def predict(self, image: ImageArray, stamp_ns: int, postprocess: PostprocessConfig) -> Detections:
        """Detections in a raw frame, in its pixels, best first; equal scores in the order of the network's cells."""
        rows = self._config.telemetry_rows
        self.tone = self._thermal
        if self._smoother is not None:
            picture, _ = cut_telemetry(image, rows)
            limits = self._smoother.limits_of(to_grey(picture), stamp_ns)
            self.tone = self._thermal.model_copy(update={"raw_range": (limits.low, limits.high)})
        return self.predictor.predict(image, rows, postprocess, self.tone)

    def _new_smoother(self) -> GainSmoother | None:
        seconds = self._config.gain_time_s
        fixed = self._thermal.raw_range is not None
        return None if fixed or seconds == 0 else GainSmoother(seconds, self._thermal)

    def postprocess_of(self, config: NodeConfig) -> PostprocessConfig:
        """The model's thresholds and the like with those of `config` over them; InputError for an unknown class."""
        from cgdet_core.runtime.predictor import check_thresholds

        info = self.predictor.info  # the same on the GPU and on the CPU in its place
        return check_thresholds(parameters.postprocess_of(config, info.postprocess), info.class_names)


def open_engine(config: NodeConfig) -> Engine:
    """The engine for `config`, on the CPU where its device cannot be had and that is allowed.

    Raises InputError for a model or settings that are none, and what the device raises.
    """
    try:
        return Engine(config)
    except Exception as error:
        gpu_asked_for = _GPU_NAME.fullmatch(config.device) is not None
        # with `auto` a GPU is taken where there is one: what is foreseen is then not about the GPU
        perhaps_the_gpu = gpu_asked_for or (config.device == "auto" and not isinstance(error, InputError))
        if not (config.cpu_fallback and perhaps_the_gpu):
            raise
        try:
            engine = Engine(on_cpu(config))
        except Exception:
            raise error from None  # the CPU does not help: the first reason is the one to tell
        engine.fallback = one_line(error)
        return engine


def open_predictor(config: NodeConfig) -> Predictor:
    """A predictor for `config`, cold."""
    from cgdet_core.runtime.model_file import default_model_path
    from cgdet_core.runtime.predictor import Predictor

    path = Path(config.model).expanduser() if config.model else default_model_path()
    return Predictor(
        path, device=config.device, precision=config.precision, threads=config.threads, backend=config.backend
    )


def on_cpu(config: NodeConfig) -> NodeConfig:
    """The same for the CPU: a precision or backend of the GPU gives way to what is automatic there."""
    return config.model_copy(update={"device": "cpu", "precision": "auto", "backend": "auto"})


def release_device_memory() -> None:
    """Give back what is cached for nobody; to be called once nothing holds the predictor any more."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        with suppress(RuntimeError):  # a device that failed fails here too
            torch.cuda.empty_cache()


def one_line(error: Exception) -> str:
    """An error for a log: the text of what was foreseen, its kind before that of what was not."""
    text = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())
