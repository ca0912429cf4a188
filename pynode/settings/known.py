"""Which methods, problems and runs have which options; no method or problem is imported to tell."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pynode.engines import AUTO, ENGINES
from pynode.errors import InvalidArgument, UnknownName
from pynode.methods import METHODS
from pynode.problems import PROBLEMS
from pynode.registry import Registry
from pynode.settings.declared import Declared, Kind, class_named, classes_in, constants_of, options_of
from pynode.settings.loaded import options_of_class
from pynode.settings.values import check_number, check_value

PACKAGE = Path(__file__).parents[1]
RUNS = PACKAGE / "training" / "config.py"
PROBLEM = PACKAGE / "problems" / "base.py"

NOT_SETTINGS = ("problem", "method", "seed", "options", "multilevel", "rate_drops", "decided_engine", "data")
"""Fields of a `RunConfig` that are no settings, or no plain values."""

SHORT = {"learning_rate": ("lr",), "budget": ("memory_budget",), "seed": ("seeds",), "method": ("methods",)}
"""Other names of options, on the command line and in files."""

AS_IN_STUDY = "as in the study"
"""A default that is another from problem to problem, in words."""


@cache
def sources(registry: Registry[Any]) -> Mapping[str, Path]:
    """The files of all members, by name, looked for once."""
    return registry.sources()


def _source(registry: Registry[Any], name: str) -> Path:
    if name not in sources(registry):
        raise UnknownName(registry.kind, name, sorted({*sources(registry), *registry.outside()}))
    return sources(registry)[name]


def method_options(name: str) -> Mapping[str, Declared]:
    """The options of the method called `name`; raises a `UsageError`."""
    is_own = name in sources(METHODS) or METHODS.origin(name) is None
    return _method_options(name) if is_own else options_of_class(METHODS.load(name))


@cache
def _method_options(name: str) -> Mapping[str, Declared]:
    file = _source(METHODS, name)
    return options_of(file, class_named(file, name))


@cache
def method_constants(name: str) -> Mapping[str, Any]:
    """Plain class variables of the method called `name`, such as its backend."""
    file = _source(METHODS, name)
    return constants_of(file, class_named(file, name))


def problem_options(name: str) -> Mapping[str, Declared]:
    """The options of the problem called `name`, for `--set`; raises a `UsageError`."""
    is_own = name in sources(PROBLEMS) or PROBLEMS.origin(name) is None
    return _problem_options(name) if is_own else options_of_class(PROBLEMS.load(name).Options)


@cache
def _problem_options(name: str) -> Mapping[str, Declared]:
    file = _source(PROBLEMS, name)
    home = constants_of(file, class_named(file, name))["Options"]
    return options_of(*home)


@cache
def run_settings() -> Mapping[str, Declared]:
    """The fields of a run's configuration that a user sets, whatever the method."""
    fields = options_of(RUNS, "RunConfig")
    return {name: field for name, field in fields.items() if name not in NOT_SETTINGS}


def owners(methods: Iterable[str]) -> dict[str, dict[str, Declared]]:
    """Every option of the methods called `methods`, by its name: what each method that has it declares."""
    return shared({name: method_options(name) for name in methods})


def shared(options: Mapping[str, Mapping[str, Declared]]) -> dict[str, dict[str, Declared]]:
    """The options of several owners by the name of the option, then by that of the owner."""
    by_name: dict[str, dict[str, Declared]] = {}
    for owner, declared in options.items():
        for name, option in declared.items():
            by_name.setdefault(name, {})[owner] = option
    return by_name


def shared_kind(declarations: Iterable[Declared]) -> Kind:
    """What takes the values of all of them."""
    kind = Kind()
    for declared in declarations:
        kind |= declared.kind
    return kind


AS_IN_STUDY = "as in the study"


@cache
def set_by_study() -> frozenset[str]:
    """Options of methods and settings of runs for which problems bring a value of their own."""
    names = set(options_of(PROBLEM, "TrainingSettings"))
    for problem, file in sources(PROBLEMS).items():
        constants = constants_of(file, class_named(file, problem))
        names.update(constants.get("fixed_settings") or (), constants.get("adaptive_settings") or ())
    return frozenset(names)


def usual(option: str, method: str = "") -> Any:
    """The default of an option of `method`, or of runs; in words where problems bring a value of their own."""
    if option in set_by_study():
        return AS_IN_STUDY
    if not method:
        return run_settings()[option].default
    of_study = (constants_of(RUNS).get("STUDY") or {}).get(method, {})
    if option == "adjoint" and option in of_study and _adjoints() != {of_study[option]}:
        return AS_IN_STUDY
    return of_study.get(option, method_options(method)[option].default)


