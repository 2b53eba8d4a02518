"""Abilities of models that are known before loading, and what the command line does with them."""

import json
import os
import subprocess
import sys

import pytest

from tests.imports import ROOT
from tests.parts import make_parts, picture
from vqpriors.cli.abilities import abilities_of, read_abilities
from vqpriors.core.registry import kind_names
from vqpriors.inference.generator import Generator


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Return folders of untrained models by prior, and one of a prior without text."""
    made = {}
    for arch in kind_names("vqpriors.priors"):
        made[arch] = tmp_path_factory.mktemp(arch) / "data"
        make_parts(made[arch], arch)
    made["without text"] = tmp_path_factory.mktemp("silent") / "data"
    make_parts(made["without text"], "transformer", text__encoder="none")
    return made


def call(*arguments):
    """Run a command line in a process; return its code, its messages and its imports of torch."""
    code = "import sys\nfrom vqpriors.__main__ import main\n"
    code += f"try: main({[*map(str, arguments)]})\n"
    code += "finally: print('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    return done.returncode, done.stderr.splitlines(), done.stdout.splitlines()[-1] == "True"


@pytest.mark.parametrize("model", [*kind_names("vqpriors.priors"), "without text"])
def test_abilities_known_before_loading_are_those_of_the_loaded_model(models, model):
    found = read_abilities(str(models[model]), None)
    assert found == abilities_of(Generator.load(models[model]))


def test_abilities_of_other_priors_revisions_and_the_hub_are_unknown(models, tmp_path):
    assert read_abilities(str(models["cftn"]), "main") is None
    assert read_abilities("owner/name", None) is None
    for part in ("prior", "text"):
        (tmp_path / part).mkdir()
    (tmp_path / "text/config.json").write_text('{"encoder": "none"}')
    for text in ('{"arch": "diffusion"}', "{}", "[]", "{"):
        (tmp_path / "prior/config.json").write_text(text)
        assert read_abilities(str(tmp_path), None) is None


REFUSED = {
    "inpaint": (
        ["generate", "--inpaint", "a.png", "a.png"],
        "lstm",
        "generate: --inpaint: lstm draws in one order, from the top, and can't redraw parts; "
        "choose a model with the prior cftn or cftn2 by --from or --rev, or train one with "
        "`dvc exp run -S prior.arch=cftn`",
    ),
    "vary": (
        ["generate", "--vary", "a.png"],
        "transformer",
        "generate: --vary: transformer draws in one order",
    ),
    "caption": (
        ["caption", "a.png"],
        "cftn",
        "caption: cftn writes no captions; choose a model with the prior cftn2 by",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_prior_cannot_do_is_refused_before_torch_is_imported(
    models, tmp_path, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    picture().save("a.png")
    command, arch, problem = REFUSED[name]
    code, lines, has_torch = call(*command, "--from", models[arch])
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {problem}")
    assert not has_torch


def draw(folder, out, *options):
    command = ["generate", "--from", folder, "--prompt", "a red six", "--out", out]
    code, lines, _ = call(*command, *options)
    assert code == 0, lines
    return lines, (out / "000-000.png").read_bytes()


def test_steps_of_a_stepwise_prior_are_ignored_with_a_warning(models, tmp_path):
    folder = models["transformer"]
    lines, drawn = draw(folder, tmp_path / "a", "--steps", 4)
    ignored = "--steps: ignored, since transformer draws one code after another"
    assert lines == [f"warning: generate: {ignored}"]
    assert (lines, drawn) != draw(folder, tmp_path / "b")
    assert draw(folder, tmp_path / "c", "--steps", 4, "--log-level", "error") == ([], drawn)


def test_compiling_is_ignored_for_lstm_with_a_warning(models, tmp_path):
    lines, _ = draw(models["lstm"], tmp_path / "a", "--compile")
    assert lines == ["warning: generate: --compile: ignored, since the prior is lstm"]
    assert not draw(models["lstm"], tmp_path / "b")[0]


def test_without_a_compiler_the_layers_are_not_compiled(models, tmp_path, monkeypatch):
    assert not draw(models["cftn2"], tmp_path / "a")[0]
    monkeypatch.setenv("PATH", str(tmp_path))
    lines, _ = draw(models["cftn2"], tmp_path / "b", "--compile")
    problem = "no C compiler found (cc, gcc, clang)"
    assert lines == [f"warning: generate: compile: changes nothing: {problem}"]


def test_without_a_compiler_the_step_is_not_compiled(models, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    lines, _ = draw(models["transformer"], tmp_path / "a", "--compile")
    problem = "sampling without a compiled step: no C compiler found (cc, gcc, clang)"
    assert lines == [f"warning: generate: {problem}"]


def test_prompt_of_a_model_without_text_gives_a_warning(models, tmp_path):
    lines, _ = draw(models["without text"], tmp_path / "a", "--guidance", 2)
    why = "changes nothing, since this model was trained without text"
    assert lines == [f"warning: generate: {name}: {why}" for name in ("--prompt", "--guidance")]


def test_abilities_of_an_unlisted_prior_are_checked_after_loading(models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture().save("a.png")
    monkeypatch.setattr("vqpriors.cli.abilities.STEPWISE", ())
    from vqpriors.__main__ import main

    with pytest.raises(SystemExit, match="--vary: transformer draws in one order"):
        main(["generate", "--from", str(models["transformer"]), "--vary", "a.png"])
    with pytest.raises(SystemExit, match="caption: transformer writes no captions"):
        main(["caption", "--from", str(models["transformer"]), "a.png"])
    assert json.loads((models["transformer"] / "prior/config.json").read_text())["arch"]
