"""The benchmarks at sizes that take no time, and what is committed of them."""

import csv
import tomllib
from dataclasses import replace

import pytest
import torch

from benchmarks.speed import masked, start_up, stepwise, tokenizers
from benchmarks.speed.__main__ import EXTRA, WORKS, main
from benchmarks.speed.contest import COLUMNS, Contest, Side, measure, rows
from benchmarks.speed.ours import peer_training
from benchmarks.speed.sizes import FULL, SMALL
from benchmarks.speed.table import (
    BETWEEN_MARKERS,
    FIGURES,
    PAGE,
    ahead,
    merged,
    read_rows,
    table,
    write_page,
    write_rows,
)
from tests.imports import ROOT
from vqpriors import Generator

# x-transformers, where it is installed, compiles a function when it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script.:DeprecationWarning")

TINY = replace(
    SMALL,
    pixels=16,
    pictures=4,
    hidden=16,
    residual_width=4,
    code_width=8,
    num_codes=32,
    vectors=100,
    width=32,
    depth=1,
    heads=4,
    batch=2,
    stepwise=(1, 2),
    lstm_width=32,
    masked=2,
    text_length=5,
    vocabulary=20,
)
PROCESSES = {"start-up"}  # its runs are whole commands
MACHINE = {"threads": "2", "hardware": "2 x something"}
ROW = {"work": "encode", "size": "64 PNG files", "ours": "vqvae", "peer": "diffusers: VQModel"}
ROW |= {"peer_version": "1.0", "unit": "images/s", "ours_value": "1234.5", "peer_value": "1000"}
ROW |= {"ratio": "1.234", "precision": "float32", **MACHINE}


def only(contests):
    (contest,) = contests
    return contest


@pytest.mark.parametrize("name", sorted(WORKS.keys() - PROCESSES))
def test_contests_have_a_row_a_peer_with_every_column(name):
    for contest in WORKS[name](TINY, ["no", "bf16"]):
        if contest.is_told:  # each run is a process of its own
            contest = replace(contest, peers=[])
        figures = measure(contest, repeats=1)
        assert min(figures) > 0
        found = rows(contest, figures, MACHINE)
        assert len(found) == len(contest.peers)
        for row in found:
            assert row.keys() == set(COLUMNS)
            assert all(row.values())
            assert float(row["ratio"]) == pytest.approx(
                float(row["ours_value"]) / float(row["peer_value"]), rel=2e-3
            )


@pytest.mark.parametrize("size", [SMALL, FULL], ids=["small", "full"])
@pytest.mark.parametrize("work", [stepwise.step, masked.step, tokenizers.step])
def test_both_sides_have_about_as_many_parameters(work, size):
    contest = only(work(size, ["no"]))
    assert contest.peers
    for peer in contest.peers:
        assert peer.parameters == pytest.approx(contest.ours.parameters, rel=0.2), peer.name


def test_a_loop_over_cells_is_as_wide_as_ours_or_as_large():
    contest = only(stepwise.lstm_sampling(SMALL, ["no"]))
    wide, large = contest.peers
    assert wide.parameters < 0.8 * contest.ours.parameters
    assert large.parameters == pytest.approx(contest.ours.parameters, rel=0.2)


def test_stepwise_sides_draw_as_many_codes():
    for contest in stepwise.sampling(TINY, ["no"]):
        ours, *peers = (side.run() for side in [contest.ours, *contest.peers])
        assert ours.numel() == contest.amount
        for codes in peers:  # GPT-2's begin with the token that it was given
            assert codes[:, -TINY.length :].numel() == contest.amount
            assert codes.shape[1] <= TINY.length + 1


def test_masked_sides_leave_no_code_masked():
    for contest in masked.sampling(TINY, ["no"]):
        for side in [contest.ours, *contest.peers]:
            codes = side.run()
            assert codes.numel() == TINY.masked * TINY.length
            assert codes.max() < TINY.num_codes


