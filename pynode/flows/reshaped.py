"""A batch of distributions whose batch has another shape than the one it was built with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution


class Reshaped(Distribution):
    """`base`, of batch shape `(n,)`, as one of `batch_shape`, which holds n distributions too."""

    def __init__(self, base: Distribution, batch_shape: torch.Size) -> None:
        self.base_dist, self.has_rsample = base, base.has_rsample
        super().__init__(batch_shape, base.event_shape, validate_args=False)  # the base checks what it is given

    @property
    def support(self) -> Any:
        """That of the base."""
        return self.base_dist.support

    @property
    def mean(self) -> Tensor:
        """`(*batch_shape, *event_shape)`."""
        return self.base_dist.mean.reshape(*self.batch_shape, *self.event_shape)

    @property
    def variance(self) -> Tensor:
        """`(*batch_shape, *event_shape)`."""
        return self.base_dist.variance.reshape(*self.batch_shape, *self.event_shape)

    def entropy(self) -> Tensor:
        """In nats `batch_shape`."""
        return self.base_dist.entropy().reshape(self.batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """log-density of `value` `(..., *event_shape)`, whose shape broadcasts with the batch shape."""
        lead = value.shape[: value.ndim - len(self.event_shape)]
        shape = torch.broadcast_shapes(lead, self.batch_shape)
        ahead = shape[: len(shape) - len(self.batch_shape)]
        rows = value.expand(*shape, *self.event_shape).reshape(*ahead, -1, *self.event_shape)
        return self.base_dist.log_prob(rows).reshape(shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Samples `(*sample_shape, *batch_shape, *event_shape)`; what the base raises where it has none."""
        return self._shaped(self.base_dist.rsample(torch.Size(sample_shape)), sample_shape)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Samples `(*sample_shape, *batch_shape, *event_shape)` without a graph."""
        return self._shaped(self.base_dist.sample(torch.Size(sample_shape)), sample_shape)

    def _shaped(self, samples: Tensor, sample_shape: Any) -> Tensor:
        return samples.reshape(*torch.Size(sample_shape), *self.batch_shape, *self.event_shape)
