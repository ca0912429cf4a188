"""A training iteration as one recording: loss, gradient and Adam's update are a single launch on a GPU."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from pynode.engines.graph.capture import RECORDERS, NotRecordable, Recording
from pynode.engines.graph.fields import is_own, obstacle_to_recording, reading
from pynode.engines.graph.stepwise import states_of
from pynode.evaluation import parameters_of
from pynode.gradients import Discrete
from pynode.grid import TimeGrid
from pynode.methods.base import GradientMethod
from pynode.problems.base import Objective, Problem
from pynode.solution import Solution, SolveStats
from pynode.solve import Recipe
from pynode.steps import Fixed
from pynode.training.optimiser import LeanAdam
from pynode.training.static_batch import kind_of, static_copy, tensors_of
from pynode.types import State, Times, VectorField

if TYPE_CHECKING:
    from pynode.training.loop import Loop

KEPT = 4
"""Recorded iterations that are kept: one for each shape of a batch and each level of a multilevel training."""

MOST_REFUSED = 8
"""Kinds of batches that can't be recorded, after which no iteration of the run is recorded any more."""

MOST_RECAPTURES = 8
"""Recordings in a row that serve one iteration only, after which no iteration is recorded any more."""

EVENT = "eager iterations"
"""The name of the event of a run in which iterations can't be recorded."""


class Graphed:
    """The recorded iterations of one run.

    A recording reads the batch from static tensors, and updates the weights and Adam's state in place.  The host reads
    once, after everything has been queued: the loss, the norm of the gradient, and whether all numbers are finite.  If
    they are not, the update has left weights and state as they were.

    The loop is passed to each method and not kept, since the loop keeps this object: a cycle would hold memory of the
    device until the next garbage collection.
    """

    def __init__(self) -> None:
        self._recorded: OrderedDict[Any, _Iteration] = OrderedDict()
        self._refused: set[Any] = set()
        self._off = False
        self._unused = 0  # recordings in a row that have served one iteration only

    def prepare(self, loop: Loop) -> bool:
        """Records the next iteration of `loop`; whether that was possible."""
        if self._off:  # the batch would be drawn in vain
            return False
        return self._iteration(loop, loop.problem.batch(loop.progress.iteration)) is not None

    def step(self, loop: Loop, work: Any, batch: Any) -> bool:
        """Does one iteration, all of whose seconds count as forward.

        Returns False, and changes nothing, if it can't be recorded or a number is not finite; torch operators then do
        the iteration, and raise the error if it fails.
        """
        iteration = self._iteration(loop, batch)
        if iteration is None:
            return False
        start = time.perf_counter()
        loss, norm, fine = iteration.run(batch)
        seconds = time.perf_counter() - start
        if not fine:
            return False
        work.loss, work.norm, work.forward = loss, norm, seconds
        work.objective = Objective(loss, _nothing, lambda: torch.tensor(loss), (iteration.stats,))
        return True

    def _iteration(self, loop: Loop, batch: Any) -> _Iteration | None:
        if self._off:
            return None
        try:
            kind = (loop.method, kind_of(batch))
        except NotRecordable as error:
            self._refuse(loop, None, str(error))
            return None
        if kind in self._refused:
            return None
        iteration = self._recorded.get(kind)
        if iteration is not None and iteration.holds():
            self._unused = 0
        elif self._unused >= MOST_RECAPTURES:
            self._refuse(loop, None, "shape or values of its batch change from iteration to iteration")
            return None
        else:
            self._recorded.pop(kind, None)
            try:
                iteration = _Iteration(loop.problem, loop.method, loop.model, loop.optimiser, batch)
            except NotRecordable as error:
                self._refuse(loop, kind, str(error))
                return None
            self._recorded[kind] = iteration
            self._unused += 1
            while len(self._recorded) > KEPT:
                self._recorded.popitem(last=False)
        self._recorded.move_to_end(kind)
        return iteration

    def _refuse(self, loop: Loop, kind: Any, reason: str) -> None:
        """Notes why iterations with such a batch, or with any batch if `kind` is None, are left to torch operators."""
        self._refused.add(kind)
        self._off = self._off or kind is None or len(self._refused) >= MOST_REFUSED
        if self._off:
            self._recorded.clear()
        loop.storage.note(EVENT, loop.progress.iteration, f"an iteration can't be recorded as a whole: {reason}")

    @staticmethod
    def obstacle(loop: Loop) -> str | None:
        """Why no iteration of `loop` can be recorded as a whole, as a clause; None where one may be."""
        if loop.problem.device.type not in RECORDERS or [engine.name for engine in loop.method.engines] != ["graph"]:
            return "another engine runs its solves"
        if loop.world.size > 1:
            return "several ranks share its batch"
        recipe = loop.method.recipe
        if not isinstance(recipe.steps, Fixed) or type(recipe.gradient) is not Discrete:
            return "its steps are not fixed"
        if not isinstance(loop.optimiser, LeanAdam) or not hasattr(torch, "_fused_adam_"):
            return "its optimiser is not Adam"
        if _definer(loop.problem, "objective") not in _definer(loop.problem, "loss").__mro__:
            return "its problem has an objective of its own, and no `loss` that computes the same"
        return None


