"""Temporary checkouts of the working tree, with small params for a short run of the chain."""

import copy
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from dvc.utils.serialize import dump_yaml, load_yaml

from tests.imports import ROOT
from vqpriors.publish.integrity import cache_path, list_files

STAGES = (
    "download",
    "train_tokenizer",
    "encode",
    "prepare_text",
    "train_judge",
    "train_prior",
    "sample",
    "evaluate",
)

# Environment variables that lead to other code, settings or a tracker's running service.
DROPPED = (
    "DVC",
    "GIT_",
    "PYTHON",
    "LAUNCH",
    "ACCELERATE",
    "FSDP",
    "WANDB",
    "MLFLOW",
    "TENSORBOARD",
)

_PHASE = {"epochs": 1, "lr": 0.01, "frozen": [], "weights": {}, "options": {}}
_TRAIN = {"batch_size": 16, "warmup_steps": 2}
TINY: dict[str, Any] = {
    "seed": 3,
    "data.name": "digits",
    "data.digits.limit": 80,
    "data.digits.image.size": 28,
    "data.digits.digits.canvas": 28,
    "data.digits.digits.small": 16,
    "data.digits.digits.large": 24,
    "data.decoding.rows_per_shard": 50,
    "train.precision": "no",
    "train.compile_layers": False,
    "train.log_steps": 2,
    "tokenizer.arch": "vqvae",
    "tokenizer.quantizer": "ema",
    "tokenizer.vqvae.width": 8,
    "tokenizer.vqvae.residual_blocks": 1,
    "tokenizer.vqvae.residual_width": 4,
    "tokenizer.vqvae.phases": {
        "warm_up": _PHASE | {"options": {"quantize": False}},
        "quantize": _PHASE | {"epochs": 2, "options": {"quantize": True}},
    },
    "tokenizer.ema.num_codes": 16,
    "tokenizer.ema.dim": 4,
    "tokenizer.fsq.levels": [4, 4],
    **{f"tokenizer.train.{key}": value for key, value in _TRAIN.items()},
    "encode.precision": "no",
    "encode.compile": False,
    "text.encoder": "wordpiece",
    "text.wordpiece.vocabulary": 100,
    "judge.attributes.width": 8,
    "judge.attributes.depth": 1,
    "judge.attributes.phases": {"main": _PHASE},
    "judge.captions.width": 8,
    "judge.captions.depth": 1,
    "judge.captions.text_width": 8,
    "judge.captions.embedding": 4,
    "judge.captions.phases": {"main": _PHASE},
    **{f"judge.train.{key}": value for key, value in _TRAIN.items()},
    "prior.arch": "transformer",
    "prior.caption_dropout": 0.1,
    "prior.preview_epochs": 1,
    "prior.transformer.width": 16,
    "prior.transformer.depth": 1,
    "prior.transformer.heads": 2,
    "prior.transformer.dropout": 0.1,  # so that resumed runs must restore random states
    "prior.transformer.phases": {"first": _PHASE | {"epochs": 3}, "second": _PHASE | {"epochs": 5}},
    "prior.cftn.width": 16,
    "prior.cftn.depth": 1,
    "prior.cftn.heads": 2,
    "prior.cftn.phases": {"main": _PHASE | {"epochs": 2}},
    "prior.cftn2.width": 16,
    "prior.cftn2.depth": 1,
    "prior.cftn2.heads": 2,
    "prior.cftn2.latent_width": 4,
    "prior.cftn2.latent_depth": 1,
    "prior.cftn2.phases": {
        "both_ways": _PHASE
        | {
            "epochs": 2,
            "frozen": ["latent"],
            "options": {"caption_share": 0.25, "joint_share": 0.25, "latent_share": 0.0},
        },
        "one_step": _PHASE
        | {"options": {"caption_share": 0.25, "joint_share": 0.0, "latent_share": 0.5}},
    },
    **{f"prior.train.{key}": value for key, value in _TRAIN.items()},
    "sample.prompts": [],
    "sample.num_prompts": 60,
    "sample.num_per_prompt": 2,
    "sample.steps": 3,
    "sample.guidance": 2.0,
    "sample.batch_size": 16,
    "sample.precision": "no",
    "sample.compile": False,
    "sample.sheet_prompts": 2,
    "sample.sheet_per_prompt": 2,
    "sample.sheet_temperatures": [0.5, 1.0],
    "sample.sheet_edits": 2,
    "sample.compared_steps": [1, 3],
    "sample.compared_pictures": 50,
    "sample.compared_tflop": 1.0,
    "sample.captions.num_pictures": 10,
    "sample.captions.steps": 4,
    "evaluate.bound_samples": 2,
    "evaluate.bootstrap_samples": 3,
    "runtime.checkpoint_seconds": 0,  # at every log, so that a kill meets many
}


