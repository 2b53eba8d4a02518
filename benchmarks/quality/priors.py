"""The run's prior and those of other packages: likelihood, and measures of drawn pictures."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.quality.peers import GPT2, Amused, Peer, XTransformer
from benchmarks.quality.table import Row
from benchmarks.quality.training import train
from vqpriors.core.hardware import Precision
from vqpriors.core.params import Params, Seed
from vqpriors.data.samples import Prompt, choose_prompts
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.data.tokens import TokenSet, read_tokens
from vqpriors.evaluation import adherence, conformity, coverage, distances
from vqpriors.evaluation.base.inputs import Inputs
from vqpriors.evaluation.likelihood import likelihood, measure_likelihood
from vqpriors.inference.stage_sampler import StageSampler, load_stage_sampler
from vqpriors.priors.base.examples import token_examples
from vqpriors.sampling import autoregressive

DATA = Path("data")
MEASURES = (conformity, coverage, adherence, distances)
SPLIT = "test"
PEERS = {"gpt2": "transformers", "x-transformer": "x-transformers", "amused": "diffusers"}


@dataclass(frozen=True)
class Run:
    """The current run.

    Attributes:
        params: Its params.
        inputs: Its outputs, with the pictures of the test split.
        training: Codes and captions of the training split.
        sampler: Its prior and sampler.
        prompts: The captions to draw.
        longest: Tokens of the longest training caption.
    """

    params: Params
    inputs: Inputs
    training: TokenSet
    sampler: StageSampler
    prompts: list[Prompt]
    longest: int

    @property
    def arch(self) -> Any:
        """The kind of prior, with its config."""
        return self.params.kind("prior.arch", "vqpriors.priors")

    def encode(self, captions: Sequence[str]) -> TextInput:
        """Encode captions without the padding that no training caption needs."""
        text = self.inputs.encoder.encode(captions)
        return TextInput(text.tokens[:, : self.longest], text.text_mask[:, : self.longest], None)


def read_run(params: Params) -> Run:
    """Read the current run.

    Raises:
        ValueError: If a part is missing or damaged, captions are vectors, or there is no judge.
    """
    seed = params.value("seed", Seed)
    sampler = load_stage_sampler(DATA, params, seed=seed)
    inputs = Inputs(
        DATA,
        split=SPLIT,
        batch_size=params.value("evaluate.batch_size", int),
        bound_samples=params.value("evaluate.bound_samples", int),
        bootstrap_samples=params.value("evaluate.bootstrap_samples", int),
        reliable_accuracy=params.value("evaluate.reliable_accuracy", float),
        seed=seed,
    )
    if inputs.judge is None:
        raise ValueError("data/judge: there is no judge for this data set, so nothing to compare")
    shape = inputs.encoder.shape
    if not shape.vocabulary or shape.feature_width:
        raise ValueError("text.encoder: must be wordpiece or bert, whose captions are token ids")
    training = read_tokens(DATA / "tokens", "train", tokenizer=inputs.spec.fingerprint)
    text = inputs.encoder.encode(training.captions.distinct.to_pylist())
    prompts = choose_prompts([], inputs.tokens, limit=sampler.config.num_prompts)
    longest = int(text.text_mask.sum(1).max())
    return Run(params, inputs, training, sampler, prompts, longest)


def own_row(run: Run, *, minutes: float) -> Row:
    """Measure the run's prior, which was trained for some minutes."""
    generator = run.sampler.generator
    captions = [prompt.caption for prompt in run.prompts]
    codes, _, seconds = run.sampler.sample_timed(captions, purpose="quality")
    return {
        "model": generator.arch,
        "package": "vqpriors",
        "parameters": sum(p.numel() for p in generator.prior.parameters()),
        "minutes": minutes,
        "epochs": sum(phase.epochs for phase in run.arch.config.phases.values()),
        "images_per_second": 1 / seconds,
        **_measure(run, generator.prior, codes, encode=run.inputs.encoder.encode),
    }


def peer_row(run: Run, name: str, *, minutes: float, lr: float) -> Row:
    """Train a network of another package on the run's codes and captions, and measure it."""
    peer, seed = _build(run, name), run.inputs.seed
    dropout = run.params.value("prior.caption_dropout", float)
    tokens = run.training

    def loss(batch: dict[str, Tensor]) -> Tensor:
        text = TextInput(batch["text_tokens"], batch["text_mask"], None)
        return peer.loss(batch["codes"], text)

    epochs = train(
        peer,
        loss,
        token_examples(tokens.codes, tokens.captions, encode=run.encode, dropout=dropout),
        seconds=minutes * 60,
        batch_size=run.params.value("prior.train.batch_size", int),
        lr=lr,
        precision=run.params.value("train.precision", Precision),
        seed=seed,
    )
    torch.manual_seed(seed)
    began = time.perf_counter()
    codes = _draw(run, peer)
    seconds = (time.perf_counter() - began) / len(run.prompts)
    return {
        "model": peer.name,
        "package": peer.package,
        "version": version(peer.package),
        "parameters": sum(p.numel() for p in peer.parameters()),
        "minutes": minutes,
        "epochs": round(epochs, 1),
        "images_per_second": 1 / seconds,
        **_measure(run, peer, codes, encode=run.encode),
    }


def _draw(run: Run, peer: Peer) -> np.ndarray:
    """Draw a picture for each prompt, (M, N) uint16."""
    config, drawn = run.sampler.config, []
    for start in range(0, len(run.prompts), config.batch_size):
        captions = [prompt.caption for prompt in run.prompts[start:][: config.batch_size]]
        empty = run.encode([""] * len(captions))
        drawn.append(peer.sample(run.encode(captions), empty, guidance=config.guidance).numpy())
    return np.concatenate(drawn).astype(np.uint16)


def _measure(
    run: Run, prior: Any, codes: np.ndarray, *, encode: Callable[[Sequence[str]], TextInput]
) -> Row:
    """Return the metrics of drawn codes, and the likelihood or its bound if the prior has one."""
    inputs = run.inputs
    drawn = inputs.with_samples(run.prompts, pixels=inputs.decode(codes), codes=codes)
    metrics: Row = {}
    for module in MEASURES:
        metrics |= module.measure(drawn)
    if hasattr(prior, "nats"):
        found = likelihood(
            prior,
            inputs.tokens.codes,
            inputs.tokens.captions,
            encode=encode,
            batch_size=inputs.batch_size,
            num_samples=inputs.bound_samples,
            seed=inputs.seed,
        )
        length = inputs.tokens.codes.shape[1]
        nats = measure_likelihood(found, groups=inputs.real.groups, num_tokens=length)
        metrics |= nats | {"is_exact": bool(prior.is_exact)}
    return metrics


def _build(run: Run, name: str) -> Peer:
    config, spec = run.arch.config, run.inputs.spec
    sizes: dict[str, Any] = {
        "grid": spec.grid,
        "codebook_size": spec.codebook_size,
        "text": TextShape(run.longest, run.inputs.encoder.shape.vocabulary, 0),
        "width": config.width,
        "depth": config.depth,
        "heads": config.heads,
    }
    torch.manual_seed(run.inputs.seed)
    if name == "amused":
        return Amused(**sizes, steps=run.sampler.config.steps)
    settings = run.params.section("sample.autoregressive", autoregressive.Config)
    return {"gpt2": GPT2, "x-transformer": XTransformer}[name](**sizes, settings=settings)
