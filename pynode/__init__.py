"""pynode: train neural ODEs by Disc-Opt and by Opt-Disc on identical models, and see which way of differentiating pays.

Everything listed here is loaded on first use: importing pynode imports no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pynode.engines import ENGINES
    from pynode.engines.base import Engine
    from pynode.errors import PynodeError, RunFailure, SolveError, UsageError
    from pynode.explanation import explain
    from pynode.fields import FIELDS
    from pynode.fields.antisymmetric import Antisymmetric
    from pynode.fields.base import FieldSpec
    from pynode.fields.concatsquash import ConcatSquash
    from pynode.fields.hamiltonian import Hamiltonian
    from pynode.fields.mlp import MLP
    from pynode.flows.augmented import RunningCosts
    from pynode.flows.distribution import FlowDistribution
    from pynode.flows.divergence import Exact, Hutchinson
    from pynode.flows.flow import Flow
    from pynode.flows.probes import Draw
    from pynode.gradients import Continuous, Discrete, Gradient, SameGrid, ThroughSteps
    from pynode.grid import TimeGrid
    from pynode.julia.reference import reference_trajectory
    from pynode.least_squares import LeastSquares
    from pynode.memory import measure_memory, peak_bytes
    from pynode.methods import METHODS
    from pynode.methods.ad_adaptive import AdaptiveAD
    from pynode.methods.base import GradientMethod, method
    from pynode.methods.disc_opt import DiscOpt
    from pynode.methods.disc_opt_julia import DiscOptJulia
    from pynode.methods.opt_disc import OptDisc
    from pynode.methods.opt_disc_fixed import OptDiscFixed
    from pynode.methods.opt_disc_julia import OptDiscJulia
    from pynode.neural_ode import NeuralODE
    from pynode.precision import products_in
    from pynode.problems import PROBLEMS
    from pynode.problems.base import Problem
    from pynode.schemes import SCHEMES
    from pynode.schemes.base import Scheme
    from pynode.schemes.dopri5 import DOPRI5
    from pynode.schemes.euler import EULER
    from pynode.schemes.heun import HEUN
    from pynode.schemes.midpoint import MIDPOINT
    from pynode.schemes.rk4 import RK4
    from pynode.schemes.rk38 import RK38
    from pynode.schemes.tsit5 import TSIT5
    from pynode.series_fit import FitInterrupted, SeriesFit, fit_series
    from pynode.solution import Solution, SolveStats
    from pynode.steps import Adaptive, Fixed
    from pynode.studies.advice.advise import advise
    from pynode.studies.gradients.errors import gradient_errors, study_grid
    from pynode.studies.gradients.taylor import taylor_test
    from pynode.tapes.capture import capture
    from pynode.torchdiffeq_interface import odeint, odeint_adjoint, odeint_dense, odeint_event
    from pynode.trajectories.read import read_series

_HOME = {
    "Adaptive": "steps",
    "AdaptiveAD": "methods.ad_adaptive",
    "Antisymmetric": "fields.antisymmetric",
    "ConcatSquash": "fields.concatsquash",
    "Continuous": "gradients",
    "DOPRI5": "schemes.dopri5",
    "DiscOpt": "methods.disc_opt",
    "DiscOptJulia": "methods.disc_opt_julia",
    "Discrete": "gradients",
    "Draw": "flows.probes",
    "ENGINES": "engines",
    "EULER": "schemes.euler",
    "Engine": "engines.base",
    "Exact": "flows.divergence",
    "FIELDS": "fields",
    "FieldSpec": "fields.base",
    "FitInterrupted": "series_fit",
    "Fixed": "steps",
    "Flow": "flows.flow",
    "FlowDistribution": "flows.distribution",
    "Gradient": "gradients",
    "GradientMethod": "methods.base",
    "HEUN": "schemes.heun",
    "Hamiltonian": "fields.hamiltonian",
    "Hutchinson": "flows.divergence",
    "LeastSquares": "least_squares",
    "METHODS": "methods",
    "MIDPOINT": "schemes.midpoint",
    "MLP": "fields.mlp",
    "NeuralODE": "neural_ode",
    "OptDisc": "methods.opt_disc",
    "OptDiscFixed": "methods.opt_disc_fixed",
    "OptDiscJulia": "methods.opt_disc_julia",
    "PROBLEMS": "problems",
    "Problem": "problems.base",
    "PynodeError": "errors",
    "RK38": "schemes.rk38",
    "RK4": "schemes.rk4",
    "RunFailure": "errors",
    "RunningCosts": "flows.augmented",
    "SCHEMES": "schemes",
    "SameGrid": "gradients",
    "Scheme": "schemes.base",
    "SeriesFit": "series_fit",
    "Solution": "solution",
    "SolveError": "errors",
    "SolveStats": "solution",
    "TSIT5": "schemes.tsit5",
    "ThroughSteps": "gradients",
    "TimeGrid": "grid",
    "UsageError": "errors",
    "advise": "studies.advice.advise",
    "capture": "tapes.capture",
    "explain": "explanation",
    "fit_series": "series_fit",
    "gradient_errors": "studies.gradients.errors",
    "measure_memory": "memory",
    "method": "methods.base",
    "odeint": "torchdiffeq_interface",
    "odeint_adjoint": "torchdiffeq_interface",
    "odeint_dense": "torchdiffeq_interface",
    "odeint_event": "torchdiffeq_interface",
    "peak_bytes": "memory",
    "products_in": "precision",
    "read_series": "trajectories.read",
    "reference_trajectory": "julia.reference",
    "study_grid": "studies.gradients.errors",
    "taylor_test": "studies.gradients.taylor",
}

__all__ = [
    "DOPRI5",
    "ENGINES",
    "EULER",
    "FIELDS",
    "HEUN",
    "METHODS",
    "MIDPOINT",
    "MLP",
    "PROBLEMS",
    "RK4",
    "RK38",
    "SCHEMES",
    "TSIT5",
    "Adaptive",
    "AdaptiveAD",
    "Antisymmetric",
    "ConcatSquash",
    "Continuous",
    "DiscOpt",
    "DiscOptJulia",
    "Discrete",
    "Draw",
    "Engine",
    "Exact",
    "FieldSpec",
    "FitInterrupted",
    "Fixed",
    "Flow",
    "FlowDistribution",
    "Gradient",
    "GradientMethod",
    "Hamiltonian",
    "Hutchinson",
    "LeastSquares",
    "NeuralODE",
    "OptDisc",
    "OptDiscFixed",
    "OptDiscJulia",
    "Problem",
    "PynodeError",
    "RunFailure",
    "RunningCosts",
    "SameGrid",
    "Scheme",
    "SeriesFit",
    "Solution",
    "SolveError",
    "SolveStats",
    "ThroughSteps",
    "TimeGrid",
    "UsageError",
    "advise",
    "capture",
    "explain",
    "fit_series",
    "gradient_errors",
    "measure_memory",
    "method",
    "odeint",
    "odeint_adjoint",
    "odeint_dense",
    "odeint_event",
    "peak_bytes",
    "products_in",
    "read_series",
    "reference_trajectory",
    "study_grid",
    "taylor_test",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOME:
        raise AttributeError(f"module 'pynode' has no attribute '{name}'")
    value = getattr(importlib.import_module(f"pynode.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def _version() -> str:
    """The version of the package; that of a clone that is not installed is not known."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("pynode")
    except PackageNotFoundError:
        return "(not installed)"


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
