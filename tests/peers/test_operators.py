"""Every operator of PyTorch's database that exists here, on its samples and reference inputs, in every common dtype."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed: pip install 'dtrain[peers]'")
pytest.importorskip("expecttest", reason="expecttest is not installed: pip install 'dtrain[peers]'")

from peers import agreed
from peers.exchange import DTYPES, FLOATS, quietly
from peers.judge import judge, traced
from peers.operators import RANDOM, ours_of
from peers.samples import EVERYTHING, TRACED, operator_samples
from peers.tally import AGREED, DIFFERENT, EQUAL, REFUSED, TALLY, UNLISTED

op_db = quietly(__import__, "torch.testing._internal.common_methods_invocations", fromlist=["op_db"]).op_db
OURS = [info for info in op_db if ours_of(info.name) is not None]

pytestmark = pytest.mark.peers
ENOUGH = 0.995  # of the samples that are covered: equal, or different for a reason that is listed


@pytest.mark.parametrize("info", OURS, ids=lambda info: "-".join(filter(None, (info.name, info.variant_test_name))))
def test_samples_come_out_as_theirs(info: Any) -> None:
    ours, failures = ours_of(info.name), []
    assert ours is not None
    for dtype in sorted(quietly(info.supported_dtypes, "cpu") & set(DTYPES), key=str):
        for place, sample in enumerate(operator_samples(info, dtype)):
            drawn = is_drawn(info, sample)
            way, why = settled(info.name, sample, *judge(info.op, ours, sample, drawn=drawn, name=info.name))
            TALLY.note("operators", way, why, info.name)
            if way in (DIFFERENT, UNLISTED):
                failures.append(f"{dtype} {shown(sample)}: {way}: {why}")
            if way == EQUAL and not drawn and dtype in FLOATS and (EVERYTHING or place < TRACED):
                way, why = traced(ours, sample)
                TALLY.note("operators, traced", way, why, info.name)
                if way == DIFFERENT:
                    failures.append(f"{dtype} {shown(sample)}: {why}")
    if failures:
        pytest.fail("\n".join([f"{len(failures)} of {info.name}", *failures[:12]]), pytrace=False)


def is_drawn(info: Any, sample: Any) -> bool:
    return info.name in RANDOM or bool(sample.kwargs.get("dropout_p"))


def test_every_agreement_is_met() -> None:
    """Of operators that were tried in this run: an entry that nothing needs is no longer true."""
    tried = TALLY.tried("operators")
    left = agreed.unmatched((*agreed.REFUSED, *agreed.DIFFERENT), tried, {info.name for info in OURS})
    assert not left, "these entries of agreed.py match nothing:\n" + "\n".join(left)


def test_enough_is_equal() -> None:
    """Of what the arguments here cover; counted over all operators, so only where all were tried."""
    if TALLY.tried("operators") >= {info.name for info in OURS}:
        assert TALLY.share_equal("operators") >= ENOUGH, "\n".join(TALLY.report())


def settled(name: str, sample: Any, way: str, why: str) -> tuple[str, str]:
    """An outcome after a look into the lists of what is meant."""
    if way == UNLISTED and (reason := agreed.reason_of(agreed.REFUSED, name, why, sample)):
        return REFUSED, reason
    if way == DIFFERENT and (reason := agreed.reason_of(agreed.DIFFERENT, name, why, sample)):
        return AGREED, reason
    return way, why


def shown(sample: Any) -> str:
    """A sample in a few words: shapes of tensors, other arguments as they are."""

    def word(value: Any) -> str:
        if hasattr(value, "dtype") and hasattr(value, "shape"):
            return f"{str(value.dtype).split('.')[-1]}{list(value.shape)}"
        if isinstance(value, (list, tuple)):
            return f"({', '.join(map(word, value))})"
        return repr(value)

    words = [word(value) for value in (sample.input, *sample.args)]
    return ", ".join(words + [f"{key}={word(value)}" for key, value in sample.kwargs.items()])[:200]
