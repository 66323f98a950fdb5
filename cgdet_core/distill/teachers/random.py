"""The control: a teacher of the same structure that was never trained."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import torch
from torch import Tensor, nn

SEED: Final = 0
Network = TypeVar("Network", bound=nn.Module)


@contextmanager
def own_generator() -> Iterator[None]:
    """What is drawn inside comes from a seed of its own, and leaves the process' generator as it was."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed the GPUs too, which are not put back
        torch.default_generator.manual_seed(SEED)
        yield


def untrained(build: Callable[[], Network], to_input: Callable[[Tensor], Tensor]) -> Network:
    """The network as it is built, always the same one, with batch norm at work; in evaluation mode.

    to_input: pictures uint8 [B, 3, H, W] -> what the network takes. Its batch norms get the statistics
    of pictures of noise, as in the first step of a training: without them every layer shrinks the
    features, to 1e-6 at stride 8 and 1e-11 at stride 32, and a teacher whose maps are constant would be
    no control.
    """
    with own_generator(), torch.no_grad():
        network = build()
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = None  # the statistics of the one batch, whole
        network.train()(to_input(noise_pictures()))
    return network.eval()


def noise_pictures() -> Tensor:
    """uint8 [8, 3, 256, 256], from dark to bright: coloured squares of 64 px with fainter ones of 8 px over them.

    As in pictures of a street the large things hold most of the contrast: statistics of fine noise alone would make
    the features of a street many times too large.
    """
    coarse, fine = (
        torch.rand(8, 3, 256 // side, 256 // side).repeat_interleave(side, 2).repeat_interleave(side, 3)
        for side in (64, 8)
    )
    brightness = torch.linspace(0.1, 1.2, 8)[:, None, None, None]
    return ((0.8 * coarse + 0.2 * fine) * brightness * 255).clamp(max=255).to(torch.uint8)
