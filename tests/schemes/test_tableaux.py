"""The numbers of the tableaux: order conditions of all rooted trees, for the formula, its pair and its interpolant."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
import torch

from pynode.errors import InvalidArgument
from pynode.grid import TimeGrid
from pynode.schemes import SCHEMES
from pynode.schemes.base import Embedded, Scheme

Tree = tuple["Tree", ...]
"""A rooted tree by the trees that hang at its root, sorted (Hairer, Norsett & Wanner I, sec. II.2)."""

PAIRS = [name for name in SCHEMES.names() if SCHEMES.load(name).pair is not None]
DENSE = [name for name in PAIRS if (pair := SCHEMES.load(name).pair) is not None and pair.interpolant is not None]
EMBEDDED_ORDER = {"adaptive_heun": 1, "bosh3": 2, "dopri5": 4, "dopri8": 7, "fehlberg2": 1, "heun": 1, "tsit5": 4}
"""Of the second formula of each pair, as its name has it: 5(4), 8(7), ..."""


@cache
def trees(order: int) -> frozenset[Tree]:
    """All rooted trees with `order` nodes."""
    if order == 1:
        return frozenset({()})
    larger = set()
    for smaller in trees(order - 1):
        larger.add(tuple(sorted((*smaller, ()))))
        for k, branch in enumerate(smaller):  # a node more somewhere in one branch
            for grown in trees(size(branch) + 1):
                larger.add(tuple(sorted((*smaller[:k], grown, *smaller[k + 1 :]))))
    return frozenset(larger)


def size(tree: Tree) -> int:
    """Nodes."""
    return 1 + sum(map(size, tree))


def density(tree: Tree) -> int:
    """gamma: the nodes times the densities of the branches."""
    return size(tree) * math.prod(map(density, tree))


def weight(scheme: Scheme, tree: Tree) -> npt.NDArray[np.float64]:
    """Phi, the elementary weight of each stage."""
    a = np.array([[*row, *[0.0] * (scheme.n_stages - len(row))] for row in scheme.a])
    product = np.ones(scheme.n_stages)
    for branch in tree:
        product = product * (a @ weight(scheme, branch))
    return product


def test_there_are_as_many_trees_as_there_should_be() -> None:
    assert [len(trees(order)) for order in range(1, 9)] == [1, 1, 2, 4, 9, 20, 48, 115]
    assert Counter(density(tree) for tree in trees(4)) == Counter([24, 12, 8, 4])


@pytest.mark.parametrize("name", SCHEMES.names())
def test_order_conditions(name: str) -> None:
    """sum b_i Phi_i = 1 / gamma for every tree up to the order, and not for all of the next one."""
    scheme = SCHEMES.load(name)
    b = np.array(scheme.b)
    for order in range(1, scheme.order + 1):
        for tree in trees(order):
            assert b @ weight(scheme, tree) == pytest.approx(1 / density(tree), abs=2e-14), tree
    beyond = [abs(b @ weight(scheme, tree) - 1 / density(tree)) for tree in trees(scheme.order + 1)]
    assert max(beyond) > 1e-6
    assert scheme.c == pytest.approx([sum(row) for row in scheme.a], abs=1e-14)


@pytest.mark.parametrize("name", PAIRS)
def test_order_conditions_of_the_embedded_formula(name: str) -> None:
    """b minus the error weights is a formula of its own, of a lower order and no higher one."""
    scheme = SCHEMES.load(name)
    assert scheme.pair is not None
    b = np.array(scheme.b) - np.array(scheme.pair.error)
    for order in range(1, EMBEDDED_ORDER[name] + 1):
        for tree in trees(order):
            assert b @ weight(scheme, tree) == pytest.approx(1 / density(tree), abs=2e-14), tree
    beyond = [abs(b @ weight(scheme, tree) - 1 / density(tree)) for tree in trees(EMBEDDED_ORDER[name] + 1)]
    assert max(beyond) > 1e-6, "an estimate of the error that is too good sees none"


@pytest.mark.parametrize("x", [0.0, 0.25, 0.7, 1.0])
@pytest.mark.parametrize("name", DENSE)
def test_order_conditions_between_the_steps(name: str, x: float) -> None:
    """sum b_i(x) Phi_i = x^q / gamma for the trees of q <= 4 nodes; at the end it is the formula itself."""
    scheme = SCHEMES.load(name)
    b = np.array(scheme.dense_weights(x))
    for order in range(1, 5):
        for tree in trees(order):
            assert b @ weight(scheme, tree) == pytest.approx(x**order / density(tree), abs=1e-12), tree
    if x in (0.0, 1.0):
        assert b == pytest.approx(x * np.array(scheme.b), abs=1e-12)


@pytest.mark.parametrize("name", DENSE)
def test_the_interpolant_leaves_and_arrives_with_the_slope(name: str) -> None:
    """b_1'(0) = 1 and b_s'(1) = 1, all others 0: steps join smoothly, as the last stage is the next step's first."""
    scheme = SCHEMES.load(name)
    assert scheme.pair is not None
    assert scheme.pair.interpolant is not None
    rows = np.array(scheme.pair.interpolant)
    first = [1.0, *[0.0] * (scheme.n_stages - 1)]
    assert rows[:, 0] == pytest.approx(first, abs=1e-12)
    assert rows @ np.arange(1, 5) == pytest.approx(first[::-1], abs=1e-12)