def _definer(problem: Problem, name: str) -> type:
    """The class that defines the method `name` of `problem`."""
    return next(kind for kind in type(problem).__mro__ if name in vars(kind))


def _nothing() -> None:
    """The pullback of a loss whose gradient has been taken already."""


class _Iteration:
    """The recording of one iteration for batches of one shape; raises `NotRecordable`."""

    def __init__(self, problem: Problem, method: GradientMethod, model: Any, optimiser: Any, batch: Any) -> None:
        device = problem.device
        self._problem, self._model = problem, model
        self._method = _Unchecked(method.recipe)
        with torch.inference_mode(False):
            self._batch, self._slots = static_copy(batch)
            self._update = _Update(optimiser, device)
            self._status = torch.zeros(3, dtype=torch.float64, device=device)
        self._params = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._places = [(p, p.data_ptr()) for p in self._params.values()]
        self._recorder = RECORDERS[device.type](device)
        self._recording: Recording = self._recorder.record(self._work, keeping=self._update.changes)
        self.stats = sum(self._method.solves, SolveStats())

    def holds(self) -> bool:
        """Whether the weights and Adam's state are still at the same addresses."""
        return self._update.holds() and all(p.data_ptr() == place for p, place in self._places)

    def run(self, batch: Any) -> tuple[float, float, bool]:
        """Loss, norm of the gradient, and whether both and all states are finite, so that the weights were updated."""
        with torch.no_grad():
            self._recorder.enter()
            for static, x in zip(self._slots, tensors_of(batch), strict=True):
                static.copy_(x)
            self._update.set_rates()
            self._recording.replay()
            for p in self._update.params:  # the replay does not count as a change in place
                torch.autograd.graph.increment_version(p)
            loss, norm, fine = self._status.tolist()
        return loss, norm, fine == 1.0

    def _work(self) -> None:
        method = self._method
        method.begin()
        leaves = {name: p.detach().requires_grad_() for name, p in self._params.items()}
        with torch.inference_mode(False), torch.enable_grad(), reading(self._model, leaves):
            result = self._problem.loss(method, self._model, self._batch)
            if result is None:
                raise NotRecordable(f"the problem {self._problem.name} has no method `loss`, which reads no values")
            gradients = torch.autograd.grad(result, list(leaves.values()), allow_unused=True)
            method.end()
        with torch.inference_mode(False), torch.no_grad():
            by = {id(p): g for p, g in zip(self._params.values(), gradients, strict=True) if g is not None}
            norms = torch._foreach_norm(list(by.values()), 2.0, torch.float64)
            norm = torch.linalg.vector_norm(torch.stack(norms))
            loss = result.detach().double()
            flags = torch.stack([torch.isfinite(loss), torch.isfinite(norm), *method.finite])
            fine = flags.all()
            self._update(by, (~fine).float())
            self._status.copy_(torch.stack((loss, norm, fine.double())))


class _Unchecked(GradientMethod):
    """A gradient method for a recording: takes the same steps, without checks that read values.

    Output times are read at the first use; every later use must solve at the same times in the same order.
    """

    name: ClassVar[str] = "recorded"
    backend: ClassVar[str] = "torch"
    adaptive: ClassVar[bool] = False

    def __init__(self, recipe: Recipe) -> None:
        object.__setattr__(self, "recorded_recipe", recipe)
        object.__setattr__(self, "times", [])
        self.begin()

    @property
    def recipe(self) -> Recipe:
        recipe: Recipe = self.__dict__["recorded_recipe"]
        return recipe

    def begin(self) -> None:
        """To be called before each use."""
        for name in ("solves", "finite"):
            object.__setattr__(self, name, [])

    def end(self) -> None:
        """To be called after the gradient has been taken."""
        gradient = self.recipe.gradient
        if isinstance(gradient, Discrete) and gradient.memory == "store":
            for stats in self.solves:
                stats.backward.n_vjp = stats.forward.n_f

    solves: list[SolveStats]
    finite: list[Tensor]
    times: list[tuple[float, ...]]

    def solve(
        self,
        field: VectorField,
        y0: State,
        ts: Times,
        *,
        params: Sequence[Tensor] | None = None,
        throw: bool = True,  # noqa: ARG002 (whether all is finite is known later)
    ) -> Solution:
        if ts.requires_grad:
            raise NotRecordable("its output times want a gradient, but a recording has its times built in")
        k = len(self.solves)
        if k == len(self.times):
            if reason := obstacle_to_recording(field, ts[0], y0):
                raise NotRecordable(reason)
            assert isinstance(field, torch.nn.Module)
            if is_own(field):
                raise NotRecordable(f"its field {type(field).__name__} is not one of pynode's own")
            self.times.append(tuple(ts.tolist()))
        recipe, steps = self.recipe, self.recipe.steps
        assert isinstance(steps, Fixed)
        assert isinstance(recipe.gradient, Discrete)
        stats = SolveStats(engine="graph")
        grid = TimeGrid.through(self.times[k], steps.n)
        leaves = list({id(p): p for p in (*parameters_of(field), *(params or ()))}.values())
        states = states_of(field, y0, grid, recipe.formula, recipe.gradient, leaves, stats)
        self.solves.append(stats)
        self.finite.append(torch.isfinite(states.detach()).all())
        return Solution(ts, states, stats)


