"""Every error a user can meet: each names what was wrong, the value, and the remedy.

`UsageError` is a user's mistake, found before work starts (exit status 2); `RunFailure` is a run that could not go on
(exit status 1).  Both are `PynodeError`, so one `except` at the edge is enough.
"""

from __future__ import annotations

import difflib
import errno
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pynode.samples import Samples
    from pynode.solution import Status


class PynodeError(Exception):
    """Base of all errors raised on purpose by pynode."""

    exit_status = 1


# --- mistakes of use -------------------------------------------------------------------------------------------------


class UsageError(PynodeError, ValueError):
    """A bad argument, found before work starts."""

    exit_status = 2


class InvalidArgument(UsageError):
    """One argument has a value that can't be used."""

    def __init__(self, argument: str, value: object, problem: str, remedy: str) -> None:
        self.argument, self.value, self.remedy = argument, value, remedy
        super().__init__(f"{argument} = {value}: {problem}; {remedy}")


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The member of `known` that `name` most likely stands for: case, underscores and missing ends do not count.

    Initials will do, too: "lr" stands for "learning_rate".
    """
    plain = {_plain(member): member for member in known}
    asked = _plain(name)
    if not asked:
        return None
    if asked in plain:
        return plain[asked]
    if longer := [member for member in plain if member.startswith(asked)]:
        return plain[min(longer, key=len)]
    for member in plain:
        if "-" in member and "".join(word[:1] for word in member.split("-")) == asked:
            return plain[member]
    close = difflib.get_close_matches(asked, plain, n=1)
    return plain[close[0]] if close else None


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", "-")


class UnknownName(UsageError):
    """A name that no registry knows; the message lists the known ones and the nearest match."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name, self.known = kind, name, tuple(known)
        match = nearest(name, self.known)
        guess = f"; did you mean '{match}'?" if match else ""
        super().__init__(f"unknown {kind} '{name}'{guess} (known: {', '.join(self.known)})")


class OutsideError(UsageError):
    """A member from outside pynode can't be used: its file or package is missing, fails, or holds another thing."""


class NameClash(UsageError):
    """Two members of one kind have the same name, at least one of them from outside the package."""

    def __init__(self, kind: str, name: str, first: object, second: object) -> None:
        self.kind, self.name = kind, name
        super().__init__(
            f"two members are the {kind} '{name}': {first}, and {second}; give the one from outside another name"
        )


class NotBuilt(UsageError, AttributeError):
    """A specification of a field is used as the module that its `build()` makes."""

    def __init__(self, kind: str, use: str) -> None:
        super().__init__(
            f"{kind}(...) is a specification, which has no parameters yet and {use}; add .build(): {kind}(...).build()"
        )


class StateMismatch(UsageError):
    """The field's value does not fit the state: shape, dtype or device of f(t, y) differ from those of y."""


class MissingParameters(UsageError):
    """A memory-saving gradient would silently lose a gradient, because a tensor was not declared as a parameter."""


class RandomField(UsageError):
    """A field is random, or depends on buffers that it changes, where a gradient has to evaluate it again."""


class StateChangedInPlace(UsageError):
    """The field changes its argument `y` or `t` in place, which belong to the solver."""


class UnsupportedTransform(UsageError):
    """A transform of torch.func (vmap, grad, jacrev, ...) is applied to a method that it can't follow."""


class PrecisionMismatch(UsageError):
    """A gradient along torch's own graph is taken with matrix products in another precision than the solve had."""


class NotCapturable(UsageError):
    """A module can't be written as a tape, so that only torch operators can evaluate it.

    `differs` says that there is a tape, which does not compute what the module does.
    """

    def __init__(
        self, reason: str, where: str = "", remedy: str = "it runs by torch operators", *, differs: bool = False
    ) -> None:
        self.reason, self.where, self.remedy, self.differs = reason, where, remedy, differs
        place = f" (in {where})" if where else ""
        super().__init__(f"the module can't be captured: {reason}{place}; {remedy}")


class EngineUnavailable(UsageError):
    """An engine was asked for that can't run here, or can't run this field."""


class OutputDirectoryError(UsageError):
    """The output directory can't be written, or holds a run that would be overwritten."""


class ConfigurationMismatch(UsageError):
    """A run is to be resumed with another configuration than it was started with."""


class CheckpointMismatch(UsageError):
    """Weights on disk don't fit the model, for instance because the data have another number of columns."""


# --- failed runs -----------------------------------------------------------------------------------------------------


class RunFailure(PynodeError, RuntimeError):
    """Work that had started could not be finished; what was recorded before stays readable."""


class SolveError(RunFailure):
    """A solve stopped before the last output time.

    `t` is the time reached, `dt` the step tried there, `norm_f` the 2-norm of f(t, y) at that point (NaN where f is
    not finite), `phase` says whether the state ("forward") or the adjoint ("backward") was being solved.  `samples` are
    those of the batch whose numbers stopped being finite, None where there is no batch or another reason.  `detail`
    and `remedy` stand in the message after the status's sentence and in place of its remedy.
    """

    def __init__(
        self,
        status: Status,
        *,
        t: float,
        dt: float,
        norm_f: float,
        phase: str = "forward",
        samples: Samples | None = None,
        detail: str = "",
        remedy: str = "",
    ) -> None:
        self.status, self.t, self.dt, self.norm_f, self.phase, self.samples = status, t, dt, norm_f, phase, samples
        where = "" if samples is None else f" in {samples}"
        super().__init__(
            f"{phase} solve failed at t = {t:.6g} with dt = {dt:.3g} and |f| = {norm_f:.3g}: "
            f"{status.sentence}{where}{detail}; {remedy or status.remedy}"
        )


