"""Batch norm whose statistics are those of all processes' shares of a batch together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cgdet_core.training.distributed import World


def use_global_statistics(network: nn.Module, world: World) -> None:
    """Let every batch norm of `network` take its statistics over the whole batch; names and tensors stay.

    torch's SyncBatchNorm is not used: it refuses CPU tensors, and on a GPU the host waits for the device in each
    of its forward passes.
    """
    if world.size == 1:
        return
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, GlobalBatchNorm2d(child, world))


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d over the batches of all processes; with the parameters and buffers of `local` themselves.

    [B, C, H, W] -> the same shape and dtype; statistics in float32. While it trains, every process
    must call it, in the same order, forward and backward.
    """

    def __init__(self, local: nn.BatchNorm2d, world: World) -> None:
        if local.momentum is None or not local.affine or not local.track_running_stats:
            raise ValueError("a batch norm with weights, running statistics and a momentum is needed")
        super().__init__(local.num_features, local.eps, local.momentum)
        self.weight, self.bias = local.weight, local.bias
        self.running_mean, self.running_var = local.running_mean, local.running_var
        self.num_batches_tracked = local.num_batches_tracked
        self.training = local.training
        self._world = world

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        mean, variance, count = _statistics(input, self.eps, self._world)
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (count / (count - 1).clamp(min=1)), self.momentum)
        out: Tensor = _Normalise.apply(input, self.weight, self.bias, mean, variance, count, self.eps, self._world)
        return out


@torch.no_grad()
def _statistics(x: Tensor, eps: float, world: World) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [C], variance [C] (of the population) and count [] of all processes' values, float32; the variance
    to the precision that eps leaves it.

    Each process' own mean and variance are combined (Chan, Golub and LeVeque 1983, eq. 2.1): sums of squares
    would lose what a small variance beside a large mean is made of.
    """
    channels = x.shape[1]
    # the third is 1 / sqrt(variance + eps); this operation is far quicker on a CPU than var_mean, and a weight in
    # float32 makes its statistics so for half precision too
    weight = torch.ones(channels, dtype=torch.float32, device=x.device)
    _, mean, inverse_deviation = torch.native_batch_norm(x, weight, weight, None, None, True, 0.0, eps)
    variance = (inverse_deviation.pow(-2) - eps).clamp(min=0)
    count = torch.full((1,), x.numel() / channels, dtype=torch.float32, device=x.device)
    gathered = world.gather(torch.cat((mean, variance, count)))
    means, variances, counts = gathered[:, :channels], gathered[:, channels:-1], gathered[:, -1:]
    total = counts.sum()
    share = counts / total
    mean = (share * means).sum(0)
    variance = (share * (variances + (means - mean).square())).sum(0)
    return mean, variance, total


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, where mean and variance are functions of all processes' x.

    The gradient (Ioffe and Szegedy 2015, section 3) holds two sums over the batch, which are taken over
    all processes; those of weight and bias are this process' own share, as every other parameter's are.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        count: Tensor,
        eps: float,
        world: World,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, (variance + eps).rsqrt(), count)
        ctx.world = world
        return functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse_deviation, count = ctx.saved_tensors
        (gradient,) = gradients
        out = gradient.float()
        standardised = (x.float() - _per_channel(mean)) * _per_channel(inverse_deviation)
        own = torch.stack((out.sum((0, 2, 3)), (out * standardised).sum((0, 2, 3))))
        bias_share, weight_share = ctx.world.sum(own) / count
        inner = out - _per_channel(bias_share) - standardised * _per_channel(weight_share)
        to_x = (inner * _per_channel(weight * inverse_deviation)).to(x.dtype)
        return to_x, own[1], own[0], None, None, None, None, None


def _per_channel(values: Tensor) -> Tensor:
    return values[:, None, None]
