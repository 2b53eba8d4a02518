"""Train networks of other packages on the tokens of the current run and compare the quality.

Each gets the training minutes, width and depth of the run's prior, and draws with its own sampler.
Writes metrics/reference/quality.csv and the table of docs/quality.md.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.quality.peers import GPT2, Amused
from benchmarks.quality.table import Row, merged, read_rows, write_page, write_rows
from benchmarks.quality.training import train
from stages import keep_freed_memory
from tools.keep_priors import hardware
from vqpriors.core.params import Params, Seed
from vqpriors.data.samples import Prompt, choose_prompts
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.data.tokens import read_tokens
from vqpriors.evaluation import adherence, conformity, coverage, distances
from vqpriors.evaluation.base.inputs import Inputs
from vqpriors.evaluation.likelihood import likelihood, measure_likelihood
from vqpriors.inference.stage_sampler import StageSampler, load_stage_sampler
from vqpriors.priors.base.examples import token_examples
from vqpriors.sampling import autoregressive

DATA = Path("data")
TRAINED = Path("metrics/train_prior/metrics.json")
MEASURES = (conformity, coverage, adherence, distances)
SPLIT = "test"
PEERS = {"gpt2": "transformers", "amused": "diffusers"}


@dataclass(frozen=True)
class Run:
    """The current run.

    Attributes:
        params: Its params.
        inputs: Its outputs, with the pictures of the evaluated split.
        sampler: Its prior and sampler.
        prompts: The captions to draw.
        longest: Tokens of the longest training caption.
    """

    params: Params
    inputs: Inputs
    sampler: StageSampler
    prompts: list[Prompt]
    longest: int

    def encode(self, captions: Sequence[str]) -> TextInput:
        """Encode captions without the padding that no training caption needs."""
        text = self.inputs.encoder.encode(captions)
        return TextInput(text.tokens[:, : self.longest], text.text_mask[:, : self.longest], None)


def main() -> None:
    """Measure the run's prior, then train and measure each peer; write its row at once."""
    options = _options()
    if options.page:
        write_page(read_rows())
        return
    try:
        run = _read_run()
        trained = json.loads(TRAINED.read_text())["train_minutes"]
    except (ValueError, OSError) as error:
        sys.exit(f"error: benchmarks.quality: {' '.join(str(error).split())}")
    keep_freed_memory()
    data = run.params.value("data.name", str)
    shared = {"data": data, "hardware": options.hardware, "commit": _commit()}
    _write(shared | _own_row(run, trained))
    for name in options.peers:
        minutes = options.minutes or trained
        _write(shared | _peer_row(run, name, minutes=minutes, lr=options.lr))


def _own_row(run: Run, minutes: float) -> Row:
    generator = run.sampler.generator
    captions = [prompt.caption for prompt in run.prompts]
    codes, _, seconds = run.sampler.sample_timed(captions, purpose="quality")
    return {
        "model": generator.arch,
        "package": "vqpriors",
        "version": "",
        "parameters": sum(p.numel() for p in generator.prior.parameters()),
        "minutes": round(minutes, 2),
        "epochs": sum(phase.epochs for phase in _arch(run).config.phases.values()),
        "images_per_second": 1 / seconds,
        **_measure(run, generator.prior, codes, encode=run.inputs.encoder.encode),
    }


def _peer_row(run: Run, name: str, *, minutes: float, lr: float) -> Row:
    from importlib.metadata import version

    peer, seed = _build(run, name), run.inputs.seed
    tokens = read_tokens(DATA / "tokens", "train", tokenizer=run.inputs.spec.fingerprint)
    dropout = run.params.value("prior.caption_dropout", float)
    examples = token_examples(tokens.codes, tokens.captions, encode=run.encode, dropout=dropout)
    size = run.params.value("prior.train.batch_size", int)
    epochs = train(peer, examples, seconds=minutes * 60, batch_size=size, lr=lr, seed=seed)
    guidance = run.sampler.config.guidance
    torch.manual_seed(seed)
    began, drawn = time.perf_counter(), []
    for start in range(0, len(run.prompts), run.sampler.config.batch_size):
        captions = [p.caption for p in run.prompts[start:][: run.sampler.config.batch_size]]
        empty = run.encode([""] * len(captions))
        drawn.append(peer.sample(run.encode(captions), empty, guidance=guidance).numpy())
    seconds = (time.perf_counter() - began) / len(run.prompts)
    codes = np.concatenate(drawn).astype(np.uint16)
    return {
        "model": peer.name,
        "package": peer.package,
        "version": version(peer.package),
        "parameters": sum(p.numel() for p in peer.parameters()),
        "minutes": round(minutes, 2),
        "epochs": round(epochs, 1),
        "images_per_second": 1 / seconds,
        **_measure(run, peer, codes, encode=run.encode),
    }


def _measure(
    run: Run, prior: Any, codes: np.ndarray, *, encode: Callable[[Sequence[str]], TextInput]
) -> Row:
    """Return the metrics of drawn codes, and the likelihood if it is exact or a bound of ours."""
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


def _build(run: Run, name: str) -> Any:
    config, spec = _arch(run).config, run.inputs.spec
    shape = run.inputs.encoder.shape
    sizes: dict[str, Any] = {
        "grid": spec.grid,
        "codebook_size": spec.codebook_size,
        "text": TextShape(run.longest, shape.vocabulary, 0),
        "width": config.width,
        "depth": config.depth,
        "heads": config.heads,
    }
    torch.manual_seed(run.inputs.seed)
    if name == "amused":
        return Amused(**sizes, steps=run.sampler.config.steps)
    settings = run.params.section("sample.autoregressive", autoregressive.Config)
    return GPT2(**sizes, settings=settings)


def _arch(run: Run) -> Any:
    return run.params.kind("prior.arch", "vqpriors.priors")


def _read_run() -> Run:
    """Read the current run.

    Raises:
        ValueError: If a part is missing or damaged, captions are vectors, or there is no judge.
    """
    import dvc.api

    params = Params(dvc.api.params_show("params.yaml"))
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
    prompts = choose_prompts([], inputs.tokens, limit=sampler.config.num_prompts)
    tokens = read_tokens(DATA / "tokens", "train", tokenizer=inputs.spec.fingerprint)
    text = inputs.encoder.encode(tokens.captions.distinct.to_pylist())
    return Run(params, inputs, sampler, prompts, longest=int(text.text_mask.sum(1).max()))


def _write(row: Row) -> None:
    found = merged(read_rows(), row)
    write_rows(found)
    write_page(found)
    print(json.dumps(row), flush=True)


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.quality", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "peers", nargs="*", metavar="PEER", help=f"{', '.join(PEERS)} (default: all)"
    )
    parser.add_argument(
        "--minutes", type=float, help="training time of a peer (default: that of the run's prior)"
    )
    parser.add_argument(
        "--lr", type=float, default=1e-3, help="peak learning rate of a peer (default: %(default)s)"
    )
    parser.add_argument("--hardware", default=hardware(), help="default: %(default)s")
    parser.add_argument("--page", action="store_true", help="only write the table again")
    options = parser.parse_args()
    if unknown := set(options.peers) - set(PEERS):
        parser.error(f"no peer {min(unknown)!r}; there are {', '.join(PEERS)}")
    options.peers = options.peers or list(PEERS)
    return options


if __name__ == "__main__":
    main()
