"""Several captions of a picture, from the images to the examples of the prior."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from stages import train_prior
from tests.checkout import copy_unlocked, tiny_params
from tests.faults.stage import declared_params, run_stage
from vqpriors.core.artifact import new_folder
from vqpriors.core.params import Params
from vqpriors.data.images import ALL_CAPTIONS, read_captions

IMAGES = Path("data/images")


def add_captions():
    """Add a second caption to each training picture."""
    with new_folder(IMAGES) as folder:
        for path in IMAGES.iterdir():
            if path.name.startswith("train"):
                table = pq.read_table(path)
                lists = [[text, f"{text} again"] for text in table["caption"].to_pylist()]
                table = table.append_column(ALL_CAPTIONS, pa.array(lists, ALL_CAPTIONS.type))
                pq.write_table(table, folder / path.name)
            elif path.name != "manifest.json":
                shutil.copy(path, folder)


def test_prior_draws_captions_of_the_training_pictures_only(reproduced, tmp_path, monkeypatch):
    monkeypatch.chdir(copy_unlocked(reproduced.folder, tmp_path / "checkout"))
    add_captions()
    for stage in ("encode", "prepare_text"):
        assert run_stage(stage, declared_params(stage, tiny_params()), monkeypatch).code == 0
    captions = read_captions(IMAGES, "train")
    assert sum(text.endswith(" again") for text in captions) == len(captions) / 2
    task = train_prior.prepare(Params(declared_params("train_prior", tiny_params())))
    rows = torch.arange(len(task.training))
    first = task.training.batch(rows, None)["text_mask"].sum(1)
    drawn = task.training.batch(rows, torch.Generator().manual_seed(0))["text_mask"].sum(1)
    assert 0.25 < (drawn > first).float().mean() < 0.75
    assert task.validation.starts is None
