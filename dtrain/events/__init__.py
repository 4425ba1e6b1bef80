"""What happens in a job, as one stream of typed events: `emit(Step(…))` says it, a file of JSON lines keeps it.

    dtrain run --events job.jsonl -np 4 train.py     the launcher and all ranks
    DTRAIN_EVENTS=job.jsonl python train.py          one process

Without either, `emit` costs next to nothing. It never raises into training.
"""

from __future__ import annotations

from dtrain.control.verdict import Verdict as Verdict
from dtrain.events.json_lines import JsonLines as JsonLines
from dtrain.events.json_lines import read as read
from dtrain.events.kinds import KINDS as KINDS
from dtrain.events.kinds import BenchmarkResult as BenchmarkResult
from dtrain.events.kinds import Epoch as Epoch
from dtrain.events.kinds import Event as Event
from dtrain.events.kinds import JobEnded as JobEnded
from dtrain.events.kinds import JobStarted as JobStarted
from dtrain.events.kinds import RankEnded as RankEnded
from dtrain.events.kinds import RankStarted as RankStarted
from dtrain.events.kinds import Recorded as Recorded
from dtrain.events.kinds import Step as Step
from dtrain.events.stream import add_sink as add_sink
from dtrain.events.stream import emit as emit
from dtrain.events.stream import remove_sink as remove_sink
