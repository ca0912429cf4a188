"""The loss of a case: its form, or a sentence that is understood; nothing is guessed."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pynode.methods.disc_opt import DiscOpt
from pynode.schemes.rk4 import RK4
from pynode.studies.crosscheck.case import Case, DamagedCase, Row, read_case, write_case
from pynode.studies.crosscheck.check import crosscheck
from pynode.studies.crosscheck.loss import LossForm, loss_of
from pynode.studies.crosscheck.record import AGREES
from pynode.studies.crosscheck.subjects import case_subject, example_cases

REFERENCE = Path(__file__).parents[2] / "reference"
RECORDED = sorted([*REFERENCE.glob("*.json"), *(REFERENCE / "direct").glob("*.json")])
SENTENCES = {
    # sentence: the form that it says
    "sum over all output times and entries of ys^2, divided by 3": {"kind": "squares", "shift": 0.0, "scale": 1 / 3},
    "sum over all output times and entries of (ys - 0.5)^2, divided by 5": {
        "kind": "squares",
        "shift": 0.5,
        "scale": 0.2,
    },
    "sum over all output times and entries of (ys - 0.3)^2, divided by 4": {
        "kind": "squares",
        "shift": 0.3,
        "scale": 0.25,
    },
    "-mean(log N(z(T); 0, I) - logp(T)) with logp(0) = 0, logp' = -tr(df/dz)": {"kind": "nll"},
}
NOT_UNDERSTOOD = (
    "sum (ys - 0.3)^2 / 4",
    "sum over all output times and entries of (ys - 0.5)^2",
    "sum over all output times and entries of (ys - 0.5)^2, divided by 0",
    "sum over all output times and entries of (ys - 0.5)^3, divided by 5",
    "sum over all output times and entries of (ys - 0.5)^2, divided by 5, or so",
    "",
)


def case_file(path: Path, **changes: Any) -> Path:
    """A case of an MLP whose loss is sum (ys - 0.3)^2 / 4, with the gradient of RK4; None drops a key."""
    case = replace(example_cases(["mlp"])[0], loss_form=LossForm("squares", shift=0.3, scale=0.25))
    gradient = case_subject(case).gradient(DiscOpt(RK4, 2))
    row = Row("disc_opt", {"scheme": "rk4", "substeps": 2}, gradient.loss, gradient.theta, gradient.y0)
    write_case(replace(case, rows=(row,)), path)
    data = {k: v for k, v in {**json.loads(path.read_text(encoding="utf-8")), **changes}.items() if v is not None}
    path.write_text(json.dumps({k: v for k, v in data.items() if k != "checksum"}), encoding="utf-8")
    return path


def verdicts(case: Case) -> set[str]:
    """On its recorded rows and a method of ours."""
    return {r.verdict for r in crosscheck(case_subject(case), [DiscOpt(RK4, 2)], problem="test")[0]}


@pytest.mark.parametrize("sentence", SENTENCES)
def test_sentences_that_are_understood(sentence: str) -> None:
    assert loss_of({"loss": sentence}, (2, 6)).to_json() == SENTENCES[sentence]


def test_data_that_the_sentence_speaks_of() -> None:
    given = {"loss": "sum of squares of (ys - data)", "data": [[1.0, 2.0]] * 3}
    assert loss_of(given, (3, 2)).to_json() == {"kind": "squares", "data": given["data"], "scale": 1.0}
    with pytest.raises(ValueError, match="data is missing"):
        loss_of({"loss": given["loss"]}, (3, 2))
    with pytest.raises(ValueError, match="shape"):
        loss_of(given, (3, 4))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_sentences_of_the_recorded_cases_say_their_loss(path: Path) -> None:
    """At the recorded states the loss has the recorded value, whatever the architecture is."""
    data = json.loads(path.read_text(encoding="utf-8"))
    ys = torch.tensor(data["reference"]["ys"], dtype=torch.float64).reshape(len(data["ts"]), data["batch"], -1)
    loss = loss_of(data, (len(ys), ys[0].numel()))(ys, data["dim"])
    assert float(loss) == pytest.approx(data["reference"]["loss"], rel=1e-12)


@pytest.mark.parametrize("sentence", [*NOT_UNDERSTOOD, None])
def test_a_loss_that_nobody_says_is_refused(sentence: str | None, tmp_path: Path) -> None:
    """It was guessed by the architecture, which made right gradients wrong."""
    with pytest.raises(DamagedCase, match=r"loss_form is missing.*; add e\.g\. .*squares") as caught:
        read_case(case_file(tmp_path / "case.json", loss_form=None, loss=sentence))
    assert "case.json" in str(caught.value)
    assert sentence is None or repr(sentence) in str(caught.value)


def test_a_loss_that_fits_no_guess_blames_nobody(tmp_path: Path) -> None:
    """Of an MLP, whose loss was once taken for the sum of squares of ys over the batch."""
    said = "sum over all output times and entries of (ys - 0.3)^2, divided by 4"
    by_form, by_sentence = tmp_path / "form.json", tmp_path / "sentence.json"
    assert verdicts(read_case(case_file(by_form))) == {AGREES}
    assert verdicts(read_case(case_file(by_sentence, loss_form=None, loss=said))) == {AGREES}
    wrong = read_case(case_file(tmp_path / "wrong.json", loss_form={"kind": "squares", "shift": 0.0, "scale": 1 / 3}))
    assert verdicts(wrong) != {AGREES}, "which this test would not see otherwise"


def test_what_a_form_says_in_words() -> None:
    """And in numbers."""
    ys = torch.tensor([[[1.0, 2.0, 3.0]]] * 2, dtype=torch.float64)
    assert float(LossForm("squares", shift=1.0, scale=0.5)(ys, 3)) == pytest.approx(5.0)
    assert "0.5 times the sum" in LossForm("squares", shift=1.0, scale=0.5).sentence
    assert "(ys - 1)^2" in LossForm("squares", shift=1.0, scale=0.5).sentence
    assert "(ys - data)^2" in LossForm("squares", rows=ys[0]).sentence
    assert float(LossForm("linear", rows=2 * torch.ones(2, 3))(ys, 3)) == pytest.approx(24.0)
    assert "weights" in LossForm("linear", rows=ys[0]).sentence
    normal = 0.5 * 5.0 + math.log(2 * math.pi)
    assert float(LossForm("nll")(ys, 2)) == pytest.approx(normal + 3.0)
