"""What modules of a network put out, read by hooks: the network is not edited."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from torch import Tensor, nn

from cgdet_core.errors import InputError


class Taps:
    """Keeps the latest output of each named module while the context is open.

    Raises InputError for a name that the network does not have.
    """

    def __init__(self, network: nn.Module, names: Sequence[str], what: str) -> None:
        modules = dict(network.named_modules())
        for name in names:
            if name not in modules or not name:
                near = sorted(word for word in modules if word.startswith(name.split(".")[0] + "."))[:12]
                raise InputError(
                    f"{what}: the network has no module '{name}'"
                    + (f": give one such as {', '.join(near)}" if near else f": it has {', '.join(network._modules)}")
                )
        self.outputs: dict[str, Tensor] = {}
        self._handles = [modules[name].register_forward_hook(self._keeper(name)) for name in dict.fromkeys(names)]

    def _keeper(self, name: str):  # type: ignore[no-untyped-def]
        def keep(_module: nn.Module, _inputs: tuple[object, ...], output: object) -> None:
            if not isinstance(output, Tensor):
                raise InputError(f"module '{name}' puts out a {type(output).__name__}, not one map: name one inside it")
            self.outputs[name] = output

        return keep

    def take(self) -> dict[str, Tensor]:
        """name -> output of the latest forward pass, which is then forgotten."""
        outputs, self.outputs = self.outputs, {}
        return outputs

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> Taps:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.remove()
