"""Mechanics, gradient fields, populations, and other systems with a structure that their authors know."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.zoo.entries import entry


@entry("hamiltonian by hand", 4)
class HamiltonianByHand(nn.Module):
    """H(x) = sum of softplus(K x + b): its gradient written out."""

    def __init__(self) -> None:
        super().__init__()
        self.K = nn.Parameter(torch.randn(6, 4))
        self.b = nn.Parameter(torch.randn(6))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        grad = torch.sigmoid(y @ self.K.T + self.b) @ self.K
        dHdq, dHdp = grad[:, :2], grad[:, 2:]
        return torch.cat([dHdp, -dHdq], dim=1)


@entry("hamiltonian net by autograd", 4)
class HamiltonianNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.H = nn.Sequential(nn.Linear(4, 10), nn.Tanh(), nn.Linear(10, 1))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            y = y.requires_grad_(True)
            H = self.H(y).sum()
            dH = torch.autograd.grad(H, y, create_graph=True)[0]
        q, p = dH.chunk(2, dim=-1)
        return torch.cat([p, -q], dim=-1)


@entry("separable hamiltonian", 2)
class Separable(nn.Module):
    """T(p) + V(q), each differentiated by its own argument."""

    def __init__(self) -> None:
        super().__init__()
        self.T = nn.Sequential(nn.Linear(1, 6), nn.Softplus(), nn.Linear(6, 1))
        self.V = nn.Sequential(nn.Linear(1, 6), nn.Softplus(), nn.Linear(6, 1))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        with torch.set_grad_enabled(True):
            if not y.requires_grad:
                y = y.requires_grad_()
            q, p = torch.split(y, 1, dim=1)
            energy = self.T(p).sum() + self.V(q).sum()
            dq, dp = torch.autograd.grad(energy, (q, p), create_graph=True)
        return torch.cat((dp, -dq), 1)


@entry("gradient of an energy net", 3)
class EnergyGradient(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(4, 10), nn.Linear(10, 1)

    def energy(self, t: Tensor, x: Tensor) -> Tensor:
        tx = torch.cat([x, t * torch.ones_like(x[..., :1])], dim=-1)
        return self.fc2(F.silu(self.fc1(tx))).squeeze(-1)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            y.requires_grad_(True)
            E = self.energy(t, y)
            return -torch.autograd.grad(E, y, grad_outputs=torch.ones_like(E), create_graph=True)[0]


@entry("gradient by torch.func", 3)
class FuncGradient(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def potential(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(-1) + 0.1 * x.pow(4).sum(-1)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -torch.func.vmap(torch.func.grad(self.potential))(y)


@entry("gradient of a summed energy by torch.func", 3)
class SummedFuncGradient(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Softplus(), nn.Linear(8, 1))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return -torch.func.grad(lambda x: self.net(x).sum())(y)


@entry("gradient cut off at the state", 3, refused="derivative|gradient|detach|cotangent")
class CutOffGradient(nn.Module):
    """By `detach` the value is right, but its derivative by the state is 0, and so autograd has it."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            x = y.detach().requires_grad_()
            return -torch.autograd.grad(self.net(x).sum(), x, create_graph=True)[0]


