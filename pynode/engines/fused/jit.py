"""How kernels are compiled: without fast-math, without the interpreter lock, entries kept on disk."""

from __future__ import annotations

import gc
import hashlib
import inspect
import weakref
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar, cast

import numba
from llvmlite.ir.instructions import CallInstr
from numba import extending
from numba.core import types
from numba.core.compiler import Flags, compile_internal
from numba.core.typing.templates import signature

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
                found = compile_internal(typing, context, library, function, sig.args, sig.return_type, flags, {})
                written[key] = found.fndesc
                compiled = library._final_module.get_function(found.fndesc.llvm_func_name)
                compiled.linkage = "linkonce_odr"  # nobody else calls it: dropped where it has been inlined
            result = context.call_internal(builder, written[key], sig, values)
            if alone:
                _keep_apart(builder.function, written[key].llvm_func_name)
            return result

        return signature(types.void, *kinds), generate

    call.__name__, call.__doc__ = function.__name__, function.__doc__
    own = inspect.signature(function)
    first = inspect.Parameter("typing", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    call.__signature__ = own.replace(parameters=[first, *own.parameters.values()])  # type: ignore[attr-defined]
    found: Any = extending.intrinsic(call)
    return cast(F, found)


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
    try:
        found: Any = numba.njit(error_model="numpy", nogil=True, cache=True)(function)
    except RuntimeError:  # no folder that can be written
        found = numba.njit(error_model="numpy", nogil=True)(function)
    return cast(F, found)


def compile_now(kernel: Any, *arrays: Any) -> None:
    """Compiles an entry, or loads it from disk, for arrays like `arrays` and then integers: without garbage collection.

    Compilation makes millions of small objects, all of them in use; looking through them takes a tenth of the time.
    """
    known = [numba.typeof(a) for a in arrays]
    integers = len(inspect.signature(kernel.py_func).parameters) - len(known)
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        kernel.compile((*known, *(types.int64,) * integers))
    finally:
        if was_enabled:
            gc.enable()


@lru_cache(maxsize=1)
def _stamp() -> str:
    """A digest of this folder's sources."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]
