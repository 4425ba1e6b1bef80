"""What ranks send of a graph before its first run: equal where only batches differ, different where collectives do."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import dtrain as dt
from dtrain import collectives as dist
from dtrain.collectives.passes import agreement


class Sent(NamedTuple):
    group: str
    position: int
    digest: str
    text: str


class Channel:
    """Takes what is sent instead of a control client."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []

    def send_schedule(self, group: str, position: int, digest: str, text: str) -> None:
        self.sent.append(Sent(group, position, digest, text))


def sent_by(size: int, body: Any, monkeypatch: pytest.MonkeyPatch) -> list[list[Sent]]:
    """What each thread rank sends while `body(communicator)` runs."""
    channels = [Channel() for _ in range(size)]
    monkeypatch.setattr(agreement, "control_client", lambda: channels[dist.get_communicator().rank])

    def program(communicator: Any) -> None:
        with dist.using(communicator):
            body(communicator)

    dist.run_threads(size, program)
    return [channel.sent for channel in channels]


def test_a_first_run_is_posted_once_whatever_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def body(communicator: Any) -> None:
        @dt.trace
        def step(x: dt.Tensor) -> dt.Tensor:
            return dist.all_reduce(x.sum(), label="loss") * 2.0

        for _ in range(3):
            step(dt.tensor(np.ones(4 + communicator.rank, np.float32)))

    first, second = sent_by(2, body, monkeypatch)
    assert len(first) == 1 and first == second
    assert first[0].group == "world" and first[0].position == 0
    assert first[0].text.startswith("0: all_reduce(sum) f32 x 1 [loss]  # test_agreement.py:")


def test_a_rank_that_compiles_alone_posts_where_the_group_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    def body(communicator: Any) -> None:
        @dt.trace
        def step(x: dt.Tensor) -> dt.Tensor:
            return dist.all_reduce(x.sum())

        if communicator.rank == 0:
            communicator.send(np.zeros(1), destination=1)  # messages between two ranks count for nobody
        else:
            communicator.recv(source=0)
        for count in (4, 4, 5 if communicator.rank else 4):
            step(dt.tensor(np.ones(count, np.float32)))

    first, second = sent_by(2, body, monkeypatch)
    assert [one.position for one in first] == [0]
    assert [one.position for one in second] == [0, 2]
    assert len({one.digest for one in [*first, *second]}) == 1


def test_other_collectives_have_other_digests() -> None:
    def digest_of(collective: Any) -> str:
        def program(communicator: Any) -> str:
            with dist.using(communicator):
                step = dt.trace(lambda x: collective(x))
                step(dt.tensor(np.ones(2, np.float32)))
                return agreement.project(step.graphs[0])["world"].partition("  #")[0]

        return dist.run_threads(1, program)[0]

    texts = [
        digest_of(dist.all_reduce),
        digest_of(lambda x: dist.all_reduce(x, op="max")),
        digest_of(lambda x: dist.all_reduce(x, label="w")),
        digest_of(lambda x: dist.all_reduce(x.to("f64"))),
        digest_of(lambda x: dist.all_reduce(x.sum())),
        digest_of(dist.all_gather),
        digest_of(lambda x: dist.broadcast(x, root=0)),
    ]
    assert len(set(texts)) == len(texts), texts


def test_a_world_of_one_posts_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def body(communicator: Any) -> None:
        dt.trace(dist.all_reduce)(dt.tensor([1.0]))

    assert sent_by(1, body, monkeypatch) == [[]]


_STEP = """
import dtrain as dt
from dtrain import collectives as dist, nn

model = nn.Linear(2, 2)

@dt.trace
def step(x):
    loss = dist.all_reduce(model(x).sum(), label="loss")
    loss.backward()
    return model.weight.grad
"""


def test_ranks_whose_scripts_lie_in_different_folders_post_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The backward of the all-reduce comes from its line in the file, not from where the file is."""
    for number in range(2):
        (tmp_path / f"host{number}").mkdir()
        (tmp_path / f"host{number}" / "train.py").write_text(_STEP)

    def body(communicator: Any) -> None:
        step = runpy.run_path(str(tmp_path / f"host{communicator.rank}" / "train.py"))["step"]
        step(dt.tensor(np.ones((1 + communicator.rank, 2), np.float32)))

    first, second = sent_by(2, body, monkeypatch)
    assert first == second
    assert str(tmp_path) not in first[0].text
    assert [line.split("# ")[1] for line in first[0].text.splitlines()] == ["train.py:9", "train.py:9"]
