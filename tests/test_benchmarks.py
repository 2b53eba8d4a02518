"""The benchmarks at tiny sizes, and their committed results."""

import csv
import subprocess
import sys
import tomllib
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from benchmarks.speed import checkouts, masked, start_up, stepwise, tokenizers
from benchmarks.speed.__main__ import EXTRA, WORKS, main
from benchmarks.speed.benchmark import (
    COLUMNS,
    FULL,
    SMALL,
    Benchmark,
    Implementation,
    installed,
    measure,
    rows,
)
from benchmarks.speed.machine import operations, product_rate, share
from benchmarks.speed.ours import peer_training
from benchmarks.speed.table import (
    BETWEEN_MARKERS,
    PAGE,
    RESULTS,
    ahead,
    merged,
    table,
    write_page,
)
from tests.imports import ROOT
from tests.marks import needs_fast_bfloat16
from tools.csv_rows import read_rows, write_rows
from vqpriors import Generator
from vqpriors.nn.products import Product

# The import of x-transformers, if installed, compiles a function.
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
PROCESSES = {"start-up"}  # its runs are commands
MACHINE = {"scale": "small", "threads": "2", "hardware": "2 x something", "commit": "1234567"}
ROW = {"work": "encode", "size": "64 PNG files", "ours": "vqvae", "peer": "diffusers: VQModel"}
ROW |= {"peer_version": "1.0", "unit": "images/s", "ours_value": "1234.5", "peer_value": "1000"}
ROW |= {"ratio": "1.234", "share": "0.61", "precision": "float32", **MACHINE}


def only(benchmarks):
    (benchmark,) = benchmarks
    return benchmark


@pytest.mark.parametrize("name", sorted(WORKS.keys() - PROCESSES))
def test_each_peer_has_a_row_with_every_column(name):
    for benchmark in WORKS[name](TINY, ["no", "bf16"]):
        if benchmark.returns_value:  # each run is a new process
            benchmark = replace(benchmark, peers=[])
        values = measure(benchmark, repeats=1)
        assert min(values) >= (0 if benchmark.returns_value else 1e-9)  # few bytes need no new page
        found = rows(benchmark, values, MACHINE, share=share(benchmark, values[0]) or 1.0)
        assert len(found) == len(benchmark.peers)
        for row in found:
            assert row.keys() == set(COLUMNS)
            assert all(row.values())
            assert float(row["ratio"]) == pytest.approx(
                float(row["ours_value"]) / float(row["peer_value"]), rel=2e-3
            )


@pytest.mark.parametrize("rows", [1, 8])  # of 8, products are packed by oneDNN
@torch.inference_mode()
def test_operations_of_products_are_counted(rows):
    product = Product(torch.randn(1024, 256), rows=rows)
    assert product.is_packed == (rows > 1)
    assert operations(lambda: product(torch.randn(rows, 256))) == 2 * rows * 256 * 1024


@pytest.mark.parametrize(("is_causal", "num_pairs"), [(False, 6 * 6), (True, 21)])
def test_operations_of_attention_are_counted(is_causal, num_pairs):
    query, key, value = (torch.randn(2, 3, 6, 4, requires_grad=True) for _ in range(3))

    def attend():
        return F.scaled_dot_product_attention(query, key, value, is_causal=is_causal)

    per_product = 2 * (2 * 3) * num_pairs * 4
    assert operations(attend) == 2 * per_product
    assert operations(lambda: attend().sum().backward()) == (2 + 5) * per_product


def test_share_is_the_least_time_divided_by_the_time():
    layer, x = torch.nn.Linear(256, 512, bias=False), torch.randn(128, 256)
    own = Implementation("product", lambda: layer(x), parameters=1)
    benchmark = Benchmark("w", "s", "codes/s", own, [], amount=10.0, precision="no")
    least = 2 * 128 * 256 * 512 / product_rate("no", "cpu")
    assert share(benchmark, 10.0 / (4 * least)) == pytest.approx(0.25)
    slow_to_read = replace(benchmark, ours=replace(own, num_read=10**12))
    assert share(slow_to_read, 10.0 / (4 * least)) > 100
    assert share(replace(benchmark, returns_value=True), 1.0) is None


@pytest.mark.parametrize("size", [SMALL, FULL], ids=["small", "full"])
@pytest.mark.parametrize("work", [stepwise.step, masked.step, tokenizers.step])
def test_peers_have_about_as_many_parameters(work, size):
    benchmark = only(work(size, ["no"]))
    assert benchmark.peers
    for peer in benchmark.peers:
        assert peer.parameters == pytest.approx(benchmark.ours.parameters, rel=0.2), peer.name


def test_loops_over_cells_have_our_width_or_our_parameters():
    benchmark = only(stepwise.lstm_sampling(SMALL, ["no"]))
    wide, large = benchmark.peers
    assert wide.parameters < 0.8 * benchmark.ours.parameters
    assert large.parameters == pytest.approx(benchmark.ours.parameters, rel=0.2)


