"""The chain with a pretrained tokenizer from a folder: it is adopted once and not trained."""

import json
import shutil

import pytest

from tests.checkout import STAGES, copy_checkout, ran, run
from tests.text.folders import clip_folder
from tests.tiny import vq_model

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def adopting(reproduced, tmp_path_factory):
    """A checkout, a folder with a model that fits its pictures, and the output of the chain."""
    place = tmp_path_factory.mktemp("adopting")
    folder, model = copy_checkout(reproduced.folder, place / "checkout"), place / "model"
    vq_model(
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
    ).save_pretrained(model / "vqvae")
    changes = {
        "tokenizer.arch": "pretrained",
        "tokenizer.pretrained.location": str(model),
        "tokenizer.pretrained.value_range": "[-1.0, 1.0]",
    }
    options = [part for key, value in changes.items() for part in ("-S", f"{key}={value}")]
    printed = run(folder, "dvc", "exp", "run", *options).stdout
    return folder, model, printed


def metrics(folder, stage):
    return json.loads((folder / f"metrics/{stage}/metrics.json").read_text())


def test_chain_runs_with_it(adopting):
    folder, _, printed = adopting
    kept = {"download", "prepare_text", "train_judge"}
    assert ran(printed) == [stage for stage in STAGES if stage not in kept]
    description = json.loads((folder / "data/tokenizer/config.json").read_text())
    assert description["adopted"]["network"]["num_vq_embeddings"] == 16
    assert not (folder / "data/tokenizer/last.safetensors").exists()
    found = metrics(folder, "train_tokenizer")
    assert found["train_minutes"] == 0
    assert found["test"]["psnr"] == pytest.approx(metrics(folder, "evaluate")["psnr"], abs=0.01)
    assert (folder / "metrics/train_tokenizer/plots/metrics/validation/psnr.tsv").exists()
    run(folder, "dvc", "plots", "show")


def test_later_stages_do_not_need_the_folder(adopting):
    folder, model, _ = adopting
    before = metrics(folder, "evaluate")["psnr"]
    shutil.move(model, model.with_name("moved"))
    options = ("-S", "encode.batch_size=64", "-S", "sample.guidance=1.5")
    printed = run(folder, "dvc", "exp", "run", *options).stdout
    assert ran(printed)[:1] == ["encode"]
    assert ran(printed)[-2:] == ["sample", "evaluate"]
    assert metrics(folder, "evaluate")["psnr"] == pytest.approx(before, abs=0.01)


def test_missing_folder_is_named_in_one_line(adopting, tmp_path):
    folder = copy_checkout(adopting[0], tmp_path / "checkout")
    model = tmp_path / "no_such_folder"
    change = ("-S", f"tokenizer.pretrained.location={model}")
    done = run(folder, "dvc", "exp", "run", *change, fails=True)
    assert f"error: train_tokenizer: tokenizer.pretrained.location: no folder '{model}'" in (
        done.stderr
    )


def test_clip_judges_without_training(reproduced, tmp_path):
    folder = copy_checkout(reproduced.folder, tmp_path / "checkout")
    model = clip_folder(tmp_path / "clip", has_vision=True)
    options = ("-S", "judge.kind=clip", "-S", f"judge.clip.location={model}")
    assert ran(run(folder, "dvc", "exp", "run", *options).stdout) == ["train_judge", "evaluate"]
    assert not (folder / "data/judge/last.safetensors").exists()
    assert metrics(folder, "train_judge")["train_minutes"] == 0
    assert 0 <= metrics(folder, "evaluate")["r_precision"] <= 1
