"""The rate of the link between hosts: given by the user, or what the network card says of itself."""

from __future__ import annotations

import argparse
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from dtrain.collectives.communicator.contract import Communicator

# In bits a second, powers of ten, as links are sold.
_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}


@dataclass(frozen=True, slots=True)
class Link:
    """What a host can send in a second. `source` says who says so."""

    bytes_per_second: float
    source: str


def parse_rate(text: str) -> float:
    """Bytes per second of `10G`, `1Gbit`, `400Mbit/s`: bits, in powers of ten.

    >>> parse_rate("1Gbit")
    125000000.0
    """
    match = re.fullmatch(r"([\d.]+)\s*([kmgt]?)(bit|b)?(/s|ps)?", text.strip().lower())
    try:
        bits = float(match[1]) * _UNITS[match[2]] if match else 0.0
    except ValueError:
        bits = 0.0
    if not bits > 0:
        raise argparse.ArgumentTypeError(f"expected bits a second such as 10G, 1Gbit or 400Mbit/s, got {text!r}")
    return bits / 8


def slowest_link(world: Communicator, given: float | None) -> Link | None:
    """The link of the host whose link is slowest; None on one host, or where no host knows (collective)."""
    hosts = world.all_gather_object(socket.gethostname())
    if len(set(hosts)) < 2:
        return None
    if given is not None:
        return Link(given, "--link-rate")
    known = [link for link in world.all_gather_object(card()) if link is not None]
    return min(known, key=lambda link: link.bytes_per_second) if len(known) == world.size else None


def card() -> Link | None:
    """The card that the default route, or the first one that is up and is no loopback, goes through."""
    for name in _by_route() + sorted(os.listdir("/sys/class/net")):
        try:
            megabits = int(Path(f"/sys/class/net/{name}/speed").read_text())
        except (OSError, ValueError):
            continue  # a loopback, or a card without a carrier
        if megabits > 0:
            return Link(megabits * 1e6 / 8, f"{name} of {socket.gethostname()} says {megabits} Mbit/s")
    return None


def _by_route() -> list[str]:
    try:
        rows = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
    except OSError:
        return []
    return [row[0] for row in rows if len(row) > 1 and row[1] == "00000000"]