def test_compiled_step_is_measured_beside_the_plain_one():
    for benchmark in stepwise.sampling(TINY, ["no"]):
        plain, *_ = benchmark.peers
        names = benchmark.ours.name, plain.name
        assert names == ("transformer compiled", "transformer not compiled")
        assert plain.package == "vqpriors"
        assert benchmark.ours.parameters == plain.parameters
        # What is compiled can't be counted, so the plain run is.
        counted = operations(plain.run)
        assert operations(benchmark.ours.run) < 0.1 * counted
        value = benchmark.amount * product_rate("no", "cpu") / counted
        assert share(replace(benchmark, ours=replace(benchmark.ours, num_read=0)), value) == (
            pytest.approx(1.0, rel=0.01)
        )


@needs_fast_bfloat16
@pytest.mark.parametrize("work", sorted(WORKS.keys() - PROCESSES - {"lstm-sampling"}))
def test_code_in_c_is_measured_beside_torch(work):
    for benchmark in WORKS[work](TINY, ["bf16"]):
        plain = benchmark.peers[0]
        assert (benchmark.ours.name, plain.name) in (
            (f"{name} compiled", f"{name} not compiled")
            for name in ("transformer", "cftn", "cftn2 with its latent", "vqvae with ema", "ema")
        )
        if not benchmark.returns_value:
            assert benchmark.ours.counted is plain.run
            assert operations(benchmark.ours.run) < operations(plain.run)


def test_stepwise_implementations_sample_all_codes():
    for benchmark in stepwise.sampling(TINY, ["no"]):
        ours, *peers = (
            implementation.run() for implementation in [benchmark.ours, *benchmark.peers]
        )
        assert ours.numel() == benchmark.amount
        for codes in peers:  # those of GPT-2 start with its first input token
            assert codes[:, -TINY.length :].numel() == benchmark.amount
            assert codes.shape[1] <= TINY.length + 1


def test_masked_implementations_sample_all_codes():
    for benchmark in masked.sampling(TINY, ["no"]):
        for implementation in [benchmark.ours, *benchmark.peers]:
            codes = implementation.run()
            assert codes.numel() == TINY.masked * TINY.length
            assert codes.max() < TINY.num_codes


def test_encoders_return_a_code_for_each_cell():
    benchmark = only(tokenizers.encode(TINY, ["no"]))
    for implementation in [benchmark.ours, *benchmark.peers]:
        assert implementation.run().size == benchmark.amount * TINY.length


def test_training_step_updates_weights_and_clears_gradients():
    model = torch.nn.Linear(2, 1)
    before = model.weight.detach().clone()
    peer_training(model, lambda: model(torch.ones(3, 2)).sum(), "no")()
    assert not model.weight.equal(before)
    assert model.weight.grad is None


def test_untrained_generator_of_start_up_draws(tmp_path):
    generator = Generator.load(start_up.save_untrained(tmp_path))
    (picture,) = generator(start_up.PROMPT)
    assert picture.size == (generator.image.size,) * 2


def test_order_of_implementations_rotates():
    order = []
    implementations = [Implementation(name, lambda name=name: order.append(name)) for name in "abc"]
    benchmark = Benchmark("encode", "", "s", ours=implementations[0], peers=implementations[1:])
    assert len(measure(benchmark, repeats=3)) == 3
    assert "".join(order) == "abc" + "abc" + "bca" + "cab"


def test_returned_values_are_not_timed():
    values = iter([3.0, 1.0, 2.0])
    benchmark = Benchmark(
        "encode", "", "MB", Implementation("a", lambda: next(values)), [], returns_value=True
    )
    assert measure(benchmark, repeats=3) == [2.0]


def test_higher_rate_and_lower_time_are_ahead():
    assert ahead(ROW) == "ours, 1.23 times"
    assert ahead(ROW | {"unit": "s"}) == "peer, 1.23 times"
    assert ahead(ROW | {"ours_value": "250"}) == "peer, 4 times"
    assert ahead(ROW | {"ours_value": "1001"}) == "neither"


def test_new_rows_replace_rows_of_the_same_work_scale_and_hardware():
    changes = {"work": "start-up", "hardware": "1 x GPU", "threads": "1", "scale": "full"}
    others = [ROW | {name: value} for name, value in changes.items()]
    others.append(ROW | {"precision": "bfloat16"})
    old = [ROW, *others, ROW | {"work": "gone"}]
    new = [ROW | {"ratio": "2", "hardware": f"{ROW['hardware']}, beside other work"}]
    assert merged(old, new, ["start-up", "encode"]) == [*others, *new]