def tiny_params() -> dict[str, Any]:
    """Return the working tree's params as DVC reads them, with the values of `TINY`."""
    params = copy.deepcopy(_own_params())
    for key, value in TINY.items():
        set_value(params, key, value)
    return params


@functools.cache
def _own_params() -> dict[str, Any]:
    return load_yaml(str(ROOT / "params.yaml"))


def set_value(params: dict[str, Any], key: str, value: Any) -> None:
    """Replace the value at an existing dotted key."""
    *path, last = key.split(".")
    for part in path:
        params = params[part]
    assert last in params, f"{key} is gone from params.yaml"
    params[last] = copy.deepcopy(value)


def make_checkout(folder: Path) -> None:
    """Make a git repository of the working tree with tiny params and no results."""
    listed = git(ROOT, "ls-files", "-co", "--exclude-standard", "-z").split("\0")
    results = ("dvc.lock", "metrics/")  # of other params
    for name in listed:
        if name and not name.startswith(results) and (ROOT / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target)
    dump_yaml(str(folder / "params.yaml"), tiny_params())
    git(folder, "init", "--quiet")
    git(folder, "config", "user.name", "tests")
    git(folder, "config", "user.email", "tests@localhost")
    commit(folder, "Start")


def copy_checkout(source: Path, target: Path, *, forget_runs: bool = False) -> Path:
    """Copy a checkout with its data and DVC's cache, with the run cache unless `forget_runs`."""
    ignored = ("tmp", "runs") if forget_runs else ("tmp",)
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(*ignored))
    return target


def copy_unlocked(source: Path, target: Path) -> Path:
    """Copy a checkout without dvc.lock, which DVC reads slowly, for stages run without DVC."""
    copy_checkout(source, target)
    (target / "dvc.lock").unlink()
    return target


def git(folder: Path, *arguments: str) -> str:
    """Run git and return its output."""
    command = ["git", *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment(folder), check=True, capture_output=True, text=True
    ).stdout


def commit(folder: Path, message: str) -> None:
    """Commit all files, ignored ones excepted."""
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """Return the environment for commands in a checkout: this Python, no user settings."""
    own = folder.parent / f"{folder.name}.settings"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(DROPPED)}
    return {
        **inherited,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "DVC_GLOBAL_CONFIG_DIR": str(own / "global"),
        "DVC_SYSTEM_CONFIG_DIR": str(own / "system"),
        "DVC_SITE_CACHE_DIR": str(own / "site"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        **variables,
    }


def run(
    folder: Path, *command: str, fails: bool = False, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in a checkout and check whether it succeeds.

    Args:
        folder: The checkout.
        command: `dvc` and `python` are this environment's.
        fails: Whether a failure is expected.
        variables: Further environment.
    """
    done = subprocess.run(
        command, cwd=folder, env=environment(folder, **variables), capture_output=True, text=True
    )
    assert (done.returncode != 0) == fails, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def ran(output: str) -> list[str]:
    """Return the stages that DVC ran, by its output, in order."""
    return [stage for stage in STAGES if f"Running stage '{stage}':" in output]


def cached(folder: Path, stage: str, place: str, name: str) -> Path:
    """Return the cache object of a file in a stage's output."""
    outs = load_yaml(str(folder / "dvc.lock"))["stages"][stage]["outs"]
    digest = next(out["md5"] for out in outs if out["path"] == place)
    cache = folder / ".dvc/cache/files/md5"
    return cache_path(cache, dict(list_files(cache, digest))[name])


def flip(path: Path) -> None:
    """Flip a bit and keep the file mode, since DVC trusts read-only cache objects."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    whole = bytearray(path.read_bytes())
    whole[len(whole) // 2] ^= 1
    path.write_bytes(whole)
    path.chmod(mode)


def contents(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of every file by path, without the files of git, DVC and Python."""
    skipped = {".git", ".dvc", "__pycache__"}
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not skipped & set(path.relative_to(folder).parts)
    }
