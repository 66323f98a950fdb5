"""What modules of a network put out, read by hooks: the network is not edited."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType

from torch import Tensor, nn

from cgdet_core.errors import InputError


class Taps:
    """Keeps the latest output of each named module while the context is open.

    what: the setting that names the modules, for the InputError where the network has no such module,
    or one puts out something else than one tensor.
    """

    def __init__(self, network: nn.Module, names: Sequence[str], what: str) -> None:
        modules = dict(network.named_modules())
        for name in names:
            if name not in modules or not name:
                near = sorted(word for word in modules if word.startswith(name.split(".")[0] + "."))[:12]
                raise InputError(
                    f"{what}: the network has no module {name!r}"
                    + (f": give one such as {', '.join(near)}" if near else f": it has {', '.join(network._modules)}")
                )
        self._what = what
        self._names = tuple(dict.fromkeys(names))
        self._outputs: dict[str, Tensor] = {}
        self._handles = [modules[name].register_forward_hook(self._keeper(name)) for name in self._names]

    def _keeper(self, name: str) -> Callable[[nn.Module, object, object], None]:
        def keep(_module: nn.Module, _inputs: object, output: object) -> None:
            if not isinstance(output, Tensor):
                raise InputError(
                    f"{self._what}: module {name!r} puts out a {type(output).__name__}, not one map: name one inside it"
                )
            self._outputs[name] = output

        return keep

    def take(self) -> dict[str, Tensor]:
        """name -> output of the latest forward pass, which is then forgotten.

        InputError for a module that had no part in it, such as a list of others.
        """
        outputs, self._outputs = self._outputs, {}
        for name in self._names:
            if name not in outputs:
                raise InputError(f"{self._what}: module {name!r} was not called by the network: name another one")
        return outputs

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._outputs = {}

    def __enter__(self) -> Taps:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.remove()


def adapters(channels: Mapping[int, int], to: Mapping[int, int], strides: Sequence[int]) -> nn.ModuleDict:
    """Of each stride a 1x1 convolution from one network's channels to the other's; training only, named by strides."""
    return nn.ModuleDict({str(stride): nn.Conv2d(channels[stride], to[stride], 1) for stride in strides})
