"""A killed and resumed run ends exactly as an uninterrupted one."""

import gc
import os
import signal

import numpy as np
import pytest
import torch
from torch import nn

from tests.tiny import (
    captions,
    cftn2,
    codes,
    ema,
    phase,
    runtime_config,
    train_config,
    transformer,
    vqvae,
)
from vqpriors.priors.base.examples import TokenExamples
from vqpriors.training import checkpoint as checkpoints
from vqpriors.training.image_examples import ImageExamples
from vqpriors.training.interruption import SIGNALS, StoppedError
from vqpriors.training.loop import train


@pytest.fixture(autouse=True, scope="module")
def no_fsync():
    """Skip fsync, since the system outlives the killed runs, and garbage collection."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        patch.setattr(gc, "collect", lambda: 0)
        yield


class KilledError(Exception):
    pass


class Fuse:
    """Raises an error at the n-th call."""

    def __init__(self, calls):
        self.calls = calls

    def __call__(self):
        self.calls -= 1
        if self.calls == 0:
            raise KilledError


class Signal(Fuse):
    """Sends this process a signal at some of the calls; twice if a call is given twice."""

    def __init__(self, number, *calls):
        self.number, self.at, self.count = number, calls, 0

    def __call__(self):
        self.count += 1
        for _ in range(self.at.count(self.count)):
            signal.raise_signal(self.number)


class FusedExamples:
    """Examples that call a fuse at each batch."""

    def __init__(self, examples, fuse):
        self.examples, self.fuse = examples, fuse

    def __len__(self):
        return len(self.examples)

    def batch(self, rows, generator, *, part=slice(None)):
        self.fuse()
        return self.examples.batch(rows, generator, part=part)


def tokenizer_run():
    torch.manual_seed(1)
    pixels = np.random.default_rng(0).integers(0, 256, (17, 1, 8, 8), dtype=np.uint8)
    phases = {
        "warm_up": phase(epochs=2, options={"quantize": False}),
        "quantize": phase(epochs=2, weights={"commitment": 2.0}),
    }
    # So few vectors a batch that codes die and are revived, which uses random numbers.
    model = vqvae(ema(num_codes=32, dead_code_threshold=0.9, decay=0.5))
    return model, phases, ImageExamples(pixels[:12], shift=1), ImageExamples(pixels[12:])


def sharpening_run():
    model, phases, training, validation = tokenizer_run()
    model.add_discriminator(width=4)
    frozen = {"frozen": ["encoder", "quantizer"], "options": {"sharpen": True}}
    phases = {"quantize": phases["quantize"], "sharpen": phase(epochs=2, **frozen)}
    return model, phases, training, validation


def prior_run(dropout=0.1):
    torch.manual_seed(1)
    phases = {
        "all": phase(epochs=2),
        "head": phase(epochs=2, frozen=["blocks.0", "text_tower"], lr=0.005),
    }
    return transformer(dropout=dropout), phases, *token_splits(num_draws=0)


def masked_prior_run(dropout=0.1):
    torch.manual_seed(1)
    without = {"caption_share": 0.25, "joint_share": 0.25, "latent_share": 0.0}
    phases = {
        "both_ways": phase(epochs=2, frozen=["latent"], options=without),
        "one_step": phase(epochs=2, lr=0.005),
    }
    prior = cftn2(dropout=dropout, full_mask_prob=0.2)
    return prior, phases, *token_splits(num_draws=prior.num_draws)


class Annealed(nn.Module):
    """A factor of the examples whose losses depend on an annealed option and on progress."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Linear(64, 1)
        self.scale, self.progress = 1.0, 0.0

    def begin_phase(self, *, scale=1.0):
        self.scale = scale

    def set_progress(self, fraction):
        self.progress = fraction

    def losses(self, batch):
        self.measured = {"scale": torch.tensor(self.scale), "at": torch.tensor(self.progress)}
        error = (self.factor(batch["images"].flatten(1)) - self.progress).square().mean()
        return {"error": error * self.scale}


