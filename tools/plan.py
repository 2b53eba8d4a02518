"""Tell what training will take with these params on this machine, from a few measured steps."""

import argparse
import importlib
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from vqpriors.core.hardware import peak_memory
from vqpriors.core.params import read_params, read_section
from vqpriors.core.phases import Phase
from vqpriors.training.config import RuntimeConfig
from vqpriors.training.run import Run
from vqpriors.training.session import Job, seed_stage

STAGES = ("train_tokenizer", "train_judge", "train_prior")
WARM_UP, MEASURED = 2, 4  # steps


@dataclass(frozen=True)
class Cost:
    """What a phase costs.

    Attributes:
        steps: Updates in all.
        flops: Of an update, forward and backward; what is no product of matrices is not counted.
        seconds: Of an update.
        validation_seconds: Of a pass over the validation split.
        epochs: Such passes.
    """

    steps: int
    flops: int
    seconds: float
    validation_seconds: float
    epochs: int

    @property
    def minutes(self) -> float:
        """Expected minutes of the phase."""
        return (self.steps * self.seconds + self.epochs * self.validation_seconds) / 60


def main() -> None:
    """Print the plan of each training stage; one whose inputs are not there yet says so."""
    parser = argparse.ArgumentParser(prog="python -m tools.plan", description=__doc__)
    parser.add_argument("stage", nargs="*", help=f"of {', '.join(STAGES)}; all by default")
    wanted = parser.parse_args().stage or list(STAGES)
    if unknown := set(wanted) - set(STAGES):
        sys.exit(f"error: plan: {min(unknown)}: no training stage; choose of {', '.join(STAGES)}")
    failed = False
    for stage in wanted:
        try:
            lines = list(plan(stage))
        except (ValueError, OSError) as error:
            failed = True
            print(f"error: plan: {stage}: {error}", file=sys.stderr)
            continue
        print("\n".join([stage, *(f"  {line}" for line in lines)]))
    sys.exit(failed)


def plan(stage: str) -> Iterator[str]:
    """Yield the lines of a stage's plan, with what lies in `data/` now.

    Raises:
        ValueError: If the params do not fit, or what the stage reads is missing.
    """
    params = read_params(stage)
    seed = seed_stage(stage, params)
    job: Job = importlib.import_module(f"stages.{stage}").prepare(params)
    size = sum(p.numel() for p in job.model.parameters())
    yield f"parameters  {size / 1e6:.2f} million"
    if not job.phases:
        yield "time        none: it is not trained"
        return
    run = Run(
        job.model,
        phases=job.phases,
        config=job.config,
        runtime=read_section("runtime", RuntimeConfig),
        seed=seed,
        num_examples=len(job.training),
    )
    run.choose_batch_size(job.training)
    batch = run.progress.batch_size
    yield f"examples    {len(job.training):,} to train on, batches of {batch:,}"
    if codes := _tokens(job):
        yield f"tokens      {len(job.training) * codes:,} in an epoch, {codes:,} a picture"
    device, costs = run.accelerator.device, {}
    for name, phase in job.phases.items():
        costs[name] = measure(run, job, phase)
    for name, cost in costs.items():
        rate = cost.flops / cost.seconds / 1e9
        yield (
            f"{name:<12}{cost.steps:,} steps of {cost.seconds:.3f} s: {cost.minutes:.1f} minutes; "
            f"{cost.flops / 1e9:,.1f} GFLOP a step, {rate:,.0f} GFLOP/s"
        )
    yield f"memory      {peak_memory(device) / 1e9:.1f} GB on {device}"
    total = sum(cost.minutes for cost in costs.values())
    yield f"time        {total:.1f} minutes with {run.accelerator.num_processes} process(es)"


def measure(run: Run, job: Job, phase: Phase) -> Cost:
    """Make a few updates as training would, on a model that is thrown away."""
    run.begin(phase)
    run.progress.epoch = run.progress.batch = 0
    batches = _forever(run, job, phase)
    for _ in range(WARM_UP):
        run.update(next(batches), phase)
    began = time.perf_counter()
    for _ in range(MEASURED):
        run.update(next(batches), phase)
    _wait_for(run.accelerator.device)
    seconds = (time.perf_counter() - began) / MEASURED
    # Fused attention on CPUs is counted as nothing.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run.update(next(batches), phase)
    began = time.perf_counter()
    run.validate(job.validation, phase, most=run.global_batch)
    share = len(job.validation) / min(len(job.validation), run.global_batch)
    return Cost(
        steps=phase.epochs * run.steps_per_epoch,
        flops=counter.get_total_flops(),
        seconds=seconds,
        validation_seconds=(time.perf_counter() - began) * share,
        epochs=phase.epochs,
    )


def _forever(run: Run, job: Job, phase: Phase) -> Iterator[dict[str, torch.Tensor]]:
    while True:
        for batch in run.batches(job.training, phase):
            yield batch
            run.progress.batch = 0  # `batches` counts on by itself


def _tokens(job: Job) -> int:
    codes = job.training.batch(torch.arange(1), None).get("codes")
    return 0 if codes is None else codes.shape[1]


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


if __name__ == "__main__":
    main()
