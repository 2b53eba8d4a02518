"""The comparison of quality with other packages: peers that train and draw, and its table."""

import csv
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from benchmarks.quality import table
from benchmarks.quality.peers import GPT2, Amused, XTransformer
from benchmarks.quality.tokenizers import _reconstruct
from benchmarks.quality.training import train
from benchmarks.speed.benchmark import FULL, is_installed
from benchmarks.speed.tokenizers import VQModelNet
from tools.csv_rows import read_rows, write_rows
from vqpriors.core.arrays import StringColumn
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.priors.base.examples import token_examples
from vqpriors.sampling.autoregressive import Config

# The import of x-transformers, if installed, compiles a function.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")

WORDS = {"": 1, "one": 2, "two": 3}
GRIDS = {"one": [0, 5, 1, 4], "two": [3, 3, 2, 0]}
SIZES = {"grid": (2, 2), "codebook_size": 6, "text": TextShape(2, 4, 0)}
SIZES |= {"width": 32, "depth": 2, "heads": 2}
SETTINGS = Config(temperature=0.85, top_k=0, top_p=0.9)
PEERS = {
    "gpt2": lambda: GPT2(**SIZES, settings=SETTINGS),
    "amused": lambda: Amused(**SIZES, steps=4),
}
if is_installed("x-transformers"):
    PEERS["x-transformer"] = lambda: XTransformer(**SIZES, settings=SETTINGS)


def encode(captions):
    tokens = torch.tensor([[WORDS[caption], 0] for caption in captions])
    return TextInput(tokens, tokens > 0, None)


def _with_errors(codes):
    """Replace a tenth of the codes at random.

    Guidance raises codes that training never shows, the more the longer a peer was trained.
    """
    random = np.random.default_rng(1)
    others = random.integers(0, SIZES["codebook_size"], codes.shape)
    return np.where(random.random(codes.shape) < 0.1, others, codes).astype(codes.dtype)


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
        lambda batch: peer.loss(
            batch["codes"], TextInput(batch["text_tokens"], batch["text_mask"], None)
        ),
        token_examples(_with_errors(codes), column, encode=encode, dropout=0.1),
        seconds=6.0,
        batch_size=16,
        lr=3e-3,
        precision="no",
        seed=0,
    )
    assert epochs > 5
    drawn = peer.sample(encode(captions), encode([""] * 32), guidance=guidance)
    assert (drawn == torch.from_numpy(codes)).float().mean() > 0.9
    if hasattr(peer, "nats"):
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
    row = {"data": "digits", "part": "prior", "model": "transformer", "package": "vqpriors"}
    row |= {"parameters": 2_193_856, "minutes": 10.0, "epochs": 4, "images_per_second": 50.0}
    row |= {"nats_per_token": 1.4, "nats_per_token_se": 0.02, "is_exact": True}
    row |= {"conformity": 0.95, "conformity_se": 0.01, "conformity_real": 0.89, "other": 1}
    row |= {"hardware": "2 x CPU", "commit": "abc"}
    peer = row | {"model": "GPT2LMHeadModel", "package": "transformers", "version": "5.0"}
    masked = row | {"model": "cftn", "is_exact": False}
    rows = table.merged(table.merged(table.merged([], peer), row | {"minutes": 1.0}), row)
    tokenizer = {"data": "digits", "part": "tokenizer", "model": "vqvae", "package": "vqpriors"}
    tokenizer |= {"parameters": 450_000, "minutes": 3.0, "epochs": 6, "psnr": 28.446, "ssim": 0.94}
    tokenizer |= {"hardware": "2 x CPU", "commit": "abc"}
    rows = table.merged(table.merged(rows, masked), tokenizer)
    write_rows(path, rows, table.COLUMNS)
    with path.open() as file:
        assert [each["minutes"] for each in csv.DictReader(file)] == ["10.0"] * 3 + ["3.0"]
    lines = table.table(read_rows(path)).splitlines()
    assert lines[2].startswith("| digits | real pictures |  |  |  |  | 0.890 |")
    start = "| digits | transformer | 2.2 M | 10.0 | 4 | 1.400 ± 0.020 | 0.950 ± 0.010 | - |"
    assert lines[3].startswith(start)
    assert "| cftn | 2.2 M | 10.0 | 4 | <= 1.400 ± 0.020 |" in lines[4]
    assert lines[5].startswith("| digits | GPT2LMHeadModel, transformers 5.0 |")
    assert "| digits | vqvae | 0.5 M | 3.0 | 6 | 28.45 | 0.940 |  |  |" in lines


def test_codes_and_reconstructions_of_a_peer_are_those_of_each_picture():
    size = replace(FULL, pixels=16, hidden=16, residual_width=4, code_width=8, num_codes=32)
    torch.manual_seed(0)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 3, 16, 16), dtype=np.uint8)
    model = VQModelNet(size).eval()
    restored, codes = _reconstruct(model, pixels)
    assert (restored.shape, codes.shape) == (pixels.shape, (300, 16))
    for row in (0, 249, 250, 299):
        image = torch.from_numpy(pixels[row : row + 1]) / 127.5 - 1
        assert np.array_equal(codes[row], model.codes(image).numpy())
        with torch.inference_mode():
            expected = (model.restore(image)[0].clamp(-1, 1) + 1) * 127.5
        assert np.abs(restored[row] - expected.numpy()).max() < 1
