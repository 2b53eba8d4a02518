"""Options of the whole program: its name, version, log level and tracebacks."""

import logging
import subprocess
import sys
from importlib.metadata import version

import pytest

import vqpriors
from tests.imports import ROOT
from tests.parts import make_parts
from vqpriors.__main__ import COMMANDS, main
from vqpriors.cli.options import build_parser, program_name


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("parts") / "data"
    make_parts(path, "transformer")
    return path


def test_version_is_that_of_the_package(capsys):
    assert vqpriors.__version__ == version("vqpriors")
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"vqpriors {vqpriors.__version__}\n"


def test_bash_completes_commands_options_and_files(capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(["--print-completion", "bash"])
    assert ended.value.code == 0
    (tmp_path / "completion").write_text(capsys.readouterr().out)
    (tmp_path / "picture.png").touch()

    def completed(*words):
        code = f"source completion; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; "
        code += '_shtab_vqpriors; printf "%s\\n" "${COMPREPLY[@]}"'
        done = subprocess.run(["bash", "-c", code], cwd=tmp_path, capture_output=True, text=True)
        return done.stdout.split()

    assert completed("vqpriors", "gen") == ["generate"]
    assert completed("vqpriors", "generate", "--temp") == ["--temperature"]
    assert completed("vqpriors", "caption", "pic") == ["picture.png"]


def test_reader_of_the_completion_may_stop_early():
    code = "import vqpriors.__main__ as m; m.main(['--print-completion', 'zsh'])"
    command = f'"{sys.executable}" -c "{code}" | true; echo "${{PIPESTATUS[0]}}"'
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.stdout.strip() in ("0", "1")
    assert done.stderr == ""


def test_unknown_option_is_refused_with_a_suggestion(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["generate", "--prmpt", "a red six"])
    assert ended.value.code == 2
    text = capsys.readouterr().err
    assert "generate [-h]" in text
    assert text.endswith("unrecognized arguments: --prmpt a red six; did you mean --prompt?\n")


def test_prompt_without_its_option_is_refused_with_the_option(capsys):
    with pytest.raises(SystemExit):
        main(["generate", "a red six"])
    text = capsys.readouterr().err
    assert text.endswith("unrecognized arguments: a red six; write --prompt before each prompt\n")


@pytest.mark.parametrize(
    ("option", "value"),
    [("--num-samples", "0"), ("--seed", "-1"), ("--temperature", "1000"), ("--steps", "0")],
)
def test_option_out_of_range_is_refused_before_the_model_is_loaded(tmp_path, option, value):
    name = option.removeprefix("--").replace("-", "_")
    with pytest.raises(SystemExit, match=f"^error: generate: {name}: must "):
        main(["generate", "--from", str(tmp_path / "absent"), "--prompt", "x", option, value])


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/opt/venv/bin/vqpriors", "vqpriors"),
        ("vqpriors.exe", "vqpriors"),
        ("/src/vqpriors/__main__.py", "python -m vqpriors"),
    ],
)
def test_help_names_the_program_as_it_was_called(path, name, monkeypatch):
    assert program_name(path) == name
    monkeypatch.setattr(sys, "argv", [path])
    assert build_parser("").format_usage().startswith(f"usage: {name} [-h]")


def test_help_of_the_module_names_the_module():
    command = [sys.executable, "-m", "vqpriors", "generate", "--help"]
    done = subprocess.run(command, check=True, cwd=ROOT / "src", capture_output=True, text=True)
    assert done.stdout.startswith("usage: python -m vqpriors generate [-h]")


def test_every_command_is_run_and_takes_the_common_options():
    parser = build_parser("")
    least = {
        "generate": [],
        "caption": ["a.png"],
        "save": ["folder"],
        "push": ["me/digits"],
        "demo": [],
    }
    assert least.keys() == COMMANDS.keys()
    for command, needed in least.items():
        after = parser.parse_args([command, *needed, "--log-level", "info", "--debug"])
        before = parser.parse_args(["--log-level", "info", "--debug", command, *needed])
        neither = parser.parse_args([command, *needed])
        assert vars(after) == vars(before)
        assert (after.log_level, after.debug) == ("info", True)
        assert (neither.log_level, neither.debug) == ("warning", False)


def test_log_level_chooses_the_messages(model, tmp_path, capsys):
    def messages(level):
        out = ["--out", str(tmp_path / level)]
        command = ["generate", "--from", str(model), "--prompt", "x", "--steps", "2", *out]
        main([*command, "--log-level", level])
        return [line.partition(" ")[0] for line in capsys.readouterr().err.splitlines()]

    assert messages("error") == []
    assert messages("warning") == ["warning:"]
    assert messages("info") == ["warning:", "info:"]
    assert {"warning:", "info:"} <= set(messages("debug"))


def test_logging_is_restored_after_a_command(model, tmp_path):
    loggers = [logging.getLogger(), logging.getLogger("vqpriors")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    command = ["generate", "--from", str(model), "--prompt", "x", "--out", str(tmp_path / "out")]
    main([*command, "--log-level", "debug"])
    assert [(logger.level, list(logger.handlers)) for logger in loggers] == before


def test_error_shows_its_traceback_if_asked_for(tmp_path):
    absent = ["caption", str(tmp_path / "absent.png")]
    with pytest.raises(SystemExit, match=r"^error: caption: .*absent\.png: No such file"):
        main(absent)
    with pytest.raises(FileNotFoundError):
        main([*absent, "--debug"])


def test_saved_folder_is_a_model(model, tmp_path, capsys):
    main(["save", str(tmp_path / "saved"), "--from", str(model)])
    assert capsys.readouterr().out == f"{tmp_path / 'saved'}\n"
    out = ["--out", str(tmp_path / "out")]
    main(["generate", "--from", str(tmp_path / "saved"), "--prompt", "a red six", *out])
    assert (tmp_path / "out/sheet.png").is_file()


def test_save_refuses_a_folder_with_other_files(model, tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(SystemExit, match=r"^error: save: .*: not empty, and thesis\.tex was not"):
        main(["save", str(tmp_path), "--from", str(model)])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_home_is_expanded_in_options_with_an_equals_sign(model, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    main(["generate", "--from", str(model), "--prompt", "a red six", "--out=~/pictures"])
    assert (tmp_path / "pictures/sheet.png").is_file()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KeyboardInterrupt(), "error: caption: interrupted\n"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            "error: caption: out of memory",
        ),
        (MemoryError(), "error: caption: out of memory"),
    ],
)
def test_interruption_and_lack_of_memory_are_one_line(error, expected, monkeypatch, capsys):
    def fail(_):
        raise error

    monkeypatch.setitem(COMMANDS, "caption", fail)
    with pytest.raises(SystemExit) as ended:
        main(["caption", "x.png"])
    text = capsys.readouterr().err + (ended.value.code if isinstance(ended.value.code, str) else "")
    assert text.startswith(expected)
    assert ended.value.code not in (0, None)
    with pytest.raises(type(error)):
        main(["caption", "x.png", "--debug"])


def test_home_of_an_unknown_user_is_one_line():
    with pytest.raises(SystemExit, match=r"^error: generate: ~nobody-here/x: no such user"):
        main(["generate", "--from", "~nobody-here/x", "--prompt", "x"])
