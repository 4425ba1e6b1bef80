"""Run many random programs and compare each with one process; ends with code 1 if one differs.

python -m programs --count 2000 --mpi 300          seeds 0 … 1999 on threads, 300 of them under mpirun too
python -m programs --count 400 --faults            what kinds of faults there are, and how many programs show each
python -m programs --show 17 --ranks 3             the text of one program
"""

from __future__ import annotations

import argparse
import os
import re
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from programs.faults import KINDS, fault_of
from programs.generate import generate
from programs.judge import Outcome
from programs.mpi import Key, outcomes_under_mpi
from programs.program import Program
from programs.run import outcome_of
from programs.shrink import shrink
from programs.text import text_of

_CHUNK = 20


def keys_of(seed: int) -> list[Key]:
    """Every program runs on 2 and 3 ranks, some also on 5 and in a world of one."""
    sizes = [2, 3, *([5] if seed % 10 == 0 else []), *([1] if seed % 25 == 0 else [])]
    return [(seed, size) for size in sizes]


def _quiet() -> None:
    warnings.simplefilter("ignore")


def _run_chunk(seeds: Iterable[int]) -> list[tuple[Key, Outcome]]:
    return [(key, outcome_of(generate(*key))) for seed in seeds for key in keys_of(seed)]


def _shrunken(key: Key) -> tuple[Key, Program, Outcome]:
    try:
        return (key, *shrink(generate(*key), outcome_of))
    except ValueError:  # it has failed before, and does not now
        return key, generate(*key), Outcome("error", "a failure that does not come again on threads")


def _on_threads(pool: ProcessPoolExecutor, seeds: range) -> Iterator[tuple[Key, Outcome]]:
    chunks = [seeds[i : i + _CHUNK] for i in range(0, len(seeds), _CHUNK)]
    for results in pool.map(_run_chunk, chunks):
        yield from results


def _under_mpi(seeds: range) -> Iterator[tuple[Key, Outcome]]:
    """Half of the programs on 2 ranks, the others on 3, and some on 5; a job is as large as its largest world."""
    by_size: dict[int, list[Key]] = {}
    for seed in seeds:
        ranks = 5 if seed % 15 == 0 else 2 + seed % 2
        by_size.setdefault(max(generate(seed, ranks).worlds), []).append((seed, ranks))
    for size, keys in sorted(by_size.items()):
        for start in range(0, len(keys), 50):
            yield from outcomes_under_mpi(keys[start : start + 50], size, timeout=300)


def _report(name: str, results: Iterator[tuple[Key, Outcome]]) -> list[tuple[Key, Outcome]]:
    """Print counts and the seeds of failures; give those back."""
    start, counts, failed = time.monotonic(), Counter[str](), []
    void = Counter[str]()
    for key, outcome in results:
        counts[outcome.verdict] += 1
        if outcome.verdict == "void":
            void[re.sub(r"\d+", "N", outcome.text.partition("\n")[0])[:140]] += 1
        if outcome.is_failure:
            failed.append((key, outcome))
            print(f"  seed {key[0]} on {key[1]} ranks {outcome.verdict}: {outcome.text.splitlines()[0][:200]}")
    seconds = time.monotonic() - start
    listed = ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items()))
    print(f"{name}: {sum(counts.values())} runs in {seconds:.0f} s: {listed}", flush=True)
    for reason, count in void.most_common():
        print(f"  {count} void: {reason}", flush=True)
    return failed


def _headline(outcome: Outcome) -> str:
    """What a failure says, without its numbers."""
    first = outcome.text.splitlines()[0] if outcome.verdict == "error" else ""
    return outcome.verdict + re.sub(r"[\d.]+|\[.*?\]", "", first)[:80]


def _unlike(failed: list[tuple[Key, Outcome]], count: int) -> list[Key]:
    """Up to so many failures, those first that say what no other says."""
    first = {_headline(outcome): key for key, outcome in reversed(failed)}
    return list(dict.fromkeys([*reversed(first.values()), *(key for key, _ in failed)]))[:count]


def _print_faults(shrunken: Iterable[tuple[Key, Program, Outcome]], count: int) -> None:
    found: dict[str, list[tuple[Key, Program, Outcome]]] = {}
    for item in shrunken:
        found.setdefault(fault_of(item[1], item[2]), []).append(item)
    for kind in KINDS:
        seeds = sorted({key[0] for key, _, _ in found.get(kind, [])})
        first = f"first after {seeds[0] + 1} programs, {len(seeds)} of {count}" if seeds else f"none of {count}"
        print(f"\n{kind}: {first}")
        if seeds:
            _, program, outcome = min(found[kind], key=lambda item: len(text_of(item[1])))
            print(f"# {outcome.verdict}: {outcome.text.splitlines()[0][:200]}\n{text_of(program)}")


def main() -> int:
    """Carry out what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m programs", description=__doc__.splitlines()[0])
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--count", type=int, default=2000, help="programs on threads")
    parser.add_argument("--mpi", type=int, default=0, help="programs under mpirun")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="processes")
    parser.add_argument("--shrink", type=int, default=5, help="failures to make small and print")
    parser.add_argument("--faults", action="store_true", help="make all failures small and count their kinds")
    parser.add_argument("--show", type=int, help="print the program of this seed and end")
    parser.add_argument("--ranks", type=int, default=2, help="ranks of the program to print")
    options = parser.parse_args()
    if options.show is not None:
        print(text_of(generate(options.show, options.ranks)))
        return 0
    seeds = range(options.first, options.first + options.count)
    context = get_context("spawn")
    with ProcessPoolExecutor(options.jobs, mp_context=context, initializer=_quiet) as pool:
        failed = _report("threads", _on_threads(pool, seeds))
        if options.faults:
            small = list({key[0]: key for key, _ in reversed(failed)}.values())[::-1]
            _print_faults(pool.map(_shrunken, small), options.count)
        else:
            seen = set()
            for key, program, outcome in pool.map(_shrunken, _unlike(failed, options.shrink)):
                kind = fault_of(program, outcome), _headline(outcome)
                if kind in seen:
                    print(f"\n# seed {key[0]} on {key[1]} ranks, made small: alike")
                    continue
                seen.add(kind)
                print(f"\n# seed {key[0]} on {key[1]} ranks, made small: {outcome.verdict}: {outcome.text[:300]}")
                print(text_of(program))
    if options.mpi:
        failed += _report("mpirun", _under_mpi(range(options.first, options.first + options.mpi)))
    return 1 if failed else 0
