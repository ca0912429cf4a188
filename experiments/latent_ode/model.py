"""The latent ODE: a GRU reads a series into a distribution of initial states, which a neural ODE carries on in time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence
from torch.nn.utils.rnn import pack_padded_sequence

import pynode
from experiments.latent_ode.data import Series
from pynode.methods.base import GradientMethod

LATENT, HIDDEN = 6, 32


class Encoder(nn.Module):
    """q(z(0) | series): a GRU over the observations that it sees, from the last one back to the first."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, HIDDEN, batch_first=True)
        self.head = nn.Linear(HIDDEN, 2 * LATENT)

    def forward(self, series: Series) -> Independent[Normal]:
        """A distribution of `(series, LATENT)`."""
        seen = series.seen
        order = torch.where(seen, series.times, -torch.inf).argsort(1, descending=True)
        times, values = series.times.gather(1, order), series.values.gather(1, order)
        steps = torch.cat((torch.zeros_like(times[:, :1]), times[:, :-1] - times[:, 1:]), dim=1)
        packed = pack_padded_sequence(
            torch.stack((values, times, steps), dim=2), seen.sum(1), batch_first=True, enforce_sorted=False
        )
        _, last = self.gru(packed)
        mean, raw_scale = self.head(last[0]).chunk(2, dim=1)
        return Independent(Normal(mean, nn.functional.softplus(raw_scale - 2) + 1e-4), 1)


class Loss(NamedTuple):
    """Parts of the negative evidence lower bound, means over the series."""

    reconstruction: Tensor
    divergence: Tensor


class LatentODE(nn.Module):
    """Encoder, `pynode.NeuralODE` and decoder."""

    def __init__(self, method: GradientMethod) -> None:
        super().__init__()
        self.encoder = Encoder()
        field = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, LATENT))
        self.dynamics = pynode.NeuralODE(field, method)
        self.log_noise = nn.Parameter(torch.zeros(()))  # standard deviation of observations, learnt
        self.decoder = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, 1))

    def loss(self, series: Series) -> Loss:
        """One sample z(0) for each series, solved once over the union of their times, compared where observed."""
        posterior, n = self.encoder(series), len(series.times)
        times = torch.where(series.observed, series.times, 0.0)
        union, place = torch.cat((times.new_zeros(1), times.reshape(-1))).unique(return_inverse=True)
        states = self.dynamics(posterior.rsample(), union)  # (times, series, LATENT)
        rows = place[1:] * n + torch.arange(n).repeat_interleave(times.shape[1])
        here = self.decoder(states.flatten(0, 1).index_select(0, rows)).reshape(times.shape)
        log_p = Normal(here, self.log_noise.exp()).log_prob(series.values)
        reconstruction = -(log_p * series.observed).sum(1).mean()
        prior = Independent(Normal(torch.zeros(LATENT), torch.ones(LATENT)), 1)
        return Loss(reconstruction, kl_divergence(posterior, prior).mean())

    @torch.no_grad()
    def predicted(self, series: Series, samples: int = 0) -> Tensor:
        """Curves `(series, n)` at the regular times, from the mean of z(0); or `(samples, series, n)` of them."""
        posterior = self.encoder(series)
        z0 = posterior.sample((samples,)) if samples else posterior.mean
        return self.decoder(self.dynamics(z0, series.grid))[..., 0].movedim(0, -1)
