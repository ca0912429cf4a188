"""How kernels are compiled (no fast-math, entries kept on disk) and run by threads, without the interpreter lock."""

from __future__ import annotations

import gc
import hashlib
import inspect
import os
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from llvmlite.ir.instructions import CallInstr
from numba import extending
from numba.core import types
from numba.core.ccallback import CFunc
from numba.core.compiler import Flags, compile_internal
from numba.core.sigutils import normalize_signature
from numba.core.typing.templates import signature

from pynode.engines.fused.machine_code import KernelCache

F = TypeVar("F", bound=Callable[..., Any])


def intrinsic(generator: Callable[..., Any]) -> Callable[..., Any]:
    """A function for kernels, from the generator of its LLVM code, whose first argument is Numba's typing context."""
    return extending.intrinsic(generator)


def loop(function: F) -> F:
    """A `part` that is kept apart from its callers: they have no registers to spare for its constants."""
    return _part(function, alone=True)


def part(function: F) -> F:
    """A function without a result that only kernels call.

    It is written into the module of the kernel that calls it, so that all of a kernel is optimised once and together:
    a dispatcher of its own would be optimised, and turned into machine code, for each level of calls.
    """
    return _part(function, alone=False)


def _part(function: F, *, alone: bool) -> F:
    def call(typing: Any, *args: Any) -> Any:
        kinds = [types.unliteral(a) for a in args]

        def generate(context: Any, builder: Any, sig: Any, values: Any) -> Any:
            written = _written(context.active_code_library)
            key = (function, sig.args)
            if key not in written:
                flags: Any = Flags()
                flags.error_model = "numpy"
                flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
                # LLVM does by itself what these passes prepare for; without them a part takes a tenth less time
                flags.enable_ssa, flags.no_rewrites = False, True
                library = context.active_code_library
                compiled = compile_internal(typing, context, library, function, sig.args, sig.return_type, flags, {})
                written[key] = compiled.fndesc
                code = library._final_module.get_function(compiled.fndesc.llvm_func_name)
                code.linkage = "linkonce_odr"  # nobody else calls it: dropped where it has been inlined
            result = context.call_internal(builder, written[key], sig, values)
            if alone:
                _keep_apart(builder.function, written[key].llvm_func_name)
            return result

        return signature(types.void, *kinds), generate

    call.__name__, call.__doc__ = function.__name__, function.__doc__
    own = inspect.signature(function)
    first = inspect.Parameter("typing", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    call.__signature__ = own.replace(parameters=[first, *own.parameters.values()])  # type: ignore[attr-defined]
    return cast(F, extending.intrinsic(call))


def _keep_apart(caller: Any, name: str) -> None:
    """Marks all calls of the function `name` by the function `caller` as not to be inlined."""
    for block in caller.blocks:
        for instruction in block.instructions:
            if isinstance(instruction, CallInstr) and getattr(instruction.callee, "name", None) == name:
                instruction.attributes.add("noinline")


_PARTS: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


def _written(library: Any) -> dict[Any, Any]:
    """The parts that a kernel's library holds already."""
    return _PARTS.setdefault(library, {})


def entry(function: F) -> F:
    """A kernel that Python calls, without the interpreter lock; its machine code is cached on disk where that can be.

    Numba looks for changes in the kernel's own file alone, so the name carries a stamp of all that may be part of it.
    """
    function.__qualname__ = f"{function.__qualname__}_{_stamp()}"
    kernel: Any = numba.njit(error_model="numpy", nogil=True)(function)
    with suppress(RuntimeError):  # no folder that can be written
        kernel._cache = KernelCache(function)
    return cast(F, kernel)


def address_of(function: Callable[..., Any], signature: Any) -> int:
    """Compiles a function that kernels call by its address, or loads it from disk, as `entry` does."""
    function.__qualname__ = f"{function.__name__}_{_stamp()}"
    compiled: Any = CFunc(function, normalize_signature(signature), locals={}, options={"error_model": "numpy"})
    with suppress(RuntimeError):  # no folder that can be written
        compiled._cache = KernelCache(function)
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        compiled.compile()
    finally:
        if was_enabled:
            gc.enable()
    _FUNCTIONS.append(compiled)
    return int(compiled.address)


_FUNCTIONS: list[Any] = []
"""What has an address that somebody may call."""


def compile_now(kernel: Any, like: Any) -> None:
    """Compiles an entry for the array `like` and integers, or loads it from disk; without garbage collection.

    Compilation makes millions of small objects, all of them in use; looking through them takes a tenth of the time.
    """
    integers = len(inspect.signature(kernel.py_func).parameters) - 1
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        kernel.compile((numba.typeof(like), *(types.int64,) * integers))
    finally:
        if was_enabled:
            gc.enable()


@lru_cache(maxsize=1)
def _stamp() -> str:
    """A digest of this folder's sources."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


class _Pool:
    """Threads that are made when first needed; a forked process makes its own, since threads do not survive a fork."""

    def __init__(self) -> None:
        self._executor: ThreadPoolExecutor | None = None
        self._size = self._process = 0

    def executor(self, size: int) -> ThreadPoolExecutor:
        """At least `size` threads."""
        if self._executor is None or self._size < size or self._process != os.getpid():
            self._executor = ThreadPoolExecutor(size, thread_name_prefix="pynode-fused")
            self._size, self._process = size, os.getpid()
        return self._executor


_POOL = _Pool()


def run_all(work: Callable[[int], None], workers: int) -> None:
    """Calls `work(0)` to `work(workers - 1)` at the same time, the first in the calling thread."""
    if workers == 1:
        work(0)
        return
    executor, others = _POOL.executor(workers - 1), list[Future[None]]()

    def share(i: int) -> None:
        _do(others[i - 1], work, i)

    is_whole = False
    try:
        for i in range(1, workers):
            # known before a thread may take it: a signal may be raised while it is handed over, or just after that
            others.append(Future())
            executor.submit(share, i)
        work(0)
        is_whole = True
    finally:
        _wait_for_all(others, cancel=not is_whole)
    for other in others:
        other.result()


def _do(future: Future[None], work: Callable[[int], None], i: int) -> None:
    """Does one share, unless it has been cancelled, and tells `future` how it ended."""
    if future.set_running_or_notify_cancel():
        try:
            work(i)
        except BaseException as error:
            future.set_exception(error)
            del future  # the error's traceback leads here
        else:
            future.set_result(None)


def _wait_for_all(others: Sequence[Future[None]], *, cancel: bool) -> None:
    """Waits to the end, whatever is raised meanwhile: memory that they write to may be used again after that.

    Cancels those that no thread has begun, where `cancel`: some may never have been handed to one.
    """
    interruption: BaseException | None = None
    while True:
        try:
            wait([other for other in others if not (cancel and other.cancel())])
        except BaseException as error:  # of a signal
            interruption = error
        else:
            break
    if interruption is not None:
        raise interruption
