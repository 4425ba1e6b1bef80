"""Counts of what was tried and how it came out, over a whole run."""

from __future__ import annotations

from collections import Counter

# Ways in which a sample may come out. The last two fail.
EQUAL, MISSING, REFUSED, AGREED, UNTRACED = "equal", "not supported", "refused", "agreed difference", "not traced"
DIFFERENT, UNLISTED = "different", "refused without a reason"
COVERED = (EQUAL, AGREED, DIFFERENT, UNLISTED)


class Tally:
    """For each part (operators, error inputs, modules, …) how many samples came out which way, and why."""

    def __init__(self) -> None:
        self.ways: dict[str, Counter[str]] = {}
        self.reasons: dict[tuple[str, str], Counter[str]] = {}

    def note(self, part: str, way: str, reason: str = "") -> None:
        self.ways.setdefault(part, Counter())[way] += 1
        if reason and way != EQUAL:
            self.reasons.setdefault((part, way), Counter())[reason] += 1

    def report(self, most: int | None = 25) -> list[str]:
        """A line a part, and a line for each way with its most frequent reasons."""
        lines = []
        for part, ways in self.ways.items():
            covered = sum(ways[way] for way in COVERED)
            share = f", {100 * ways[EQUAL] / covered:.2f}% of what is covered equal" if covered else ""
            counts = ", ".join(f"{count} {way}" for way, count in ways.most_common())
            lines.append(f"{part}: {ways.total()} tried: {counts}{share}")
            for way in ways:
                for reason, count in self.reasons.get((part, way), Counter()).most_common(most):
                    lines.append(f"    {way}: {count} × {reason}")
        return lines


TALLY = Tally()