@cache
def _adjoints() -> frozenset[str]:
    """The adjoints of Opt-Disc that problems bring."""
    return frozenset(constants_of(file, class_named(file, name))["adjoint"] for name, file in sources(PROBLEMS).items())


@cache
def axis_of(option: str) -> str:
    """The axis that an option of methods belongs to: "scheme" (and its steps), "gradient" or "engine"."""
    if option == "engine":
        return option
    steps = {name for names in _fields_in(PACKAGE / "steps.py").values() for name in names}
    gradients = _fields_in(PACKAGE / "gradients.py").values()
    of_gradient = {name for names in gradients for name in names} - steps
    return "gradient" if option in of_gradient or option.startswith("adjoint") else "scheme"


def _fields_in(file: Path) -> dict[str, Mapping[str, Declared]]:
    """The fields of all classes in `file`."""
    return {name: options_of(file, name) for name in classes_in(file)} if file.is_file() else {}


# --- choices of methods ----------------------------------------------------------------------------------------------


def compared() -> list[str]:
    """The methods that are compared where nobody names others."""
    return [name for name in sources(METHODS) if method_constants(name)["by_default"]]


def plain_methods() -> list[str]:
    """All methods but those that run another one elsewhere."""
    return [name for name in sources(METHODS) if name not in stands_for()]


def on_backend(methods: list[str], backend: str) -> list[str]:
    """The methods called `methods` as `backend` has them.

    Raises `UnknownName` for a backend or a method that is not known, `InvalidArgument` where the backend has none of
    the methods; those that it lacks are left out, so that no table mixes backends unasked.
    """
    backends = {str(method_constants(name)["backend"]) for name in stands_for()}
    if backend not in ("torch", *backends):
        raise UnknownName("backend", backend, ("torch", *sorted(backends)))
    for method in methods:
        METHODS.check(method)
    if backend == "torch":
        return methods
    presets = {mine: name for name, mine in stands_for().items() if method_constants(name)["backend"] == backend}
    chosen = [presets.get(name, name) for name in methods if name in presets or name in presets.values()]
    if not chosen:
        remedy = f"use --methods {','.join(presets)}, or leave --backend out"
        raise InvalidArgument("--methods", ",".join(methods), f"the backend {backend} has none of them", remedy)
    return list(dict.fromkeys(chosen))


@cache
def rivals() -> tuple[tuple[str, str], ...]:
    """Opt-Disc, the baseline, and Disc-Opt, what is held against it: those compared by default, on each backend."""
    by_backend: dict[Any, dict[str, str]] = {}
    for name in (*compared(), *stands_for()):
        by_backend.setdefault(method_constants(name)["adaptive"], {})[name] = name
    continuous, discrete = ([*by_backend.get(adaptive, ())] for adaptive in (True, False))
    return tuple(zip(continuous, discrete, strict=False))


def multilevel(method: str) -> str:
    """What a method is called where it runs by levels, from coarse steps to fine ones."""
    return f"{method}-multilevel"


def check_options(methods: Iterable[str], given: Mapping[str, Any]) -> None:
    """Raises a `UsageError` for an option that none of `methods` has, and for a value that one of them can't take."""
    known = owners(methods)
    for option, value in given.items():
        argument = f"--{option.replace('_', '-')}"
        if option not in known:
            raise InvalidArgument(argument, value, f"no effect on {', '.join(methods)}", "drop it, or add a method")
        check_number(option, value)
        for name, declared in known[option].items():
            check_value(argument, value, declared.kind, name)


def check_settings(given: Mapping[str, Any]) -> None:
    """Raises a `UsageError` for a value that a setting of runs can't take."""
    for name, value in given.items():
        check_value(name, value, run_settings()[name].kind)
        check_number(name, value)


@cache
def stands_for() -> Mapping[str, str]:
    """Presets that run a method elsewhere, and the method."""
    listed = {name: method_constants(name)["stands_for"] for name in sources(METHODS)}
    return {name: method for name, method in listed.items() if method}


def on_engine(method: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `method` among those `given`, and what goes with the engine among them where they say nothing."""
    engine = given.get("engine", AUTO)
    defaults: Mapping[str, Any] = {}
    if (file := sources(ENGINES).get(engine)) is not None:
        defaults = constants_of(file, class_named(file, engine)).get("defaults", {})
    elif engine != AUTO:
        defaults = ENGINES.load(engine).defaults
    return {name: value for name, value in {**defaults, **given}.items() if name in method_options(method)}