def test_each_machine_has_a_table():
    rows = [ROW, ROW | {"scale": "full"}, ROW | {"hardware": "1 x GPU"}]
    rows.append(rows[-1] | {"commit": "7654321"})
    lines = table(rows).splitlines()
    assert [each for each in lines if each.startswith("On ")] == [
        f"On {ROW['hardware']}, {ROW['threads']} threads, commit 1234567:",
        f"On {ROW['hardware']}, {ROW['threads']} threads, at full size, commit 1234567:",
        f"On 1 x GPU, {ROW['threads']} threads, commits 1234567, 7654321:",
    ]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_device_that_is_missing_is_told(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["benchmarks.speed", "encode", "--device", "cuda"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.endswith("--device: cuda is not available on this machine\n")


def test_rows_are_read_back_and_written_into_the_table(tmp_path):
    write_rows(tmp_path / "speed.csv", [ROW], COLUMNS)
    found = read_rows(tmp_path / "speed.csv")
    assert found == [ROW]
    page = tmp_path / "speed.md"
    page.write_text("before\n<!-- speed -->\nold\n<!-- /speed -->\nafter\n")
    write_page(found, page)
    assert page.read_text() == f"before\n<!-- speed -->\n{table(found)}<!-- /speed -->\nafter\n"
    assert "On 2 x something, 2 threads, commit 1234567:" in table(found)
    assert "| `encode` | 64 PNG files | float32 | `vqvae`: 1,234.5 images/s | 61% |" in table(found)


def test_committed_table_matches_the_rows():
    assert BETWEEN_MARKERS.search(PAGE.read_text()).group() == table(read_rows(RESULTS))


def test_committed_rows_belong_to_existing_benchmarks():
    with RESULTS.open(newline="") as file:
        assert next(csv.reader(file)) == COLUMNS
    assert {row["work"] for row in read_rows(RESULTS)} <= WORKS.keys()
    for row in read_rows(RESULTS):
        ratio = float(row["ours_value"]) / float(row["peer_value"])
        assert float(row["ratio"]) == pytest.approx(ratio, rel=2e-3)


def test_peers_are_pinned_in_an_extra_that_is_not_locked():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    peers = project["optional-dependencies"]["peers"]
    assert [peer.partition("==")[0] for peer in peers] == list(EXTRA)
    locked = (ROOT / "requirements.lock").read_text().splitlines()
    assert not {line.partition("==")[0] for line in locked} & {*EXTRA}


def test_missing_peers_are_reported_with_the_fix(monkeypatch):
    monkeypatch.setattr("benchmarks.speed.__main__.is_installed", lambda _: False)
    monkeypatch.setattr("sys.argv", ["benchmarks.speed", "encode"])
    with pytest.raises(SystemExit, match=r"x-transformers not installed; pip install -e '.\[peers"):
        main()


def test_sleeping_threads_are_refused(monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setattr("benchmarks.speed.__main__.is_installed", lambda _: True)
    monkeypatch.setattr("sys.argv", ["benchmarks.speed", "encode"])
    with pytest.raises(SystemExit, match="set OMP_WAIT_POLICY=ACTIVE"):
        main()


@pytest.fixture
def llama_gen(tmp_path, monkeypatch):
    """Use a repository named LlamaGen, which has one module; return its commit."""
    monkeypatch.setattr(checkouts, "_folders", {})
    monkeypatch.setattr("sys.path", sys.path.copy())
    folder = tmp_path / "LlamaGen"
    folder.mkdir()
    (folder / "module_of_llama_gen.py").write_text("WIDTH = 7\n")

    def git(*command):
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        done = subprocess.run(
            ["git", *identity, *command], cwd=folder, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-qm", "one")
    checkouts.use(folder)
    return git("rev-parse", "HEAD")


def test_a_checkout_is_a_peer_whose_version_is_its_commit(llama_gen):
    assert checkouts.load("LlamaGen", "module_of_llama_gen").WIDTH == 7
    peer = Implementation("Transformer", lambda: None, package="LlamaGen")
    found = installed({"LlamaGen": lambda: peer, "vq-vae-2-pytorch": lambda: pytest.fail("built")})
    assert found == [peer]
    own = Implementation("transformer", lambda: None)
    row = only(rows(Benchmark("w", "s", "codes/s", own, [peer]), [3.0, 2.0], {}))
    assert llama_gen.startswith(row["peer_version"])
    assert row["peer"] == "LlamaGen: Transformer"


@pytest.mark.parametrize(
    ("name", "problem"),
    [("nothing", "no such folder"), ("other", "must be named LlamaGen or vq-vae-2-pytorch")],
)
def test_a_folder_that_is_no_known_checkout_is_refused(
    tmp_path, monkeypatch, capsys, name, problem
):
    (tmp_path / "other").mkdir()
    command = ["benchmarks.speed", "encode", "--checkout", str(tmp_path / name)]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit):
        main()
    assert f"--checkout: {tmp_path / name}: {problem}" in capsys.readouterr().err