def test_the_controllers_exponents() -> None:
    """Hairer's for dopri5 with beta = 0.04; 7 / (10 q) and 2 / (5 q) for tsit5, as SciML takes them."""
    dopri5, tsit5 = SCHEMES.load("dopri5").pair, SCHEMES.load("tsit5").pair
    assert dopri5 is not None
    assert tsit5 is not None
    assert dopri5.exponents == pytest.approx((0.17, 0.04))
    assert tsit5.exponents == pytest.approx((7 / 50, 2 / 25))


@pytest.mark.parametrize("name", SCHEMES.names())
def test_the_formula_of_a_pair_is_the_pair_without_its_estimate(name: str) -> None:
    """Stages that only the estimate needs are left out; steps of a given size are the same without them."""
    scheme = SCHEMES.load(name)
    formula = scheme.formula
    assert formula.pair is None
    assert formula.b[-1] != 0
    assert scheme.b == (*formula.b, *[0.0] * (scheme.n_stages - formula.n_stages))
    assert (formula.a, formula.c) == (scheme.a[: formula.n_stages], scheme.c[: formula.n_stages])
    assert scheme.formula is formula, "made once"
    y0, grid = torch.tensor([0.5, -0.25]).double(), TimeGrid.between(torch.tensor([0.0, 1.0]).double(), 3)
    field = lambda t, y: torch.sin(t + 3 * y)  # noqa: E731
    assert torch.equal(scheme.solve(field, y0, grid), formula.solve(field, y0, grid))
    if name == "dopri5":
        assert (scheme.n_stages, formula.n_stages) == (7, 6)


@pytest.mark.parametrize("name", SCHEMES.names())
def test_steps_of_a_tensors_size_are_those_of_a_number(name: str) -> None:
    """The step size is a tensor where times want a gradient."""
    scheme, y0 = SCHEMES.load(name), torch.tensor([0.5, -0.25]).double()
    ts = torch.tensor([0.0, 0.3, 1.1]).double()
    grid = TimeGrid.between(ts, (2, 3))
    field = lambda t, y: torch.sin(t + 3 * y)  # noqa: E731
    plain = scheme.solve(field, y0, grid)
    wanted = ts.clone().requires_grad_()
    graphed = scheme.solve(field, y0, grid, wanted)
    assert graphed.detach().numpy() == pytest.approx(plain.numpy(), rel=1e-14)
    (by_ts,) = torch.autograd.grad(graphed[-1].sum(), wanted)
    assert float(by_ts[-1]) == pytest.approx(float(field(ts[-1], plain[-1]).sum()), rel=0.3)


@pytest.mark.parametrize("error", [(0.5,), (0.5, -0.5, 0.0), (0.5, -0.4), (-0.5, 0.4)])
def test_an_error_estimate_that_does_not_fit_is_refused(error: tuple[float, ...]) -> None:
    heun = SCHEMES.load("heun")
    with pytest.raises(InvalidArgument, match=r"error = .*: no error estimate of this tableau"):
        replace(heun, pair=Embedded(error))
    assert replace(heun, pair=Embedded((0.5, -0.5))).pair is not None


def test_the_solver_of_a_pair_may_have_another_name() -> None:
    heun = SCHEMES.load("rk4")
    assert heun.solver == "rk4"
    weights = (0.5, -0.5, 0.0, 0.0)
    assert replace(heun, pair=Embedded(weights)).solver == "rk4"
    assert replace(heun, pair=Embedded(weights, solver="other")).solver == "other"


def test_equal_schemes_are_one_key() -> None:
    schemes = {SCHEMES.load(name): name for name in SCHEMES.names()}
    assert len(schemes) == len(SCHEMES.names())
    assert schemes[replace(SCHEMES.load("rk4"))] == "rk4"
