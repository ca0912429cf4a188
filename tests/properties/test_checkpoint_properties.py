"""Checkpoints: damaged bytes are noticed; what is read is what was written."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from pynode.errors import RecordError
from pynode.fields.mlp import MLP
from pynode.training.checkpoint import Checkpoint, decode, encode
from pynode.training.progress import Progress
from tests.properties.profiles import tried
from tests.properties.strategies import damaged, plain


def _content() -> bytes:
    model = MLP((1, 2, 1)).build(seed=1)
    optimiser = torch.optim.Adam(model.parameters())
    model(torch.zeros((), dtype=torch.float64), torch.ones(1, dtype=torch.float64)).sum().backward()
    optimiser.step()
    return encode(model, optimiser, Progress(iteration=3).to_json(), {"problem": "spiral"}, best=model.theta())


CONTENT = _content()
WHOLE = decode(CONTENT, "whole")


def same(a: Checkpoint, b: Checkpoint) -> bool:
    return (
        (a.progress, a.config, sorted(a.tensors)) == (b.progress, b.config, sorted(b.tensors))
        and all(torch.equal(a.tensors[name], b.tensors[name]) for name in a.tensors)
    )  # fmt: skip


@given(damaged(CONTENT))
@tried(200, 5000)
def test_damaged_bytes(content: bytes) -> None:
    try:
        decoded = decode(content, "damaged")
    except RecordError:
        return
    assert same(decoded, WHOLE)


@pytest.mark.parametrize("at", range(0, len(CONTENT), 97))
def test_a_flipped_bit_anywhere(at: int) -> None:
    content = bytearray(CONTENT)
    content[at] ^= 1 << at % 8
    with contextlib.suppress(RecordError):
        assert same(decode(bytes(content), "flipped"), WHOLE)


@given(
    st.dictionaries(st.sampled_from(["progress", "config", "sha256", "x"]), st.text(max_size=20), max_size=4),
    st.booleans(),
)
@tried(100)
def test_any_metadata(texts: dict[str, str], known: bool) -> None:
    """A whole file of somebody else, or of another version."""
    if known:
        texts = {"progress": '{"iteration": 1}', **texts}
    content = safetensors.torch.save({"model.W0": torch.zeros(2)}, metadata=texts)
    try:
        decoded = decode(content, "other")
    except RecordError:
        return
    assert isinstance(decoded.iteration, int)


@given(plain)
@tried(100)
def test_any_progress(progress: Any) -> None:
    """Of a checkpoint from before there was a digest."""
    content = safetensors.torch.save({"model.W0": torch.zeros(2)}, metadata={"progress": json.dumps(progress)})
    try:
        decoded = decode(content, "earlier")
        Progress.from_json(decoded.progress)
    except RecordError:
        return
    assert isinstance(decoded.iteration, int)