class _Update:
    """Adam's step on static tensors: learning rates are read from the device, and a bad gradient changes nothing.

    Torch's fused step, by a learning rate of 1, changes tensors of zeros; these are then scaled by the rate in the
    parameters' own precision (the fused step would take it in single precision).
    """

    def __init__(self, optimiser: LeanAdam, device: torch.device) -> None:
        self._optimiser, self._groups = optimiser, list(optimiser.param_groups)
        self._lists = [optimiser._lists_of(group["params"]) for group in self._groups]
        self._rates = [torch.zeros((), dtype=_dtype_of(group), device=device) for group in self._groups]
        self._set: list[Any] = [None for _ in self._groups]
        self._constants = [_constants_of(group) for group in self._groups]

    @property
    def changes(self) -> list[Tensor]:
        """All tensors that a step writes to."""
        return [x for lists in self._lists for each in lists for x in each]

    @property
    def params(self) -> list[Tensor]:
        """All parameters."""
        return [p for params, *_ in self._lists for p in params]

    def holds(self) -> bool:
        """Whether the optimiser still has the same state and settings."""
        state = self._optimiser.state
        for group, lists, constants in zip(self._groups, self._lists, self._constants, strict=True):
            if _constants_of(group) != constants or len(group["params"]) != len(lists[0]):
                return False
            for p, mean, square, count in zip(*lists, strict=True):
                own: Mapping[str, Any] = state.get(p, {})
                if (
                    own.get("exp_avg") is not mean
                    or own.get("exp_avg_sq") is not square
                    or own.get("step") is not count
                ):
                    return False
        return True

    def set_rates(self) -> None:
        """Writes the learning rates of the optimiser's groups where they have changed."""
        for k, group in enumerate(self._groups):
            if group["lr"] != self._set[k]:
                self._rates[k].fill_(group["lr"])
                self._set[k] = group["lr"]

    def __call__(self, gradients: Mapping[int, Tensor], bad: Tensor) -> None:
        """A step by `gradients`, by identity of the parameter; none where the float32 scalar `bad` is 1."""
        for group, lists, rate in zip(self._groups, self._lists, self._rates, strict=True):
            rows = [row for row in zip(*lists, strict=True) if id(row[0]) in gradients]
            if not rows:
                continue
            params, means, squares, counts = (list(column) for column in zip(*rows, strict=True))
            own = [_laid_out(gradients[id(p)], p) for p in params]
            if group["weight_decay"]:
                own = list(torch._foreach_add(own, params, alpha=group["weight_decay"]))
            changes = [torch.zeros_like(p) for p in params]
            beta1, beta2 = group["betas"]
            torch._foreach_add_(counts, 1)
            torch._fused_adam_(
                changes,
                own,
                means,
                squares,
                [],
                counts,
                lr=1.0,
                beta1=beta1,
                beta2=beta2,
                weight_decay=0.0,
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
                found_inf=bad,
            )
            torch._foreach_sub_(counts, [bad] * len(counts))
            torch._foreach_mul_(changes, rate)
            torch._foreach_add_(params, changes)


def _laid_out(gradient: Tensor, p: Tensor) -> Tensor:
    """The gradient with the strides of its parameter, which the fused step requires."""
    return gradient if gradient.stride() == p.stride() else torch.empty_like(p).copy_(gradient)


def _dtype_of(group: Mapping[str, Any]) -> torch.dtype:
    dtypes = {p.dtype for p in group["params"]}
    if len(dtypes) != 1:
        raise NotRecordable("its parameters have several dtypes")
    return dtypes.pop()


def _constants_of(group: Mapping[str, Any]) -> tuple[Any, ...]:
    return group["betas"], group["eps"], group["weight_decay"]
