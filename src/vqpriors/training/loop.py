"""The training loop: phases, averaged weights, the best state, exact resume."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from vqpriors.core.compiler import compiling
from vqpriors.core.phases import Phase
from vqpriors.trackers.base.progress_bar import ProgressBar
from vqpriors.training.checkpoint import Progress, StateDict
from vqpriors.training.checkpointing import Checkpointer
from vqpriors.training.config import RuntimeConfig, TrainConfig
from vqpriors.training.examples import Examples
from vqpriors.training.interruption import Interruption
from vqpriors.training.run import Log, TrainingRun
from vqpriors.training.validation import require_examples
from vqpriors.training.weights import EpochCallback


@dataclass(frozen=True)
class Trained:
    """The result of a training run.

    With FSDP only the main process has the state dicts.

    Attributes:
        best: Averaged weights with the lowest validation loss of the last phase; the last ones if
            the model says `keeps_last`.
        last: Averaged weights after the last update.
        progress: History and time of the run.
    """

    best: StateDict
    last: StateDict
    progress: Progress


def train(
    model: nn.Module,
    *,
    phases: Mapping[str, Phase],
    config: TrainConfig,
    runtime: RuntimeConfig,
    training: Examples,
    validation: Examples,
    seed: int,
    folder: Path,
    log: Log,
    callback: EpochCallback | None = None,
    callback_epochs: int = 1,
) -> Trained:
    """Train a model through its phases, from the newest checkpoint in `folder`.

    The model has `losses(batch) -> {name: scalar}`. It may also have:
        `begin_phase(**options)`: Called at the start of each phase, and before each step of a phase
            with annealed options; its defaults apply to options that a phase does not name.
        `num_targets(batch)`: The number of targets, scalars by name, that losses and metrics are
            means over; the others are means over examples. A batch in several parts, on several
            processes, then has the losses of the whole.
        `begin_update(parts)`: Called before an update whose batch comes in several parts.
        `set_progress(fraction)`: Called before each step with the fraction of all updates that are
            done.
        `end_update()`, also of a submodule: Called once after the gradients of an update.
        `measured`: Further scalars by name that the last `losses` left there; they are logged.

    Args:
        model: The model, on the CPU.
        phases: The phases by name, in order.
        config: The training params.
        runtime: When to save checkpoints and whether to resume.
        training: Examples to train on.
        validation: Examples that choose the best state.
        seed: Seed of order and randomness.
        folder: Folder of the checkpoints, used by this run only.
        log: Receives values by name at a step; on resume, all that was logged before.
        callback: Called with the averaged model in the main process; the values that it returns are
            logged beside the validation losses.
        callback_epochs: Epochs of a phase from one call to the next; the last epoch has one, too.

    Raises:
        ValueError: If a loss or gradient is not finite, a split is too small, a phase names
            something that the model lacks, or all checkpoints are damaged.
        StoppedError: If a signal stopped the run; a checkpoint has been saved.
    """
    run = TrainingRun(model, phases=phases, config=config, seed=seed, num_examples=len(training))
    checkpointer = Checkpointer(run, folder, runtime)
    require_examples(len(validation), num_processes=run.accelerator.num_processes)
    run.warn_of_layers()
    with Interruption() as interruption, compiling(config.shared.compile_layers):
        checkpointer.resume(log)
        run.choose_batch_size(training)
        run.check_phases(validation)
        for name, phase in list(phases.items())[run.progress.phase :]:
            run.begin(phase)
            total, is_shown = phase.epochs * run.steps_per_epoch, run.accelerator.is_main_process
            bar = ProgressBar(name, total=total, done=run.steps_in_phase, is_shown=is_shown)
            while run.progress.epoch < phase.epochs:
                for batch in run.batches(training, phase):
                    values = run.update(batch, phase)
                    bar.advance(values)
                    if values:
                        run.log(values, log)
                        checkpointer.save_or_stop(interruption)
                run.end_epoch(validation, phase, log, callback, callback_epochs=callback_epochs)
                checkpointer.save_or_stop(interruption)
            bar.close()
            run.end_phase()
            checkpointer.save()
    return Trained(run.best, run.averaged_state(), run.progress)