def annealed_run():
    torch.manual_seed(1)
    pixels = np.random.default_rng(0).integers(0, 256, (17, 1, 8, 8), dtype=np.uint8)
    phases = {
        "fixed": phase(epochs=1),
        "annealed": phase(epochs=2, options={"scale": [0.25, 2.0]}),
    }
    return Annealed(), phases, ImageExamples(pixels[:12], shift=1), ImageExamples(pixels[12:])


def token_splits(*, num_draws):
    texts = captions([], [2, 3], [4], [5, 6, 7])
    rows = torch.arange(17) % 3 + 1
    return [
        TokenExamples(
            codes(17)[part].numpy().astype(np.uint16),
            captions=texts,
            caption_rows=rows[part],
            caption_dropout=0.3,
            num_draws=num_draws,
        )
        for part in (slice(12), slice(12, 17))
    ]


def weight_norm(model):
    """Return a metric of the averaged weights."""
    return {"norm": sum(float(p.square().sum()) for p in model.parameters())}


def attempt(make, folder, *, killed_in=None, calls=0, fuse=None):
    """Train, calling a fuse at each log or batch; return all results."""
    fuse, logged = fuse or Fuse(calls), []
    model, phases, training, validation = make()
    if killed_in == "batch":
        training, validation = FusedExamples(training, fuse), FusedExamples(validation, fuse)

    def log(step, values):
        if killed_in == "log":
            fuse()
        logged.append((step, dict(values)))

    trained = train(
        model,
        phases=phases,
        config=train_config(),
        runtime=runtime_config(),
        training=training,
        validation=validation,
        seed=3,
        folder=folder,
        log=log,
        callback=weight_norm,
    )
    return model, trained, logged, checkpoints.load(folder)


