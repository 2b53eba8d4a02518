import math
from types import SimpleNamespace

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.testing import assert_close

from tests import tiny
from tests.marks import needs_fast_bfloat16
from tests.tiny import RUNTIME, phase, runtime_config, train_config
from tests.training.test_resume import tokenizer_run
from vqpriors.core.compiler import is_compiling_wanted
from vqpriors.training import checkpoint as checkpoints
from vqpriors.training import run as training_run
from vqpriors.training.gradients import FiniteCheck
from vqpriors.training.loop import train


class Numbers:
    """Rows of one number each; records the batches that are requested."""

    def __init__(self, *values):
        self.values, self.requested = torch.tensor(values), []

    def __len__(self):
        return len(self.values)

    def batch(self, rows, generator, *, part=slice(None)):
        rows = rows[part]
        self.requested.append((rows.tolist(), generator is None))
        return {"x": self.values[rows]}


class Slope(nn.Module):
    """Two factors of x; counts its training steps and records its weights."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
        nn.init.ones_(self.first.weight)
        nn.init.ones_(self.second.weight)
        self.register_buffer("steps", torch.tensor(0.0))
        self.options, self.seen = [], []

    def begin_phase(self, *, mood="calm"):
        self.options.append(mood)

    def losses(self, batch):
        if self.training:
            self.steps += 1
            self.seen.append(self.first.weight.item())
        x = batch["x"][:, None]
        return {
            "error": (self.second(self.first(x)) - 3 * x).square().mean(),
            "size": self.second.weight.square().mean(),
        }


class Scripted(Slope):
    """Has the given validation losses, one an epoch."""

    def __init__(self, *validation):
        super().__init__()
        self.validation = iter(validation)

    def losses(self, batch):
        if self.training:
            return super().losses(batch)
        return {"error": torch.tensor(next(self.validation)), "size": torch.tensor(0.0)}

    def __deepcopy__(self, memo):
        copied = Scripted()
        copied.load_state_dict(self.state_dict())
        copied.validation = self.validation
        return copied


def run(
    folder, model, *phases, training=None, validation=None, log=None, callback=None, **settings
):
    callback_epochs = settings.pop("callback_epochs", 1)
    return train(
        model,
        phases={str(i): p for i, p in enumerate(phases)},
        config=train_config(**{k: v for k, v in settings.items() if k not in RUNTIME}),
        runtime=runtime_config(**{k: v for k, v in settings.items() if k in RUNTIME}),
        training=training or Numbers(*torch.linspace(-1, 1, 8).tolist()),
        validation=validation or Numbers(1.0),
        seed=5,
        folder=folder,
        log=log or (lambda step, values: None),
        callback=callback,
        callback_epochs=callback_epochs,
    )


def named(trained, group):
    return [values for _, values in trained.progress.history if f"{group}/loss" in values]


def test_every_epoch_visits_each_example_once_in_its_own_order(tmp_path):
    training = Numbers(*map(float, range(8)))
    run(tmp_path, Slope(), phase(epochs=2), phase(), training=training)
    batches = [rows for rows, _ in training.requested]
    assert [len(rows) for rows in batches] == [4] * 6
    epochs = [batches[i] + batches[i + 1] for i in (0, 2, 4)]
    assert [sorted(rows) for rows in epochs] == [list(range(8))] * 3
    assert len({tuple(rows) for rows in epochs}) == 3  # also in the second phase


def test_only_training_has_a_generator(tmp_path):
    training, validation = Numbers(*map(float, range(8))), Numbers(1.0, 2.0)
    run(tmp_path, Slope(), phase(), training=training, validation=validation)
    assert [is_fixed for _, is_fixed in training.requested] == [False, False]
    assert validation.requested == [([0, 1], True)]


def test_averaged_weights_match_values_by_hand(tmp_path):
    model = Slope()
    trained = run(tmp_path, model, phase(epochs=2), ema_decay=0.9)
    weights = [*model.seen[1:], model.first.weight.item()]  # after each of 4 updates
    average = weights[0]
    for count, weight in enumerate(weights[1:], start=1):
        kept = min(0.9, (1 + count) / (10 + count))
        average = kept * average + (1 - kept) * weight
    assert trained.last["first.weight"].item() == pytest.approx(average, rel=1e-6)
    assert trained.last["steps"].item() == 4  # buffers are copied, not averaged


def test_averaged_weights_are_validated(tmp_path):
    model = Slope()
    trained = run(tmp_path, model, phase(epochs=2, lr=0.3), ema_decay=0.9)
    first, second = (trained.last[f"{name}.weight"].item() for name in ("first", "second"))
    found = named(trained, "validation")[-1]["validation/error"]
    assert found == pytest.approx((first * second - 3) ** 2, rel=1e-5)
    raw = (model.first.weight * model.second.weight - 3).square().item()
    assert abs(found - raw) > 0.1


def test_frozen_submodules_do_not_change(tmp_path):
    model = Slope()
    run(tmp_path, model, phase(epochs=3, frozen=["first"], lr=0.1), weight_decay=0.5)
    assert model.first.weight.item() == 1.0
    assert model.second.weight.item() != 1.0


def test_losses_are_weighted(tmp_path):
    trained = run(tmp_path, Slope(), phase(weights={"size": 0.5}), log_steps=1)
    for group in ("train", "validation"):
        for values in named(trained, group):
            expected = values[f"{group}/error"] + 0.5 * values[f"{group}/size"]
            assert values[f"{group}/loss"] == pytest.approx(expected, rel=1e-6)


def test_annealed_weights_rise_over_the_phase_and_validation_has_the_last(tmp_path):
    trained = run(tmp_path, Slope(), phase(epochs=3, weights={"size": [0.0, 5.0]}), log_steps=1)
    points = named(trained, "train")
    for step, values in enumerate(points):
        expected = values["train/error"] + step * values["train/size"]  # 0, 1, ... 5
        assert values["train/loss"] == pytest.approx(expected, rel=1e-5)
    assert len(points) == 6
    for values in named(trained, "validation"):
        expected = values["validation/error"] + 5 * values["validation/size"]
        assert values["validation/loss"] == pytest.approx(expected, rel=1e-5)


def test_loss_of_weight_0_does_not_train(tmp_path):
    model = Slope()
    run(tmp_path, model, phase(weights={"error": 0.0, "size": 0.0}), weight_decay=0.0)
    assert model.second.weight.item() == 1.0


def test_options_are_set_in_each_phase_and_default_otherwise(tmp_path):
    model = Slope()
    run(tmp_path, model, phase(options={"mood": "wild"}), phase())
    assert model.options == ["wild", "calm"]


class Annealed(Slope):
    """Records the options and the progress of each step; their values scale the loss."""

    def __init__(self):
        super().__init__()
        self.scale, self.progress, self.calls = 1.0, 0.0, 0
        self.steps_seen, self.validated = [], []

    def begin_phase(self, *, scale=1.0):
        self.scale, self.calls = scale, self.calls + 1

    def set_progress(self, fraction):
        self.progress = fraction

    def losses(self, batch):
        seen = self.steps_seen if self.training else self.validated
        seen.append((self.scale, self.progress))
        losses = super().losses(batch)
        return {**losses, "error": losses["error"] * self.scale * (1 + self.progress)}


def test_pair_is_annealed_over_the_steps_of_its_phase(tmp_path):
    model = Annealed()
    run(tmp_path, model, phase(epochs=2, options={"scale": [4.0, 1.0]}), phase())
    expected = [4.0, 3.0, 2.0, 1.0, 1.0, 1.0]
    assert [scale for scale, _ in model.steps_seen] == pytest.approx(expected)
    assert model.calls == (1 + 4) + 1  # single values are set once a phase


def test_set_progress_gets_the_fraction_of_all_updates_before_each_step(tmp_path):
    model = Annealed()
    run(tmp_path, model, phase(epochs=2), phase(epochs=3))
    assert [progress for _, progress in model.steps_seen] == [step / 10 for step in range(10)]


def test_pair_of_a_phase_of_one_step_starts(tmp_path):
    model = Annealed()
    run(tmp_path, model, phase(options={"scale": [4.0, 1.0]}), batch_size=8)
    assert [scale for scale, _ in model.steps_seen] == [4.0]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"mood": [0.0, 1.0]}, "option mood must be str, got 0.0"),
        ({"temper": [0.0, 1.0]}, "no option 'temper'"),
    ],
)
def test_pair_of_a_wrong_option_is_refused(tmp_path, options, problem):
    with pytest.raises(ValueError, match=problem):
        run(tmp_path, Slope(), phase(options=options))


def test_options_of_a_model_without_any_are_refused(tmp_path):
    class Plain(nn.Linear):
        pass

    with pytest.raises(ValueError, match=r"phases: Plain has no options, got \{'a': 1\}"):
        run(tmp_path, Plain(1, 1), phase(options={"a": 1}))


def test_best_is_the_state_of_lowest_validation_loss(tmp_path):
    trained = run(tmp_path, Scripted(3.0, 1.0, 2.0), phase(epochs=3))
    assert trained.progress.best == 1.0
    assert trained.best["steps"].item() == 4  # two epochs of two steps
    assert trained.last["steps"].item() == 6


def test_last_state_is_kept_if_the_model_says_so(tmp_path):
    model = Scripted(3.0, 1.0, 2.0)
    model.keeps_last = True
    trained = run(tmp_path, model, phase(epochs=3))
    assert trained.best["steps"].item() == trained.last["steps"].item() == 6
    assert trained.progress.best == 2.0


def test_nan_validation_loss_is_the_worst(tmp_path):
    trained = run(tmp_path, Scripted(float("nan"), 1.0, float("nan")), phase(epochs=3))
    assert trained.progress.best == 1.0
    assert trained.best["steps"].item() == 4


def test_next_phase_starts_from_the_best_state_of_the_previous_one(tmp_path):
    model = Scripted(1.0, 2.0, 5.0)
    averages = []

    def log(step, values):
        if "validation/loss" in values:
            best = checkpoints.load(tmp_path).states["averaged"]["first.weight"]
            averages.append(best.item())

    trained = run(tmp_path, model, phase(epochs=2), phase(epochs=1), log=log, log_steps=1)
    assert model.seen[4] == averages[0]
    assert trained.progress.best == 5.0  # of the last phase, although the first had a lower one
    assert trained.best["steps"].item() == 2 + 2


def test_each_phase_has_its_own_learning_rate_schedule(tmp_path):
    settings = {"log_steps": 1, "warmup_steps": 0, "min_lr_ratio": 0.0}
    trained = run(tmp_path, Slope(), phase(lr=0.1), phase(lr=0.02), **settings)
    rates = [values["train/learning_rate"] for values in named(trained, "train")]
    assert rates == pytest.approx([0.1, 0.05, 0.02, 0.01])


def test_training_curve_holds_means_since_the_last_point(tmp_path):
    every = run(tmp_path / "a", Slope(), phase(epochs=2), log_steps=1)
    some = run(tmp_path / "b", Slope(), phase(epochs=2), log_steps=2)
    points = [values["train/error"] for values in named(every, "train")]
    means = [values["train/error"] for values in named(some, "train")]
    assert means == pytest.approx([(points[0] + points[1]) / 2, (points[2] + points[3]) / 2])


def test_validation_means_are_per_example(tmp_path):
    validation = Numbers(1.0, 1.0, 1.0, 1.0, 6.0)  # a batch of 4 and one of 1
    frozen = phase(weights={"size": 0.0}, frozen=["first"], lr=1e-30)
    trained = run(tmp_path, Slope(), frozen, validation=validation, weight_decay=0.0)
    # 2x is lost of each: (4 x 4 x 1 + 4 x 36) / 5
    assert named(trained, "validation")[0]["validation/error"] == pytest.approx(160 / 5)


def test_gradients_are_clipped(tmp_path):
    used = []

    def record(optimizer, *_):
        grads = [p.grad for group in optimizer.param_groups for p in group["params"]]
        used.append(torch.stack([grad.square().sum() for grad in grads]).sum().sqrt().item())

    hook = register_optimizer_step_pre_hook(record)
    training = Numbers(*[1000.0] * 4, *[0.001] * 4)
    weights = phase(weights={"size": 0.01})
    trained = run(tmp_path, Slope(), weights, training=training, clip_norm=0.5, log_steps=1)
    hook.remove()
    logged = [values["train/gradient_norm"] for values in named(trained, "train")]
    assert max(logged) > 1e5
    assert used == pytest.approx([min(norm, 0.5) for norm in logged], rel=1e-4)


class Broken(Slope):
    """Returns `value` as a loss after some steps, with its gradient."""

    def __init__(self, value, *, at):
        super().__init__()
        self.value, self.at = value, at

    def losses(self, batch):
        losses = super().losses(batch)
        if self.training and self.steps > self.at:
            losses["size"] = self.value(losses["size"])
        return losses


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (lambda size: size * torch.nan, "size, total, gradient_norm not finite"),
        (lambda size: (size * 0).sqrt(), "gradient_norm not finite"),  # 0, of slope infinity
    ],
)
def test_loss_or_gradient_that_is_not_finite_stops_before_the_update(tmp_path, value, problem):
    model = Broken(value, at=3)
    stopped = rf"step 3: {problem} at learning rate 0\.0055; lower the phase's lr"
    with pytest.raises(ValueError, match=stopped):
        run(tmp_path, model, phase(epochs=2), log_steps=1)
    saved = checkpoints.load(tmp_path)
    assert saved.progress.step == 3
    assert torch.equal(saved.states["model"]["first.weight"], model.first.weight)
    assert all(torch.isfinite(value).all() for value in saved.states["averaged"].values())


def test_on_a_gpu_steps_are_checked_together_and_the_first_bad_one_is_named():
    check = FiniteCheck(SimpleNamespace(scaler=None, device=torch.device("cuda")))
    for step, value in enumerate((1.0, math.nan, math.inf)):
        check.add({"size": torch.tensor(2.0), "total": torch.tensor(value)}, step=step, lr=0.1)
    with pytest.raises(ValueError, match=r"^step 1: total not finite at learning rate 0\.1; "):
        check.require()
    check.require()  # all were checked


@pytest.mark.parametrize("split", ["training", "validation"])
def test_empty_split_is_refused(tmp_path, split):
    with pytest.raises(ValueError, match="0 examples"):
        run(tmp_path, Slope(), phase(), **{split: Nothing()})


class Nothing(Numbers):
    def __bool__(self):
        return True


def test_split_smaller_than_a_batch_is_one_batch(tmp_path):
    training = Numbers(1.0, 2.0, 3.0)
    run(tmp_path, Slope(), phase(), training=training)
    assert [sorted(rows) for rows, _ in training.requested] == [[0, 1, 2]]


def test_training_in_bfloat16_keeps_weights_in_float32(tmp_path):
    model = Slope()
    exact = run(tmp_path / "no", Slope(), phase(), precision="no")
    AcceleratorState._reset_state(reset_partial_state=True)
    rounded = run(tmp_path / "bf16", model, phase(), precision="bf16")
    assert model.first.weight.dtype == torch.float32
    assert not torch.equal(exact.last["first.weight"], rounded.last["first.weight"])
    assert_close(exact.last["first.weight"], rounded.last["first.weight"], rtol=0.01, atol=0)


class WithLayers(Slope):
    """Notes whether layers in C are wanted."""

    def losses(self, batch):
        self.seen_wanted = is_compiling_wanted()
        return super().losses(batch)


@pytest.mark.parametrize("wanted", [True, False])
def test_layers_in_c_are_wanted_in_training_only_if_params_say_so(
    tmp_path, capsys, monkeypatch, wanted
):
    monkeypatch.setattr(training_run, "avx512_problem", lambda *_: "a reason")
    model = WithLayers()
    run(tmp_path, model, phase(), compile_layers=wanted)
    assert model.seen_wanted == wanted
    assert not is_compiling_wanted()
    problem = "train.compile_layers: changes nothing: a reason\n"
    assert (problem in capsys.readouterr().err) == wanted


@needs_fast_bfloat16
def test_training_with_layers_in_c_is_the_same_every_time(tmp_path, capsys):
    states, losses = [], []
    for folder, wanted in (("a", True), ("b", True), ("c", False)):
        torch.manual_seed(0)
        training = CodeExamples(8)
        trained = run(
            tmp_path / folder,
            tiny.cftn(),
            phase(epochs=2),
            training=training,
            validation=training,
            precision="bf16",
            compile_layers=wanted,
        )
        states.append(trained.last)
        losses.append(named(trained, "validation")[-1]["validation/loss"])
        AcceleratorState._reset_state(reset_partial_state=True)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])
    assert losses[0] == pytest.approx(losses[2], rel=0.005)
    assert "changes nothing" not in capsys.readouterr().err


class CodeExamples:
    """Random codes with captions, as a masked prior is trained on."""

    def __init__(self, count):
        codes, text = tiny.codes(count), tiny.captions(*[[2, 3], [4], [], [5]] * (count // 4))
        self.values = tiny.prior_batch(tiny.cftn(), codes, text)

    def __len__(self):
        return len(self.values["codes"])

    def batch(self, rows, generator, *, part=slice(None)):
        return {name: value[rows[part]] for name, value in self.values.items()}


def test_layers_in_c_and_torch_compile_exclude_each_other():
    with pytest.raises(ValueError, match=r"^train\.compile_layers: must be false with compile"):
        train_config(compile=True, compile_layers=True)


class WithMetric(Slope):
    """Has the mean of x as a further metric."""

    def losses(self, batch):
        self.measured = {"mean_x": batch["x"].mean()}
        return super().losses(batch)


def test_extra_metrics_are_logged_as_means_and_have_no_gradient(tmp_path):
    training, validation = Numbers(*map(float, range(8))), Numbers(1.0, 1.0, 1.0, 1.0, 6.0)
    trained = run(tmp_path / "a", WithMetric(), phase(), training=training, validation=validation)
    (point,), (checked,) = named(trained, "train"), named(trained, "validation")
    assert point["train/mean_x"] == pytest.approx(3.5)
    assert checked["validation/mean_x"] == pytest.approx(2.0)  # of a batch of 4 and one of 1
    assert point["train/loss"] == pytest.approx(point["train/error"] + point["train/size"])
    plain = run(tmp_path / "b", Slope(), phase(), training=training, validation=validation)
    assert torch.equal(plain.last["first.weight"], trained.last["first.weight"])


def test_callback_gets_the_averaged_weights_after_each_epoch(tmp_path):
    seen, logged, model = [], [], Slope()

    def callback(averaged):
        assert not averaged.training
        assert not torch.is_grad_enabled()
        assert averaged is not model
        seen.append((averaged.first.weight.item(), averaged.second.weight.item()))
        return {"calls": float(len(seen))}

    def log(step, values):
        logged.append((step, values))

    trained = run(tmp_path, model, phase(epochs=2), phase(), callback=callback, log=log)
    points = [(step, v["validation/calls"]) for step, v in logged if "validation/calls" in v]
    assert points == [(2, 1.0), (4, 2.0), (6, 3.0)]
    assert all("validation/loss" in v for v in named(trained, "validation"))
    assert seen[-1][0] == trained.last["first.weight"].item() != model.first.weight.item()
    assert len(set(seen)) == 3


def test_callback_is_called_every_few_epochs_and_after_the_last(tmp_path):
    model, calls = Slope(), iter(range(9))
    trained = run(
        tmp_path,
        model,
        *(phase(epochs=epochs) for epochs in (5, 1)),
        callback=lambda _: {"calls": float(next(calls))},
        callback_epochs=2,
    )
    called = ["validation/calls" in values for values in named(trained, "validation")]
    assert called == [False, True, False, True, True, True]


def test_callback_changes_neither_training_nor_the_choice_of_the_best(tmp_path):
    model = Scripted(3.0, 1.0, 2.0)
    values = iter((1.0, 5.0, 0.0))
    trained = run(tmp_path, model, phase(epochs=3), callback=lambda _: {"calls": next(values)})
    assert trained.progress.best == 1.0
    assert model.training


def test_callback_values_are_logged_again_by_a_resumed_run_without_a_call(tmp_path):
    logged = [], []
    for log, callback in zip(logged, (lambda _: {"calls": 7.0}, None), strict=True):
        keep = log.append
        run(
            tmp_path,
            Slope(),
            phase(),
            callback=callback,
            log=lambda *point, keep=keep: keep(point),
        )
    assert logged[0] == logged[1]
    assert [
        values["validation/calls"] for _, values in logged[1] if "validation/calls" in values
    ] == [7.0]


def test_accumulated_gradients_equal_those_of_the_full_batch(tmp_path):
    whole = run(tmp_path / "a", WithMetric(), phase(epochs=2))
    parts = run(
        tmp_path / "b", WithMetric(), phase(epochs=2), grad_accum_steps=3
    )  # 2, 1 and 1 rows
    for name in ("first.weight", "second.weight"):
        assert_close(parts.last[name], whole.last[name])
    assert parts.last["steps"] == 3 * whole.last["steps"]
    for group in ("train", "validation"):
        for found, expected in zip(named(parts, group), named(whole, group), strict=True):
            assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("parts", [2, 3])
def test_tokenizer_of_accumulated_batches_equals_that_of_full_ones(tmp_path, parts):
    """Codes die and are replaced, and k-means initialises the codebook in the second phase."""
    results = []
    for count in (1, parts):
        model, phases, training, validation = tokenizer_run()
        splits = {"training": training, "validation": validation}
        settings = {"batch_size": 6, "grad_accum_steps": count}
        results.append(run(tmp_path / f"{count}", model, *phases.values(), **splits, **settings))
    whole, cut = results
    for state in ("last", "best"):
        assert_close(getattr(cut, state), getattr(whole, state), rtol=1e-4, atol=1e-5)
    assert whole.last["quantizer.is_initialised"]


def test_frozen_codebook_is_not_initialised_from_parts(tmp_path):
    model, _, training, validation = tokenizer_run()
    splits = {"training": training, "validation": validation}
    trained = run(tmp_path, model, phase(frozen=["quantizer"]), **splits, grad_accum_steps=2)
    assert not trained.last["quantizer.is_initialised"]
    assert not trained.last["quantizer.codebook"].any()


def test_more_accumulation_steps_than_examples_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"tiny\.train\.batch_size: 4 of 8 examples .* in 5 parts .*; raise it"
    ):
        run(tmp_path, Slope(), phase(), grad_accum_steps=5)


class OutOfMemory(Slope):
    """Raises an error for batches of more than `most` rows."""

    def __init__(self, most, error):
        super().__init__()
        self.most, self.error = most, error

    def losses(self, batch):
        if len(batch["x"]) > self.most and torch.is_grad_enabled():
            raise self.error
        return super().losses(batch)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: not enough memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_out_of_memory_error_names_the_param_to_lower(tmp_path, error):
    message = (
        r"tiny\.train\.batch_size: out of memory on cpu at 4 examples at a time; lower it, or raise"
    )
    with pytest.raises(ValueError, match=message):
        run(tmp_path, OutOfMemory(2, error), phase())
    run(tmp_path, OutOfMemory(2, error), phase(), grad_accum_steps=2)


def test_other_errors_are_not_reported_as_out_of_memory(tmp_path):
    with pytest.raises(RuntimeError, match=r"^shapes differ$"):
        run(tmp_path, OutOfMemory(2, RuntimeError("shapes differ")), phase())


def test_automatic_batch_size_is_kept_by_a_resumed_run(tmp_path, monkeypatch, capsys):
    training = Numbers(*torch.linspace(-1, 1, 64).tolist())
    trained = run(tmp_path, Slope(), phase(), training=training, batch_size="auto")
    assert trained.progress.batch_size == 8  # of 64 examples, for 8 steps an epoch
    assert [len(rows) for rows, is_fixed in training.requested if not is_fixed][-8:] == [8] * 8
    assert "tiny.train.batch_size: 8, the most that fits into memory" in capsys.readouterr().err
    monkeypatch.setattr("vqpriors.training.batch_size.largest_batch", lambda *_, **__: 2)
    again = run(tmp_path, Slope(), phase(), training=training, batch_size="auto")
    assert again.progress.batch_size == 8


def steps_saved(folder, monkeypatch, **settings):
    saved, save = [], checkpoints.save

    def record(folder, checkpoint):
        saved.append(checkpoint.progress.step)
        save(folder, checkpoint)

    monkeypatch.setattr(checkpoints, "save", record)
    run(folder, Slope(), phase(epochs=5), log_steps=1, **settings)
    return saved


def test_checkpoints_are_saved_by_steps_or_seconds(tmp_path, monkeypatch):
    rare = {"checkpoint_seconds": 1e9}
    assert steps_saved(tmp_path / "a", monkeypatch, **rare) == [10]  # at the end of the phase
    by_steps = steps_saved(tmp_path / "b", monkeypatch, checkpoint_steps=3, **rare)
    assert by_steps == [3, 6, 9, 10]


def test_checkpoints_take_at_most_a_fiftieth_of_the_time(tmp_path, monkeypatch):
    now, saved, save = [0.0], [], checkpoints.save
    monkeypatch.setattr("vqpriors.training.checkpointing.time.monotonic", lambda: now[0])

    def slow_save(folder, checkpoint):
        save(folder, checkpoint)
        saved.append(checkpoint.progress.step)
        now[0] += 2  # seconds

    class Slow(Numbers):
        def batch(self, rows, generator, *, part=slice(None)):
            now[0] += generator is not None  # a second a training step
            return super().batch(rows, generator, part=part)

    monkeypatch.setattr(checkpoints, "save", slow_save)
    training, settings = Slow(*map(float, range(8))), {"log_steps": 1, "checkpoint_seconds": 5.0}
    trained = run(tmp_path, Slope(), phase(epochs=120), training=training, **settings)
    assert saved == [5, 105, 205, 240]  # then 100 steps of a second; at the end of the phase
    assert trained.progress.seconds == 240 + 3 * 2


def test_resume_can_be_required_or_off(tmp_path):
    with pytest.raises(ValueError, match=r"runtime\.resume: required, but .* has no checkpoint"):
        run(tmp_path, Slope(), phase(), resume="required")
    first = run(tmp_path, Slope(), phase())
    taken, fresh = Numbers(*map(float, range(8))), Numbers(*torch.linspace(-1, 1, 8).tolist())
    again = run(tmp_path, Slope(), phase(), training=taken, resume="required")
    assert taken.requested == []  # all was done
    over = run(tmp_path, Slope(), phase(), training=fresh, resume="never")
    assert len(fresh.requested) == 2
    for other in (again, over):
        assert torch.equal(other.last["first.weight"], first.last["first.weight"])
