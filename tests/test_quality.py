"""The comparison of quality with other packages: peers that train and draw, and its table."""

import csv

import numpy as np
import pyarrow as pa
import pytest
import torch

from benchmarks.quality import table
from benchmarks.quality.peers import GPT2, Amused
from benchmarks.quality.training import train
from vqpriors.core.arrays import StringColumn
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.priors.base.examples import token_examples
from vqpriors.sampling.autoregressive import Config

WORDS = {"": 1, "one": 2, "two": 3}
GRIDS = {"one": [0, 5, 1, 4], "two": [3, 3, 2, 0]}
SIZES = {"grid": (2, 2), "codebook_size": 6, "text": TextShape(2, 4, 0)}
SIZES |= {"width": 32, "depth": 2, "heads": 2}
SETTINGS = Config(temperature=0.85, top_k=0, top_p=0.9)
PEERS = {
    "gpt2": lambda: GPT2(**SIZES, settings=SETTINGS),
    "amused": lambda: Amused(**SIZES, steps=4),
}


def encode(captions):
    tokens = torch.tensor([[WORDS[caption], 0] for caption in captions])
    return TextInput(tokens, tokens > 0, None)


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("guidance", [1.0, 2.0])
def test_peer_learns_and_draws_the_codes_of_a_caption(name, guidance):
    captions = list(GRIDS) * 16
    column = StringColumn(pa.chunked_array([pa.array(captions)]))
    codes = np.array([GRIDS[caption] for caption in captions])
    torch.manual_seed(0)
    peer = PEERS[name]()
    epochs = train(
        peer,
        token_examples(codes, column, encode=encode, dropout=0.1),
        seconds=6.0,
        batch_size=16,
        lr=3e-3,
        seed=0,
    )
    assert epochs > 5
    drawn = peer.sample(encode(captions), encode([""] * 32), guidance=guidance)
    assert (drawn == torch.from_numpy(codes)).float().mean() > 0.9
    if name == "gpt2":
        nats = peer.nats(torch.from_numpy(codes), encode(captions), torch.empty(0))
        wrong = peer.nats(torch.from_numpy(codes), encode(captions[::-1]), torch.empty(0))
        assert nats.max() < 1 < 4 < wrong.min()


def test_likelihood_of_gpt2_is_that_of_the_codes_alone():
    torch.manual_seed(0)
    peer = PEERS["gpt2"]()
    torch.nn.init.zeros_(peer.net.lm_head.weight)
    codes = torch.tensor([GRIDS["one"], GRIDS["two"]])
    nats = peer.nats(codes, encode(["one", "two"]), torch.empty(0))
    assert torch.allclose(nats, torch.full((2,), 4 * np.log(6)))
    assert peer.loss(codes, encode(["one", "two"])).item() == pytest.approx(np.log(6))


def test_row_of_a_model_replaces_its_old_one_and_the_table_shows_floor_and_error(tmp_path):
    path = tmp_path / "quality.csv"
    row = {"data": "digits", "model": "transformer", "package": "vqpriors", "version": ""}
    row |= {"parameters": 2_193_856, "minutes": 10.0, "epochs": 4, "images_per_second": 50.0}
    row |= {"nats_per_token": 1.4, "nats_per_token_se": 0.02, "is_exact": True}
    row |= {"conformity": 0.95, "conformity_se": 0.01, "conformity_real": 0.89, "other": 1}
    row |= {"hardware": "2 x CPU", "commit": "abc"}
    peer = row | {"model": "GPT2LMHeadModel", "package": "transformers", "version": "5.0"}
    masked = row | {"model": "cftn", "is_exact": False}
    rows = table.merged(table.merged(table.merged([], peer), row | {"minutes": 1.0}), row)
    table.write_rows(table.merged(rows, masked), path)
    with path.open() as file:
        assert [each["minutes"] for each in csv.DictReader(file)] == ["10.0"] * 3
    lines = table.table(table.read_rows(path)).splitlines()
    assert lines[2].startswith("| digits | real pictures |  |  |  |  | 0.890 |")
    start = "| digits | transformer | 2.2 M | 10.0 | 4 | 1.400 ± 0.020 | 0.950 ± 0.010 | - |"
    assert lines[3].startswith(start)
    assert "| cftn | 2.2 M | 10.0 | 4 | <= 1.400 ± 0.020 |" in lines[4]
    assert lines[5].startswith("| digits | GPT2LMHeadModel, transformers 5.0 |")