@entry("lagrangian of one coordinate", 2)
class Lagrangian(nn.Module):
    """L(q, v) of a net; v' = (dL/dq - v d2L/dqdv) / (d2L/dv2)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2, 8), nn.Softplus(), nn.Linear(8, 1))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        with torch.enable_grad():
            y = y.requires_grad_(True)
            q, v = y[:, :1], y[:, 1:]
            L = 0.5 * v**2 + 0.2 * self.net(torch.cat([q, v], 1))
            Lq, Lv = torch.autograd.grad(L.sum(), (q, v), create_graph=True)
            Lvq, Lvv = torch.autograd.grad(Lv.sum(), (q, v), create_graph=True)
        return torch.cat([v, (Lq - Lvq * v) / (1 + Lvv.abs())], 1)


@entry("second order by chunk", 4)
class SecondOrderChunk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.acceleration = nn.Sequential(nn.Linear(4, 8), nn.ELU(), nn.Linear(8, 2))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x, v = torch.chunk(y, 2, dim=1)
        return torch.cat((v, self.acceleration(torch.cat((x, v), dim=1)) - 0.1 * v), dim=1)


@entry("second order in place", 4)
class SecondOrderInPlace(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.force = nn.Linear(2, 2)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        out = torch.zeros_like(y)
        out[:, :2] = y[:, 2:]
        out[:, 2:] = -torch.sin(self.force(y[:, :2]))
        out[:, 2:] -= 0.2 * y[:, 2:]
        return out


@entry("lotka-volterra", 2, positive=True)
class LotkaVolterra(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.tensor(1.1))
        self.beta = nn.Parameter(torch.tensor(0.4))
        self.delta = nn.Parameter(torch.tensor(0.1))
        self.gamma = nn.Parameter(torch.tensor(0.4))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        prey, predator = y[:, 0], y[:, 1]
        dprey = self.alpha * prey - self.beta * prey * predator
        dpredator = self.delta * prey * predator - self.gamma * predator
        return torch.stack([dprey, dpredator], dim=1)


@entry("lotka-volterra with a net", 2, positive=True)
class UniversalLotkaVolterra(nn.Module):
    """The known growth, and a net for the interaction (Rackauckas et al. 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.log_rates = nn.Parameter(torch.tensor([0.2, -0.9]))
        self.net = nn.Sequential(nn.Linear(2, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 2))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        rates = self.log_rates.exp() * torch.tensor([1.0, -1.0], dtype=y.dtype)
        return rates * y + 0.1 * self.net(torch.log(y))


@entry("lotka-volterra without a batch", 2, positive=True, lead=None)
class OneLotkaVolterra(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([1.1, 0.4, 0.1, 0.4]))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        a, b, c, d = self.theta
        x, z = y
        return torch.stack([a * x - b * x * z, c * x * z - d * z])


@entry("pendulum", 2)
class Pendulum(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.length, self.damping = nn.Parameter(torch.tensor(1.2)), nn.Parameter(torch.tensor(0.3))
        self.residual = nn.Sequential(nn.Linear(2, 6), nn.Tanh(), nn.Linear(6, 1))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        theta, omega = y[..., 0:1], y[..., 1:2]
        domega = -9.81 / self.length * torch.sin(theta) - self.damping * omega + 0.1 * self.residual(y)
        return torch.cat([omega, domega], -1)


@entry("van der pol", 2)
class VanDerPol(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mu = nn.Parameter(torch.tensor(0.8))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x, v = y.unbind(dim=-1)
        return torch.stack((v, self.mu * (1 - x**2) * v - x), dim=-1)


@entry("lorenz", 3)
class Lorenz(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.sigma, self.rho, self.beta = (nn.Parameter(torch.tensor(v)) for v in (2.0, 3.0, 1.1))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x, u, z = y.T
        return torch.vstack([self.sigma * (u - x), x * (self.rho - z) - u, x * u - self.beta * z]).T


@entry("rigid body by cross products", 3)
class RigidBody(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.log_inertia = nn.Parameter(torch.tensor([0.1, 0.4, 0.8]))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        inertia = self.log_inertia.exp()
        return torch.linalg.cross(inertia * y, y, dim=-1) / inertia


@entry("kuramoto oscillators", 4)
class Kuramoto(nn.Module):
    """Phases of one sample interact, samples don't."""

    def __init__(self) -> None:
        super().__init__()
        self.omega = nn.Parameter(torch.randn(4))
        self.coupling = nn.Parameter(torch.rand(4, 4))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        differences = y.unsqueeze(1) - y.unsqueeze(2)
        return self.omega + (self.coupling * torch.sin(differences)).sum(-1) / 4


@entry("gru by hand", 4)
class GRUODE(nn.Module):
    """GRU-ODE (De Brouwer et al. 2019)."""

    def __init__(self) -> None:
        super().__init__()
        self.lin_z, self.lin_r, self.lin_n = (nn.Linear(4, 4) for _ in range(3))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        z = torch.sigmoid(self.lin_z(y))
        r = torch.sigmoid(self.lin_r(y))
        n = torch.tanh(self.lin_n(r * y))
        return (1 - z) * (n - y)


@entry("gru cell", 4)
class GRUCellODE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(1, 4)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        return self.cell(t.expand(y.shape[0], 1), y) - y


@entry("augmented", 4)
class Augmented(nn.Module):
    """Dupont et al. 2019: columns beyond the data; here two of them get zeros as their velocity in the first term."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 4))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        drift = torch.cat([y[:, :2], torch.zeros(y.shape[0], 2, dtype=y.dtype)], dim=1)
        return self.net(y) - 0.1 * drift


@entry("parameters as part of the state", 3)
class StateOfParameters(nn.Module):
    """A column that does not move, and multiplies the others."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(2, 2)

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        x, rate = y[:, :-1], y[:, -1:]
        return F.pad(torch.tanh(self.net(x)) * rate, (0, 1))


@entry("reaction and diffusion on a ring", 6)
class ReactionDiffusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.diffusivity = nn.Parameter(torch.tensor(0.5))
        self.reaction = nn.Sequential(nn.Linear(1, 6), nn.Tanh(), nn.Linear(6, 1))

    def forward(self, t: Tensor, y: Tensor) -> Tensor:
        laplacian = torch.roll(y, 1, dims=1) - 2 * y + torch.roll(y, -1, dims=1)
        return self.diffusivity * laplacian + self.reaction(y.unsqueeze(-1)).squeeze(-1)
