"""Stepwise priors beside peers: a training step, and drawing code by code.

None reads captions, since the peers don't.
"""

from collections.abc import Iterator
from functools import partial

from benchmarks.speed import ours
from benchmarks.speed.cell_loop import cell_loop
from benchmarks.speed.contest import Contest, Side, installed
from benchmarks.speed.sizes import Size
from benchmarks.speed.stepwise_peers import NAMES, drawing_side, training_side
from vqpriors.core.hardware import Precision


def step(size: Size, precisions: list[Precision]) -> Iterator[Contest]:
    """Yield contests of one training step on random codes."""
    for precision in precisions:
        prior = ours.prior("transformer", size, ours.NO_TEXT)
        run = ours.training(prior, ours.prior_batch(prior, size, ours.NO_TEXT), precision)
        peers = {peer: partial(training_side, peer, size, precision) for peer in NAMES}
        yield Contest(
            work="prior-step",
            size=f"{_codes(size, size.batch)}, {size.depth} layers of width {size.width}",
            unit="codes/s",
            amount=size.batch * size.length,
            precision=precision,
            ours=Side("transformer", run, ours.num_parameters(prior)),
            peers=installed(peers),
        )


def sampling(size: Size, precisions: list[Precision]) -> Iterator[Contest]:
    """Yield contests of drawing one picture, and several."""
    for precision in precisions:
        for count in size.stepwise:
            peers = {peer: partial(drawing_side, peer, size, count, precision) for peer in NAMES}
            yield Contest(
                work="stepwise-sampling",
                size=f"{_codes(size, count)}, {size.depth} layers of width {size.width}",
                unit="codes/s",
                amount=count * size.length,
                precision=precision,
                ours=_own("transformer", size, count, precision),
                peers=installed(peers),
            )


def lstm_sampling(size: Size, precisions: list[Precision]) -> Iterator[Contest]:
    """Yield contests with loops over torch's cells: of our width, and of our parameters."""
    count, width = size.stepwise[-1], size.lstm_width
    for precision in precisions:
        own = _own("lstm", size, count, precision)
        yield Contest(
            work="lstm-sampling",
            size=f"{_codes(size, count)}, {ours.LSTM_DEPTH} layers of width {width}",
            unit="codes/s",
            amount=count * size.length,
            precision=precision,
            ours=own,
            peers=[cell_loop(each, size, count, precision) for each in (width, width * 21 // 16)],
        )


def _own(kind: str, size: Size, count: int, precision: Precision) -> Side:
    prior = ours.prior(kind, size, ours.NO_TEXT)
    run = ours.drawing(prior, count=count, text=ours.NO_TEXT, precision=precision)
    return Side(kind, run, ours.num_parameters(prior))


def _codes(size: Size, count: int) -> str:
    pictures = f"{count} picture{'s' * (count > 1)}"
    return f"{pictures} of {size.length:,} codes of {size.num_codes:,}"
