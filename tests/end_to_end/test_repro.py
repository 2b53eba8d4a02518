"""`dvc repro` on tiny params: its outputs, and which changes make stages run again."""

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from tests.checkout import STAGES, contents, copy_checkout, git, ran, run

STAGES_BY_MODULE = {  # one module of each folder, and the stages that it concerns
    "sampling/maskgit/sampler.py": {"sample"},
    "priors/transformer/model.py": {"train_prior", "sample", "evaluate"},
    "priors/cftn2/model.py": set(),
    "priors/lstm/recurrence.py": set(),
    "quantizers/fsq.py": set(),
    "figures/sheets.py": {"evaluate"},
    "evaluation/likelihood.py": {"evaluate"},
    "publish/model_card.py": set(),
    "trackers/base/progress_bar.py": set(),
    "training/loop.py": {"train_tokenizer", "train_judge", "train_prior"},
    "text/wordpiece.py": {"prepare_text", "train_prior", "sample", "evaluate"},
}


def status(folder, **variables):
    return json.loads(run(folder, "dvc", "status", "--json", **variables).stdout)


def test_repro_runs_every_stage_in_order(reproduced):
    assert ran(reproduced.stdout) == list(STAGES)


def test_every_stage_of_dvc_yaml_is_known_here(reproduced):
    assert set(yaml.safe_load((reproduced.folder / "dvc.yaml").read_text())["stages"]) == {*STAGES}


def test_sheets_are_pngs(reproduced):
    for name in ("samples", "temperatures", "edits", "reconstructions", "random_codes"):
        with Image.open(reproduced.folder / f"metrics/evaluate/{name}.png") as sheet:
            sheet.load()
            assert sheet.format == "PNG"
            assert min(sheet.size) > 28


def test_repro_leaves_no_undeclared_file(reproduced):
    stages = yaml.safe_load((reproduced.folder / "dvc.yaml").read_text())["stages"]
    kinds = ("outs", "metrics", "plots")
    entries = [
        entry for stage in stages.values() for kind in kinds for entry in stage.get(kind, [])
    ]
    # DVC caches the entries that are a plain name, and git ignores them.
    declared = tuple(name for entry in entries if isinstance(entry, dict) for name in entry)
    left = {line[3:] for line in reproduced.left} - {"dvc.lock", "data/.gitignore"}
    assert left
    assert all(path.startswith(declared) for path in left)


def test_the_tree_is_clean_after_a_commit(reproduced):
    assert git(reproduced.folder, "status", "--porcelain") == ""
    assert not (reproduced.folder / ".runs").exists()
    assert not list(reproduced.folder.rglob(".tmp-*"))


def test_second_repro_runs_nothing(reproduced):
    before = contents(reproduced.folder)
    again = run(reproduced.folder, "dvc", "repro").stdout
    assert ran(again) == []
    assert all(f"Stage '{stage}' didn't change, skipping" in again for stage in STAGES)
    assert contents(reproduced.folder) == before


def test_edit_of_a_module_makes_the_stages_that_run_it_out_of_date(reproduced, tmp_path):
    """All files are edited at once: `dvc status` lists the changed deps of each stage."""
    folder = copy_checkout(reproduced.folder, tmp_path / "checkout")
    for module in STAGES_BY_MODULE:
        path = folder / "src/vqpriors" / module
        path.write_text(f"{path.read_text()}# An edit.\n")
    deps = {
        stage: {dep for change in changes for dep in change.get("changed deps", {})}
        for stage, changes in status(folder).items()
    }
    for module, stages in STAGES_BY_MODULE.items():
        above = {f"src/vqpriors/{module}"}
        above |= {path.as_posix() for path in Path(f"src/vqpriors/{module}").parents}
        assert {stage for stage in deps if deps[stage] & above} == stages, module


@pytest.mark.slow
def test_launcher_is_not_hashed(reproduced, tmp_path):
    folder = copy_checkout(reproduced.folder, tmp_path / "checkout")
    launch = {"LAUNCH": "accelerate launch --num_processes 1"}
    assert status(folder, **launch) == {}
    before = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]["train_judge"]
    done = run(folder, "dvc", "repro", "--force", "--single-item", "train_judge", **launch)
    after = yaml.safe_load((folder / "dvc.lock").read_text())["stages"]["train_judge"]
    assert ran(done.stdout) == ["train_judge"]
    assert [out for out in after["outs"] if out["path"] == "data/judge"] == [
        out for out in before["outs"] if out["path"] == "data/judge"
    ]
    assert {**after, "outs": []} == {**before, "outs": []}
    assert status(folder) == {}


@pytest.mark.slow
def test_pictures_without_captions_run_with_no_text_and_fsq(reproduced, tmp_path):
    folder = copy_checkout(reproduced.folder, tmp_path / "checkout")
    for shade in range(40):
        path = folder / "my_images" / f"{shade}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (20, 20), (shade * 6, 255 - shade * 6, 128)).save(path)
    changes = {
        "data.name": "folder",
        "data.folder.imagefolder.caption_column": "null",
        "data.folder.caption": "null",
        "data.folder.image.size": "16",
        "text.encoder": "none",
        "tokenizer.quantizer": "fsq",
    }
    options = [part for key, value in changes.items() for part in ("-S", f"{key}={value}")]
    done = run(folder, "dvc", "exp", "run", *options)
    assert ran(done.stdout) == list(STAGES)
    metrics = json.loads((folder / "metrics/evaluate/metrics.json").read_text())
    assert "psnr" in metrics
    assert "adherence" not in metrics
