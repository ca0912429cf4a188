"""Recommendations and warnings, from records that tests make."""

from __future__ import annotations

from dataclasses import replace

from pynode.studies.advice.cautions import cautions
from pynode.studies.advice.recommendation import FINE, GOALS, MEMORY, ROUGH, SAFEST, TRAINING, Recommendation, recommend
from pynode.studies.advice.record import AdviceRecord, AdviceWeights
from pynode.studies.advice.settings import front, settings_of
from tests.studies.advice.records import at, continuous, discrete, timed

START, END = at("untrained", 10.0, trial_loss=0.1), at("rehearsed", 0.1)
WEIGHTS = [START, END]


def everywhere(record: AdviceRecord) -> list[AdviceRecord]:
    """The record, and another one at the untrained weights that is ten times better."""
    error = None if record.error is None else record.error / 10
    return [replace(record, weights="untrained", error=error, seconds=None), record]


RECORDS = [
    *everywhere(discrete(1, error=0.5, loss_error=0.1, **timed(1.0))),  # too coarse: as much as the residual
    *everywhere(discrete(2, error=0.05, loss_error=1e-4, memory_bytes=100, **timed(2.0))),
    *everywhere(discrete(4, error=0.005, loss_error=1e-5, memory_bytes=200, **timed(4.0))),
    *everywhere(discrete(12, error=1e-5, loss_error=1e-8, memory_bytes=400, **timed(12.0))),
    *everywhere(continuous(1e-3, error=0.009, memory_bytes=90, **timed(3.0))),
    *everywhere(continuous(1e-6, error=1e-5, memory_bytes=300, **timed(20.0))),
]


def by_goal(records: list[AdviceRecord], weights: list[AdviceWeights] = WEIGHTS) -> dict[str, Recommendation]:
    return {r.goal: r for r in recommend(records, weights)}


def label(recommendation: Recommendation) -> str:
    assert recommendation.setting is not None, recommendation.why
    return recommendation.setting.label


def test_one_setting_for_each_goal() -> None:
    made = by_goal(RECORDS)
    assert list(made) == list(GOALS)
    assert label(made[TRAINING]) == "disc-opt-rk4-x2"
    assert label(made[ROUGH]) == "opt-disc-dopri5-rtol1e-03"
    assert label(made[FINE]) == "disc-opt-rk4-x12"
    assert label(made[MEMORY]) == "opt-disc-dopri5-rtol1e-03"
    assert label(made[SAFEST]) == "disc-opt-rk4-x12"
    assert made[ROUGH].sure == "sure"
    assert "1.3 times as fast as disc-opt-rk4-x4" in made[ROUGH].why


def test_a_trial_that_lags_behind_is_not_recommended() -> None:
    lagging = [replace(r, iterations=50, reached=5.0) if r.label == "disc-opt-rk4-x2" else r for r in RECORDS]
    passing = [replace(r, iterations=50, reached=0.12) if r.label == "disc-opt-rk4-x4" else r for r in lagging]
    assert label(by_goal(passing)[TRAINING]) == "disc-opt-rk4-x4"
    lucky = [replace(r, reached=5.0) if r.iterations else r for r in passing]
    assert label(by_goal(lucky)[MEMORY]) == "opt-disc-dopri5-rtol1e-03"
    accurate = next(s for s in settings_of(lucky, WEIGHTS) if s.label == "disc-opt-rk4-x4")
    assert accurate.passed_trial is False
    assert accurate.refused() is None, "an accurate gradient lags behind by luck only"


def test_equal_times_leave_the_choice_to_the_error() -> None:
    records = [*RECORDS, *everywhere(discrete(3, error=0.01, loss_error=1e-6, **timed(2.1)))]
    assert label(by_goal(records)[TRAINING]) == "disc-opt-rk4-x3"


def test_doubts_say_why() -> None:
    busy = [replace(w, load=(1.0, 7.5), environment={"cores": 4}) for w in WEIGHTS]
    assert by_goal(RECORDS, busy)[ROUGH].sure == "likely"
    assert "busy (load average 7.5, cores 4)" in by_goal(RECORDS, busy)[ROUGH].doubts[0].text
    overloaded = [replace(w, environment={"cores": 2}) for w in busy]
    assert by_goal(RECORDS, overloaded)[ROUGH].sure == "not sure"
    idle = [replace(w, environment={"cores": 16}) for w in busy]
    assert by_goal(RECORDS, idle)[ROUGH].sure == "sure"
    unsure = [replace(w, uncertainty=1e-3) for w in WEIGHTS]
    assert by_goal(RECORDS, unsure)[FINE].sure == "not sure"
    assert "reference" in by_goal(RECORDS, unsure)[FINE].doubts[-1].text
    unverified = by_goal(RECORDS, [START, replace(END, uncertainty=None)])
    assert unverified[TRAINING].sure == "not sure"
    assert unverified[FINE].doubts[-1].text == "reference not verified"
    untimed = by_goal([r for r in RECORDS if r.weights == "untrained"], [START])
    alone = untimed[TRAINING]
    assert label(alone) == "disc-opt-rk4-x1"
    assert label(untimed[ROUGH]) == "disc-opt-rk4-x2"
    assert alone.sure == "not sure"
    assert alone.doubts[0].text == "it was not timed, so evaluations decide"
    assert "untrained weights only" in alone.doubts[-1].text


