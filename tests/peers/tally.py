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
        self.reasons: dict[tuple[str, str], dict[str, Counter[str]]] = {}  # reason -> counts of names
        self.names: dict[str, set[str]] = {}

    def note(self, part: str, way: str, reason: str = "", name: str = "") -> None:
        """One sample of `name`, an operator or a module; without a name the reason begins with it."""
        if not name:
            name, _, reason = reason.partition(": ")
        self.ways.setdefault(part, Counter())[way] += 1
        self.names.setdefault(part, set()).add(name)
        if reason and way != EQUAL:
            self.reasons.setdefault((part, way), {}).setdefault(reason, Counter())[name] += 1

    def tried(self, part: str) -> set[str]:
        return self.names.get(part, set())

    def share_equal(self, part: str) -> float:
        """Of what is covered, which is what is equal and what is not; 1 where nothing is."""
        ways = self.ways.get(part, Counter())
        covered = sum(ways[way] for way in COVERED)
        return ways[EQUAL] / covered if covered else 1.0

    def report(self, most: int | None = 25) -> list[str]:
        """A line a part, and for each way its most frequent reasons, with the names that they are of."""
        lines = []
        for part, ways in self.ways.items():
            counts = ", ".join(f"{count} {way}" for way, count in ways.most_common())
            share = f", {100 * self.share_equal(part):.2f}% of what is covered equal"
            lines.append(f"{part}: {ways.total()} tried: {counts}{share}")
            for way in ways:
                reasons = self.reasons.get((part, way), {})
                ranked = sorted(reasons, key=lambda reason: -reasons[reason].total())
                for reason in ranked[:most]:
                    names = ", ".join(f"{name} {count}" for name, count in reasons[reason].most_common(most))
                    lines.append(f"    {way}: {reasons[reason].total()} × {reason} ({names})")
        return lines


TALLY = Tally()
