"""A contest: the same work by ours and by peers, in turn, in one process."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from statistics import median
from typing import Any

from vqpriors.core.hardware import Precision

Row = dict[str, str]
COLUMNS = ["work", "size", "ours", "peer", "peer_version", "unit", "ours_value", "peer_value"]
COLUMNS += ["ratio", "precision", "threads", "hardware"]
PRECISIONS: dict[Precision, str] = {"no": "float32", "bf16": "bfloat16"}


@dataclass(frozen=True)
class Side:
    """One who does the work.

    Attributes:
        name: What the table calls it.
        run: Does the work once, or returns the figure where the contest says so.
        parameters: Numbers that it has learned or could, the codebook included; 0 for no model.
        package: What it comes from.
    """

    name: str
    run: Callable[[], Any]
    parameters: int = 0
    package: str = "vqpriors"


@dataclass(frozen=True)
class Contest:
    """One piece of work and who does it.

    Attributes:
        work: Its name on the command line.
        size: How much work, in words.
        unit: Of the figures; one that ends in "/s" is better the higher, any other the lower.
        ours: We.
        peers: The others; those that are not installed are not among them.
        amount: Units that a run makes, for a unit that ends in "/s".
        precision: Of both sides; None where nothing is computed.
        is_told: Whether a run returns its figure; else its seconds are taken.
    """

    work: str
    size: str
    unit: str
    ours: Side
    peers: list[Side]
    amount: float = 1.0
    precision: Precision | None = None
    is_told: bool = False


def measure(contest: Contest, *, repeats: int) -> list[float]:
    """Return the median figure of ours and of each peer.

    Who begins changes from turn to turn, so that what slows the machine down meets all alike. Each
    side runs once before that, untimed.
    """
    sides = [contest.ours, *contest.peers]
    for side in sides if not contest.is_told else []:
        side.run()
    found: list[list[float]] = [[] for _ in sides]
    for turn in range(repeats):
        for place in range(len(sides)):
            chosen = (turn + place) % len(sides)
            found[chosen].append(_figure(contest, sides[chosen]))
    return [median(figures) for figures in found]


def _figure(contest: Contest, side: Side) -> float:
    began = time.perf_counter()
    told = side.run()
    seconds = time.perf_counter() - began
    if contest.is_told:
        return told
    return contest.amount / seconds if contest.unit.endswith("/s") else seconds


def rows(contest: Contest, figures: list[float], machine: Row) -> list[Row]:
    """Return a row a peer.

    Args:
        contest: What was done.
        figures: What `measure` returned.
        machine: "threads" and "hardware".
    """
    precision = "-" if contest.precision is None else PRECISIONS[contest.precision]
    shared = {"work": contest.work, "unit": contest.unit, "ours": contest.ours.name}
    shared |= {"ours_value": _rounded(figures[0]), "precision": precision, **machine}
    found = []
    for peer, figure in zip(contest.peers, figures[1:], strict=True):
        own = {"peer": f"{peer.package}: {peer.name}", "peer_version": version(peer.package)}
        own |= {"peer_value": _rounded(figure), "ratio": _rounded(figures[0] / figure)}
        found.append(shared | own | {"size": _size(contest, peer)})
    return found


def installed(peers: dict[str, Callable[[], Side]]) -> list[Side]:
    """Build the peers whose packages are there, by package."""
    return [build() for package, build in peers.items() if is_installed(package)]


def is_installed(package: str) -> bool:
    """Tell whether a package is there."""
    try:
        version(package)
    except PackageNotFoundError:
        return False
    return True


def _size(contest: Contest, peer: Side) -> str:
    if not contest.ours.parameters:
        return contest.size
    counts = (f"{side.parameters / 1e6:.1f} M" for side in (contest.ours, peer))
    return f"{contest.size}; {' and '.join(counts)} parameters"


def _rounded(value: float) -> str:
    return f"{float(f'{value:.4g}'):.10g}"
