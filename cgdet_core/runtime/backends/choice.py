"""Which backend runs a model."""

from __future__ import annotations

from cgdet_core.errors import InputError
from cgdet_core.model.detector import Detector
from cgdet_core.runtime.backends.base import Backend

BACKENDS = ("auto", "torch")


def open_backend(detector: Detector, backend: str, device: str, precision: str, threads: int) -> Backend:
    """The backend asked for, ready; takes `detector` over. Raises InputError for what cannot be had.

    threads: CPU threads of the network's arithmetic, 0 leaves the library's choice.
    """
    if backend not in BACKENDS:
        raise InputError(f"backend '{backend}' is unknown: use {', '.join(BACKENDS)}")
    import torch

    from cgdet_core.runtime.backends.devices import choose_device
    from cgdet_core.runtime.backends.torch_backend import TorchBackend

    chosen = TorchBackend(detector, choose_device(device), precision)
    if threads > 0:
        torch.set_num_threads(threads)
    return chosen