def assert_same_state(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def assert_same(found, expected):
    assert_same_state(found[0].state_dict(), expected[0].state_dict())
    assert_same_state(found[1].best, expected[1].best)
    assert_same_state(found[1].last, expected[1].last)
    assert found[2] == expected[2]
    for name in ("model", "averaged", "best"):
        assert_same_state(found[3].states[name], expected[3].states[name])
    for result in (found, expected):
        result[3].progress.seconds = result[1].progress.seconds = 0.0
    assert found[3].progress == expected[3].progress == found[1].progress


RUNS = {"tokenizer": tokenizer_run, "prior": prior_run}


@pytest.fixture(scope="module", params=RUNS)
def uninterrupted(request, tmp_path_factory):
    make = RUNS[request.param]
    return make, attempt(make, tmp_path_factory.mktemp(request.param))


# 2 phases of 2 epochs of 3 steps, points after the 2nd and 3rd, and 2 batches of validation.
KILLS = [("log", call) for call in (1, 4, 6, 8, 12)] + [("batch", call) for call in (1, 5, 10, 14)]
MORE_KILLS = [("log", call) for call in (2, 3, 5, 7, 9, 10, 11)]
MORE_KILLS += [("batch", call) for call in (2, 3, 6, 11, 20)]
KILLS += [pytest.param(*place, marks=pytest.mark.slow) for place in MORE_KILLS]
STOPS = [(signal.SIGTERM, calls) for calls in (1, 3, 5, 14, 20)]
STOPS += [(number, 5) for number in SIGNALS if number != signal.SIGTERM]


@pytest.mark.parametrize(("killed_in", "calls"), KILLS)
def test_resumed_run_equals_an_uninterrupted_one(uninterrupted, tmp_path, killed_in, calls):
    make, expected = uninterrupted
    with pytest.raises(KilledError):
        attempt(make, tmp_path, killed_in=killed_in, calls=calls)
    assert_same(attempt(make, tmp_path), expected)


@pytest.mark.parametrize(("killed_in", "calls"), [("log", 8), ("batch", 8), ("batch", 14)])
def test_resumed_run_with_a_discriminator_equals_an_uninterrupted_one(tmp_path, killed_in, calls):
    expected = attempt(sharpening_run, tmp_path / "whole")
    with pytest.raises(KilledError):
        attempt(sharpening_run, tmp_path / "cut", killed_in=killed_in, calls=calls)
    assert_same(attempt(sharpening_run, tmp_path / "cut"), expected)


@pytest.mark.parametrize(("killed_in", "calls"), [("log", 5), ("batch", 12)])
def test_resumed_run_of_a_masked_prior_equals_an_uninterrupted_one(tmp_path, killed_in, calls):
    expected = attempt(masked_prior_run, tmp_path / "whole")
    with pytest.raises(KilledError):
        attempt(masked_prior_run, tmp_path / "cut", killed_in=killed_in, calls=calls)
    assert_same(attempt(masked_prior_run, tmp_path / "cut"), expected)


# 9 steps: points after the 2nd and 3rd of an epoch, and after its validation.
@pytest.mark.parametrize(
    ("killed_in", "calls"),
    [("log", 1), ("log", 5), ("log", 9), ("batch", 2), ("batch", 7), ("batch", 12)],
)
def test_resumed_run_with_annealed_options_equals_an_uninterrupted_one(tmp_path, killed_in, calls):
    expected = attempt(annealed_run, tmp_path / "whole")
    values = dict(point for point in expected[2] if "validation/scale" in point[1])
    assert values[6]["validation/scale"] == pytest.approx(0.25 + 1.75 * 2 / 5)
    assert values[9]["validation/scale"] == 2.0
    assert values[9]["validation/at"] == pytest.approx(8 / 9)
    with pytest.raises(KilledError):
        attempt(annealed_run, tmp_path / "cut", killed_in=killed_in, calls=calls)
    assert_same(attempt(annealed_run, tmp_path / "cut"), expected)


@pytest.mark.parametrize(("number", "calls"), STOPS)
def test_run_stopped_by_a_signal_saves_and_resumes_exactly(uninterrupted, tmp_path, number, calls):
    make, expected = uninterrupted
    before = signal.getsignal(number)
    with pytest.raises(StoppedError, match=rf"stopped by {number.name} at step \d+") as stopped:
        attempt(make, tmp_path, killed_in="batch", fuse=Signal(number, calls))
    assert signal.getsignal(number) == before
    step = int(str(stopped.value).rpartition(" ")[2])
    assert checkpoints.load(tmp_path).progress.step == step
    assert_same(attempt(make, tmp_path), expected)


def test_second_interrupt_stops_at_once(uninterrupted, tmp_path):
    make, expected = uninterrupted
    with pytest.raises(KeyboardInterrupt):
        attempt(make, tmp_path, killed_in="batch", fuse=Signal(signal.SIGINT, 4, 4))
    assert_same(attempt(make, tmp_path), expected)


def test_run_killed_many_times_ends_the_same(uninterrupted, tmp_path):
    make, expected = uninterrupted
    for _ in range(100):
        try:
            found = attempt(make, tmp_path, killed_in="batch", calls=4)
            break
        except KilledError:
            continue
    assert_same(found, expected)


def test_finished_run_resumes_without_training(uninterrupted, tmp_path):
    make, expected = uninterrupted
    attempt(make, tmp_path)
    assert_same(attempt(make, tmp_path, killed_in="batch", calls=1), expected)


def test_damaged_newest_checkpoint_changes_no_result(uninterrupted, tmp_path):
    make, expected = uninterrupted
    with pytest.raises(KilledError):
        attempt(make, tmp_path, killed_in="log", calls=8)
    newest = max(tmp_path.glob("step-*"))
    damaged = newest / "model.safetensors"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.warns(UserWarning, match=f"{newest.name}.*damaged.*the previous checkpoint"):
        found = attempt(make, tmp_path)
    assert_same(found, expected)


def test_another_seed_ends_differently(uninterrupted, tmp_path):
    make, (_, trained, _, _) = uninterrupted
    model, phases, training, validation = make()
    other = train(
        model,
        phases=phases,
        config=train_config(),
        runtime=runtime_config(),
        training=training,
        validation=validation,
        seed=4,
        folder=tmp_path,
        log=lambda *_: None,
    )
    assert any(not torch.equal(other.last[name], value) for name, value in trained.last.items())