def test_a_failure_at_some_weights_counts() -> None:
    failing = [
        replace(r, failure="failed", error=None) if r.label == "disc-opt-rk4-x12" and r.weights == "untrained" else r
        for r in RECORDS
    ]
    assert label(by_goal(failing)[FINE]) == "opt-disc-dopri5-rtol1e-06"


def test_what_was_measured_at_all_weights_goes_first() -> None:
    records = [*RECORDS, discrete(6, error=1e-5, **timed(0.1))]
    assert label(by_goal(records)[FINE]) == "disc-opt-rk4-x12"
    few = [r for r in records if "x12" not in r.label and "1e-06" not in r.label]
    assert label(by_goal(few)[FINE]) == "disc-opt-rk4-x6"
    assert "some of the weights" in by_goal(few)[FINE].doubts[0].text


def test_nothing_reaches_a_goal() -> None:
    made = by_goal([r for r in RECORDS if "x12" not in r.label and "1e-06" not in r.label])
    assert made[FINE].setting is None
    assert "the least error is 0.005" in made[FINE].why


def test_the_front() -> None:
    labels = [s.label for s in front(settings_of(RECORDS, WEIGHTS))]
    assert labels == [
        "disc-opt-rk4-x1",
        "disc-opt-rk4-x2",
        "opt-disc-dopri5-rtol1e-03",
        "disc-opt-rk4-x4",
        "disc-opt-rk4-x12",
    ]


def test_warns_of_steps_too_coarse_for_the_fit() -> None:
    (warning,) = [w for w in cautions(RECORDS, WEIGHTS) if "coarse" in w]
    assert "disc-opt rk4 up to 1 (100 % of the fit)" in warning


def test_warns_of_a_backward_solve_that_drifts() -> None:
    drifting = continuous(1e-3, adjoint="backsolve", error=0.5, drift=2e6, **timed(0.5))
    records = [*RECORDS, replace(drifting, weights="untrained", drift=0.1), drifting]
    (warning,) = [w for w in cautions(records, WEIGHTS) if "loses" in w]
    assert "loses 6.3 digits over the horizon" in warning
    assert "gradient error 0.5, interpolating 0.009" in warning
    assert all("backsolve" not in label(r) for r in recommend(records, WEIGHTS) if r.setting is not None)
    harmless = everywhere(replace(drifting, drift=30.0, error=0.01))
    assert not [w for w in cautions([*RECORDS, *harmless], WEIGHTS) if "loses" in w]


def test_warns_of_stiffness() -> None:
    loose = continuous(1e-2, error=0.1, steps=400, rejected=120)
    tight = continuous(1e-4, error=0.001, steps=420, rejected=20)
    assert any("Stiff" in w and "400 steps" in w for w in cautions([loose, tight], [END]))
    assert not cautions([loose, replace(tight, steps=1000)], [END])
    assert not cautions([loose, replace(tight, steps=1100)], [END])
    third = [  # of order 3, by which steps grow faster
        replace(r, options={**r.options, "solver": "bosh3"}, steps=n) for r, n in ((loose, 400), (tight, 1100))
    ]
    assert any("Stiff" in w for w in cautions(third, [END]))
    blown, fine = discrete(16, failure="NaN"), discrete(20, error=1e-3)
    assert any("blows up with 16 steps" in w for w in cautions([blown, fine], [END]))
    assert not cautions([discrete(16, error=1e-2), fine], [END])


def test_says_that_a_gradient_is_small() -> None:
    small = [START, replace(END, gradient_norm=1e-4)]
    assert any("relative to it look large" in w for w in cautions(RECORDS, small))


def test_says_which_setting_is_faster_than_the_pick() -> None:
    tried = discrete(4, error=0.005, loss_error=1e-5, **timed(4.0, iterations=50, reached=0.12))
    other = continuous(1e-3, error=0.009, **timed(1.0))
    made = by_goal([*everywhere(tried), *everywhere(other)])[TRAINING]
    assert label(made) == "disc-opt-rk4-x4"
    assert "opt-disc-dopri5-rtol1e-03 is 4 times as fast, but was not tried" in made.why
    assert any("no time to try 1 faster setting" in doubt.text for doubt in made.doubts)
    assert made.sure == "not sure"
    lagging = by_goal([*everywhere(tried), *everywhere(replace(other, iterations=50, reached=9.0))])[TRAINING]
    assert "4 times as fast, but its trial lags behind" in lagging.why


def test_times_of_few_rounds_are_not_sure() -> None:
    once = [replace(r, repeats=1, scatter=None, ratio_scatter=None) if r.seconds else r for r in RECORDS]
    made = by_goal(once)
    for goal in (TRAINING, ROUGH, FINE):
        assert made[goal].sure == "not sure"
        assert any("timed in 1 round only" in doubt.text for doubt in made[goal].doubts)


def test_says_why_there_is_no_fit() -> None:
    no_lower = [at("untrained", 1.0), at("trained", 2.0)]
    records = [replace(r, weights="trained" if r.weights == "rehearsed" else r.weights) for r in RECORDS]
    made = by_goal(records, no_lower)[TRAINING]
    assert any("loss at the weights trained is no lower" in doubt.text for doubt in made.doubts)


def test_memory_that_was_not_measured_is_a_doubt() -> None:
    assert by_goal(RECORDS)[MEMORY].sure == "sure"
    missing = [replace(r, memory_bytes=None) if r.label == "disc-opt-rk4-x2" else r for r in RECORDS]
    assert any("memory of 1 setting that will do" in doubt.text for doubt in by_goal(missing)[MEMORY].doubts)