def test_encoding_sides_give_a_code_a_cell():
    contest = only(tokenizers.encode(TINY, ["no"]))
    for side in [contest.ours, *contest.peers]:
        assert side.run().size == contest.amount * TINY.length


def test_a_training_step_moves_the_weights_and_leaves_no_gradient():
    model = torch.nn.Linear(2, 1)
    before = model.weight.detach().clone()
    peer_training(model, lambda: model(torch.ones(3, 2)).sum(), "no")()
    assert not model.weight.equal(before)
    assert model.weight.grad is None


def test_parts_of_start_up_draw(tmp_path):
    generator = Generator.load(start_up.make_parts(tmp_path))
    (picture,) = generator(start_up.PROMPT)
    assert picture.size == (generator.image.size,) * 2


def test_sides_take_turns_at_beginning():
    order = []
    sides = [Side(name, lambda name=name: order.append(name)) for name in "abc"]
    contest = Contest("encode", "", "s", ours=sides[0], peers=sides[1:])
    assert len(measure(contest, repeats=3)) == 3
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"


def test_told_figures_are_taken_as_they_are():
    figures = iter([3.0, 1.0, 2.0])
    contest = Contest("encode", "", "MB", Side("a", lambda: next(figures)), [], is_told=True)
    assert measure(contest, repeats=3) == [2.0]


def test_rate_above_a_peers_is_ahead_and_time_above_it_is_behind():
    assert ahead(ROW) == "ours, 1.23 times"
    assert ahead(ROW | {"unit": "s"}) == "peer, 1.23 times"
    assert ahead(ROW | {"ours_value": "250"}) == "peer, 4 times"
    assert ahead(ROW | {"ours_value": "1001"}) == "neither"


def test_new_rows_replace_those_of_their_work():
    old = [ROW, ROW | {"work": "start-up"}, ROW | {"work": "gone"}]
    new = [ROW | {"ratio": "2"}]
    assert merged(old, new, ["start-up", "encode"]) == [ROW | {"work": "start-up"}, *new]


def test_rows_come_back_from_the_file_and_stand_in_the_table(tmp_path):
    write_rows([ROW], tmp_path / "speed.csv")
    found = read_rows(tmp_path / "speed.csv")
    assert found == [ROW]
    page = tmp_path / "speed.md"
    page.write_text("before\n<!-- speed -->\nold\n<!-- /speed -->\nafter\n")
    write_page(found, page)
    assert page.read_text() == f"before\n<!-- speed -->\n{table(found)}<!-- /speed -->\nafter\n"
    assert "- 2 x something, 2 threads: `encode`." in table(found)
    assert "| `encode` | 64 PNG files | float32 | `vqvae`: 1,234.5 images/s |" in table(found)


def test_table_is_that_of_the_rows():
    assert BETWEEN_MARKERS.search(PAGE.read_text()).group() == table(read_rows())


def test_committed_rows_are_of_benchmarks_that_there_are():
    with FIGURES.open(newline="") as file:
        assert next(csv.reader(file)) == COLUMNS
    assert {row["work"] for row in read_rows()} <= WORKS.keys()
    for row in read_rows():
        ratio = float(row["ours_value"]) / float(row["peer_value"])
        assert float(row["ratio"]) == pytest.approx(ratio, rel=2e-3)


def test_peers_are_pinned_in_an_extra_that_is_not_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    peers = project["optional-dependencies"]["peers"]
    assert [peer.partition("==")[0] for peer in peers] == list(EXTRA)
    locked = (ROOT / "requirements.lock").read_text().splitlines()
    assert not {line.partition("==")[0] for line in locked} & {*EXTRA}


def test_missing_peers_are_named_with_the_way_to_get_them(monkeypatch):
    monkeypatch.setattr("benchmarks.speed.__main__.is_installed", lambda _: False)
    monkeypatch.setattr("sys.argv", ["benchmarks.speed", "encode"])
    with pytest.raises(SystemExit, match=r"x-transformers not installed; pip install -e '.\[peers"):
        main()