class CotangentError(SolveError):
    """The loss handed NaN or infinite cotangents of the states to the adjoint solve: the solve is not to blame."""

    def __init__(self, status: Status, value: str, *, t: float, samples: Samples | None = None) -> None:
        super().__init__(status, t=t, dt=0.0, norm_f=float("nan"), phase="backward", samples=samples)
        where = "" if samples is None else f" in {samples}"
        self.args = (f"the cotangent of the states is {value} at t = {t:.6g}{where}: check the loss and its data",)


class DriftError(SolveError):
    """The state that an adjoint solve reconstructs backwards has left the stored trajectory, so the gradient is wrong.

    `drift` is the distance at `t` in units of the tolerances, `bound` what is accepted.
    """

    def __init__(
        self, status: Status, *, drift: float, bound: float, t: float, samples: Samples | None = None, remedy: str = ""
    ) -> None:
        super().__init__(status, t=t, dt=0.0, norm_f=float("nan"), phase="backward", samples=samples)
        self.drift, self.bound = drift, bound
        where = "" if samples is None else f" in {samples}"
        self.args = (
            f"{status.sentence}: at t = {t:.6g} it is {drift:.3g} times the tolerance away from the stored state"
            f"{where} (up to {bound:g} is accepted), so the gradient would be wrong; {remedy or status.remedy}",
        )


class DriftWarning(UserWarning):
    """As `DriftError`, where a solve is asked to go on nevertheless."""


class FieldChanged(RunFailure):
    """The field was changed between a solve and its backward pass, which has to evaluate the field as it was."""


class CaptureWarning(UserWarning):
    """A module has been written as a tape that does not compute what the module does, so that torch runs it."""


class StaleCapture(RunFailure):
    """A module computes something else than its tape does: it depends on what nobody could see change."""

    def __init__(self, kind: str, what: str) -> None:
        self.kind, self.what = kind, what
        super().__init__(
            f"{kind} computes something else than when it was captured for the kernels, because of {what}; keep that "
            'as an attribute or a buffer of the module, or use engine="eager"'
        )


class NotTwiceDifferentiable(RunFailure):
    """A gradient is differentiated again that has no derivative of its own, as that of a continuous adjoint."""


_STORAGE = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room in your quota",
    errno.EROFS: "make it writable",
    errno.EACCES: "make it writable",
    errno.EPERM: "make it writable",
    errno.ENOENT: "its directory is gone",
    errno.EEXIST: "choose another name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "close other programs, which hold too many files open",
}
"""What helps where a file can't be written."""


class StorageError(RunFailure):
    """A file could not be written: the disk is full, has failed, or can only be read."""

    def __init__(self, path: object, error: OSError) -> None:
        self.path, self.reason, self.number = path, error.strerror or str(error), error.errno
        self.remedy = _STORAGE.get(self.number or 0, "check the disk")
        super().__init__(f"can't write {path}: {self.reason}; {self.remedy}")


class NonFiniteLoss(RunFailure):
    """The loss or its gradient is NaN or infinite."""


class Stopped(RunFailure):
    """A command was ended by a signal; `exit_status` is 128 and the signal's number, as shells have it."""

    def __init__(self, message: str, exit_status: int) -> None:
        self.exit_status = exit_status
        super().__init__(message)


class RecordError(RunFailure):
    """A record, summary or checkpoint on disk can't be read."""


class RankLost(RunFailure):
    """Another process of the same run did not answer within the time limit, or has ended."""

    def __init__(self, rank: int, size: int, reason: str) -> None:
        self.rank, self.size = rank, size
        # of gloo's answer its first sentence, without the place in its own source
        first = re.sub(r"\[/[^]]*\] *", "", reason.strip().partition("\n")[0]).partition(". ")[0]
        self.reason = first.rstrip(".") or "no reason given"
        super().__init__(
            f"rank {rank} of {size}: the others did not answer ({self.reason}); what they reported first is the cause. "
            "Run the same command with --resume to go on from the last checkpoint"
        )


class OtherRankRefused(UsageError):
    """The writing rank found a mistake of use, and says so itself."""


class OtherRankFailed(RunFailure):
    """The writing rank could not go on, and says so itself."""


# --- ended from outside ----------------------------------------------------------------------------------------------


class Interrupted(KeyboardInterrupt):
    """SIGINT, SIGTERM or SIGHUP ended a run, which is saved.

    No `PynodeError`: who catches those goes on with the next run.
    """

    def __init__(self, signal_number: int, message: str = "interrupted") -> None:
        self.signal_number = signal_number
        self.exit_status = 128 + signal_number
        super().__init__(message)
