"""What a frozen teacher gives, and the plainest of them: a network of this project's own, on RGB or thermal frames."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from cgdet_core import thermal
from cgdet_core.config import Recipe, TeacherConfig, ThermalConfig
from cgdet_core.errors import InputError
from cgdet_core.model.blocks import fuse
from cgdet_core.model.network import Network
from cgdet_core.runtime.model_file import load_model
from cgdet_core.tasks import build_network, task_of
from cgdet_core.tasks.task import Rows, TeacherOutput

if TYPE_CHECKING:
    from cgdet_core.tasks import TeacherReading

SEED: Final = 0  # of the control, a teacher that was never trained
Built = TypeVar("Built", bound=nn.Module)


class Teacher(ABC):
    """A frozen network: in evaluation mode, without gradients, in float32 on the CPU until `to` says otherwise.

    channels: stride -> channels of its maps; knows: of each class of the student whether the teacher
    knows it, empty where classes say nothing. It is no nn.Module: it is nobody's state.
    """

    knows: tuple[bool, ...] = ()

    def __init__(self, network: nn.Module, channels: Mapping[int, int]) -> None:
        self.network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        self.channels = dict(channels)
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.identity = type(self).__name__  # what a model says of who taught it

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> Teacher:
        """Move it. dtype: what its convolutions are computed in: float32, bfloat16, or float16 on a GPU."""
        self.network.to(device, dtype)
        self.device, self.dtype = device, dtype
        return self

    @torch.no_grad()
    def look(self, rgb: Tensor) -> TeacherOutput:
        """rgb: uint8 [B, 3, H, W] in RGB order, H and W multiples of 32 -> what the teacher makes of it.

        A network of this project takes float [B, 1, H, W] in [0, 1] too, as the student does, whatever the autocast.
        """
        with torch.autocast(self.device.type, enabled=False):
            return self._look(rgb.to(self.device, non_blocking=True))

    def predict(self, maps: Mapping[int, Tensor]) -> Any:
        """maps: stride -> float [B, C, H / stride, W / stride] in place of its own, with or without a
        gradient, which goes through the head to them; its weights are fixed. For the task's teacher_losses.
        """
        with torch.autocast(self.device.type, enabled=False):
            return self._predict([self._input(maps[stride]) for stride in self.channels])

    @abstractmethod
    def _predict(self, maps: Sequence[Tensor]) -> Rows: ...

    @abstractmethod
    def _look(self, rgb: Tensor) -> TeacherOutput: ...

    def by_stride(self, maps: Sequence[Tensor]) -> dict[int, Tensor]:
        """Maps in the order of `channels` -> those of a TeacherOutput."""
        return {stride: values.float() for stride, values in zip(self.channels, maps, strict=True)}

    def _input(self, values: Tensor) -> Tensor:
        """As the network's convolutions take it."""
        return values.to(self.dtype, memory_format=torch.channels_last)


@contextmanager
def own_generator() -> Iterator[None]:
    """What is drawn inside comes from a seed of its own, and leaves the process' generator as it was."""
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed the GPUs too, which are not put back
        torch.default_generator.manual_seed(SEED)
        yield


def untrained(build: Callable[[], Built], to_input: Callable[[Tensor], Tensor]) -> Built:
    """The network as it is built, always the same one, with batch norm at work; in evaluation mode.

    to_input: pictures uint8 [B, 3, H, W] -> what the network takes. Its batch norms get the statistics
    of pictures of noise, as in the first step of a training: without them every layer shrinks the
    features, to 1e-6 at stride 8 and 1e-11 at stride 32, and one of constant maps would be no control.
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


class ModelTeacher(Teacher):
    """A network of the student's task; reading: how its head's output is read."""

    def __init__(self, network: Network, reading: TeacherReading, tone: ThermalConfig) -> None:
        super().__init__(fuse(network.eval()), network.channels)
        self._net = network
        self._reading = reading
        self.knows = reading.knows
        self._tone = tone

    def _look(self, rgb: Tensor) -> TeacherOutput:
        is_thermal = rgb.shape[1] == 1
        images = self._input(rgb if is_thermal else grey_input(rgb, self._tone).to(self.device))
        maps = self._net.features(images)
        return TeacherOutput(self.by_stride(maps), self._reading.predictions(self._net.head(maps)))

    def _predict(self, maps: Sequence[Tensor]) -> Rows:
        return self._reading.predictions_with_gradient(self._net.head(tuple(maps)))


def grey_input(rgb: Tensor, tone: ThermalConfig) -> Tensor:
    """Pictures uint8 [B, 3, H, W] -> float32 [B, 1, H, W] in [0, 1] on the CPU, each by its own percentiles."""
    # the very path of frames that drive
    pictures = rgb.permute(0, 2, 3, 1).cpu().numpy()
    return torch.from_numpy(np.stack([thermal.normalise(picture, tone) for picture in pictures])[:, None])


def model_teacher(config: TeacherConfig, recipe: Recipe, path: Path) -> ModelTeacher:
    """The teacher in a model file; InputError where it is none, of another task, or its classes do not fit."""
    network, info = load_model(path)
    if info.task != recipe.task:
        raise InputError(f"{path}: its task is {info.task}, the student's {recipe.task}: give a teacher of that task")
    reading = task_of(recipe).read_teacher(info.class_names, config.class_map, str(path))
    if config.random_weights:
        network = untrained(lambda: build_network(info.task, info.model), lambda rgb: grey_input(rgb, info.thermal))
    return ModelTeacher(network, reading, info.thermal)
