"""Start-up time against other packages: commands and imports, each in a new process."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from torch import nn

from benchmarks.speed import ours
from benchmarks.speed.benchmark import Benchmark, Implementation, Size, installed
from vqpriors.core.artifact import save_model, verify
from vqpriors.core.hardware import DEVICE_VARIABLE, Precision
from vqpriors.core.params import Params
from vqpriors.data.token_spec import TokenSpec
from vqpriors.priors.base.loading import build_prior, describe_prior
from vqpriors.text.base.encoder import save_encoder
from vqpriors.tokenizer.base.loading import build_tokenizer, describe_tokenizer, load_tokenizer

PROMPT = "a small red seven on a white background"
PARTS_OF_DIFFUSERS = "from diffusers import AmusedScheduler, UVit2DModel, VQModel"


def start_up(size: Size, precisions: list[Precision]) -> Iterator[Benchmark]:
    """Yield benchmarks of a help text, an import and one picture; peers of the last only import."""
    torch_alone = _python("import torch", "-c", "import torch", package="torch")
    diffusers = partial(_python, package="diffusers")
    tool = ("-m", "diffusers.commands.diffusers_cli", "--help")
    helpers = installed({"diffusers": lambda: diffusers("diffusers-cli --help", *tool)})
    parts = ("import of the same parts", "-c", PARTS_OF_DIFFUSERS)
    importers = installed({"diffusers": lambda: diffusers(*parts)})
    own = _python("vqpriors --help", "-m", "vqpriors", "--help")
    yield _benchmark("a help text", own, helpers)
    own = _python(
        "import vqpriors.inference.generator", "-c", "import vqpriors.inference.generator"
    )
    yield _benchmark("an import of the generator", own, [torch_alone, *importers])
    with tempfile.TemporaryDirectory() as folder:
        data = save_untrained(Path(folder))
        options = ("--prompt", PROMPT, "--from", str(data))
        own = _python("vqpriors generate", "-m", "vqpriors", "generate", *options)
        name = "one picture of the default size; peers only import"
        yield _benchmark(name, own, [torch_alone, *importers])


def save_untrained(folder: Path) -> Path:
    """Save an untrained generator with the sizes of params.yaml; return its folder."""
    params, data = ours.params({}), folder / "data"
    (folder / "params.yaml").write_text((ours.ROOT / "params.yaml").read_text())
    spec = _make_tokenizer(params, data / "tokenizer")
    kind = params.kind("text.encoder", "vqpriors.text")
    encoder = kind.module.build(kind.config, captions=[PROMPT])
    save_encoder(data / "text", kind.name, encoder)
    prior = params.kind("prior.arch", "vqpriors.priors")
    description = describe_prior(
        arch=prior.name,
        config=prior.config,
        grid=(spec.rows, spec.columns),
        codebook_size=spec.codebook_size,
        text=encoder.shape,
        tokenizer=spec.fingerprint,
        encoder=verify(data / "text"),
    )
    _save(data / "prior", description, build_prior(description))
    return data


def _make_tokenizer(params: Params, folder: Path) -> TokenSpec:
    arch = params.kind("tokenizer.arch", "vqpriors.tokenizer")
    quantizer = params.kind("tokenizer.quantizer", "vqpriors.quantizers")
    image = params.raw(f"data.{params.raw('data.name')}.image")
    description = describe_tokenizer(
        arch=arch.name,
        config=arch.config,
        quantizer=quantizer.name,
        quantizer_config=quantizer.config,
        image_size=image["size"],
        channels=image["channels"],
    )
    _save(folder, description, build_tokenizer(description))
    return load_tokenizer(folder, torch.device("cpu"))[1]


def _save(folder: Path, description: dict[str, object], model: nn.Module) -> None:
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_model(folder, config=description, weights=weights)


def _benchmark(size: str, own: Implementation, peers: list[Implementation]) -> Benchmark:
    return Benchmark(work="start-up", size=size, unit="s", ours=own, peers=peers)


def _python(name: str, *arguments: str, package: str = "vqpriors") -> Implementation:
    return Implementation(name, partial(_run, arguments), package=package)


def _run(arguments: tuple[str, ...]) -> None:
    """Run Python in a new process, with the package of this checkout and without a network.

    It runs in a temporary folder, which takes what it writes, and with its own choice of how
    threads wait.
    """
    own = {"PYTHONPATH": str(ours.ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    own |= {DEVICE_VARIABLE: torch.get_default_device().type}
    inherited = {
        k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    environment = inherited | own | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, *arguments]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(command, check=True, capture_output=True, env=environment, cwd=folder)
