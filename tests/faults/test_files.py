"""Artifacts that are missing, damaged or do not fit: one line names the file or folder."""

import json
import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.checkout import contents, copy_checkout, copy_unlocked, run, tiny_params
from tests.faults.stage import STAGES, declared_params, error_of, run_stage
from vqpriors.core.artifact import MANIFEST, new_folder
from vqpriors.data.tokens import METADATA_KEY

READ = [
    (stage, dep)
    for stage, declared in STAGES.items()
    for dep in declared["deps"]
    if dep.startswith("data/")
]
FIRST = dict(reversed(READ))  # the first artifact of each stage
MISSING = [
    row if row in FIRST.items() else pytest.param(*row, marks=pytest.mark.slow) for row in READ
]


@pytest.fixture(scope="module")
def checkout(reproduced, tmp_path_factory):
    return copy_unlocked(reproduced.folder, tmp_path_factory.mktemp("files") / "checkout")


@pytest.fixture
def refusal(checkout, monkeypatch, tmp_path):
    """Run a stage after `damage`; return its error after a check that it changed no file."""
    monkeypatch.chdir(checkout)
    kept = [name for name in ("data", "metrics") if shutil.copytree(name, tmp_path / name)]

    def run_refused(stage, damage):
        damage()
        before = contents(checkout)
        outcome = run_stage(stage, declared_params(stage, tiny_params()), monkeypatch)
        line = error_of(stage, outcome)
        shutil.rmtree(".runs", ignore_errors=True)  # shards encoded before the bad one
        assert contents(checkout) == before
        return line

    yield run_refused
    for name in kept:
        shutil.rmtree(checkout / name)
        shutil.copytree(tmp_path / name, checkout / name)


def payload(folder):
    """Return the main file of an artifact."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST]
    return max(
        files, key=lambda p: (p.suffix in (".safetensors", ".parquet"), "train" in p.name, p)
    )


def flip_a_bit(folder):
    content = bytearray(payload(folder).read_bytes())
    content[len(content) // 2] ^= 1
    payload(folder).write_bytes(content)


def truncate(folder):
    payload(folder).write_bytes(payload(folder).read_bytes()[:-10])


def empty(folder):
    payload(folder).write_bytes(b"")


def fill_with_garbage(folder):
    payload(folder).write_bytes(b"garbage " * 100)


def remove_a_file(folder):
    payload(folder).unlink()


def reseal(folder, change):
    """Change files of an artifact and write a manifest that fits them."""
    with new_folder(folder) as new:
        for path in folder.rglob("*"):
            if path.is_file() and path.name != MANIFEST:
                (new / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, new / path.relative_to(folder))
        change(new)


def each_table(change):
    """Return a change of an artifact's files that changes every parquet table."""

    def apply(folder):
        for path in folder.glob("*.parquet"):
            pq.write_table(change(pq.read_table(path, partitioning=None)), path)

    return apply


def with_column(name, change):
    return lambda table: table.set_column(
        table.schema.get_field_index(name), name, change(table.column(name).combine_chunks())
    ).replace_schema_metadata(table.schema.metadata)


def with_spec(**changes):
    def change(table):
        if METADATA_KEY not in (table.schema.metadata or {}):
            return table  # one without codes
        spec = json.loads(table.schema.metadata[METADATA_KEY]) | changes
        return table.replace_schema_metadata({METADATA_KEY: json.dumps(spec)})

    return change


def narrower(codes):
    width = codes.type.list_size - 1
    return pa.FixedSizeListArray.from_arrays(codes.flatten()[: width * len(codes)], width)


def beyond_the_codebook(codes):
    values = codes.flatten().to_numpy().copy()
    values[-1] = 16
    return pa.FixedSizeListArray.from_arrays(pa.array(values), codes.type.list_size)


def edit_json(name, **changes):
    def apply(folder):
        path = folder / name
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return apply


@pytest.mark.parametrize(("stage", "dep"), MISSING)
def test_missing_folder_is_named(checkout, refusal, stage, dep):
    assert refusal(stage, lambda: shutil.rmtree(checkout / dep)).startswith(f"{dep}")


@pytest.mark.parametrize(("stage", "dep"), READ)
def test_flipped_bit_is_found(checkout, refusal, stage, dep):
    name = payload(checkout / dep).relative_to(checkout).as_posix()
    line = refusal(stage, lambda: flip_a_bit(checkout / dep))
    assert line.startswith(f"{name}: damaged")
    assert "dvc checkout" in line


@pytest.mark.parametrize(
    ("stage", "dep", "damage"),
    [
        ("train_judge", "data/images", truncate),
        ("train_judge", "data/images", empty),
        ("train_judge", "data/images", fill_with_garbage),
        ("train_judge", "data/images", remove_a_file),
        ("encode", "data/tokenizer", truncate),
    ],
)
def test_damaged_file_is_named(checkout, refusal, stage, dep, damage):
    name = payload(checkout / dep).relative_to(checkout).as_posix()
    assert refusal(stage, lambda: damage(checkout / dep)).startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("stage", "dep", "text"),
    [("prepare_text", "data/images", "not JSON"), ("sample", "data/prior", '{"files": 1}')],
)
def test_broken_manifest_is_named(checkout, refusal, stage, dep, text):
    line = refusal(stage, lambda: (checkout / dep / MANIFEST).write_text(text))
    assert line.startswith(f"{dep}/{MANIFEST}: not a manifest; ")


FORMS = {
    "no caption": each_table(lambda table: table.drop_columns(["caption"])),
    "another type": each_table(with_column("caption", lambda captions: captions.cast(pa.binary()))),
    "no rows": each_table(lambda table: table.slice(0, 0)),
    "garbage": fill_with_garbage,
    "a shard less": remove_a_file,
}


# Stages read images as splits (both trainers), as shards (encode) or as captions (prepare_text).
@pytest.mark.parametrize(
    ("stage", "form"),
    [
        *(("train_judge", form) for form in FORMS),
        ("train_tokenizer", "no caption"),
        *(("encode", form) for form in ("another type", "no rows", "a shard less")),
        *(("prepare_text", form) for form in ("no caption", "another type", "no rows")),
    ],
)
def test_images_of_another_form_are_refused(checkout, refusal, stage, form):
    folder = checkout / "data/images"
    assert refusal(stage, lambda: reseal(folder, FORMS[form])).startswith("data/images")


def test_picture_that_can_not_be_decoded_is_refused(checkout, refusal):
    change = with_column("image", lambda images: pa.array([b"no picture"] * len(images)))
    schema = pq.read_schema(payload(checkout / "data/images"))
    broken = each_table(lambda table: change(table).cast(schema))
    line = refusal("encode", lambda: reseal(checkout / "data/images", broken))
    assert re.match(r"data/images/train-.*\.parquet: picture '[\d-]+' can't be decoded; ", line)


TOKENS = {  # a change of the tokens, and the problem that is named
    "tokenizer": (with_spec(fingerprint="0" * 64), "encoded by tokenizer 000000000000"),
    "grid": (with_spec(columns=8), "codes are"),
    "spec": (with_spec(length=49), "no token spec"),
    "no spec": (lambda table: table.replace_schema_metadata(None), "no token spec"),
    "width": (with_column("codes", narrower), "codes are"),
    "codebook": (
        with_column("codes", beyond_the_codebook),
        "code 16 is outside the codebook of 16",
    ),
    "no codes": (lambda table: table.drop_columns(["codes"]), "column"),
    "no caption": (lambda table: table.drop_columns(["caption"]), "column"),
}


@pytest.mark.parametrize(
    ("stage", "change"),
    [*(("train_prior", change) for change in TOKENS), ("sample", "grid"), ("evaluate", "grid")],
)
def test_tokens_of_another_form_are_refused(checkout, refusal, stage, change):
    apply, problem = TOKENS[change]
    line = refusal(stage, lambda: reseal(checkout / "data/tokens", each_table(apply)))
    assert line.startswith("data/tokens")
    assert problem in line


@pytest.mark.parametrize("stage", ["train_prior", "sample", "evaluate"])
def test_tokens_of_an_earlier_tokenizer_are_refused(checkout, refusal, stage):
    retrained = edit_json("config.json", note="another one")
    line = refusal(stage, lambda: reseal(checkout / "data/tokenizer", retrained))
    assert re.search("(by|with) tokenizer", line)


@pytest.mark.parametrize(
    ("stage", "part"), [("sample", "tokenizer"), ("sample", "encoder"), ("evaluate", "encoder")]
)
def test_prior_of_another_tokenizer_or_encoder_is_refused(checkout, refusal, stage, part):
    other = edit_json("config.json", **{part: "0" * 64})
    line = refusal(stage, lambda: reseal(checkout / "data/prior", other))
    assert line.startswith(f"data/prior: was trained with {part} 000000000000")


def test_samples_of_another_tokenizer_are_refused(checkout, refusal):
    other = each_table(with_spec(fingerprint="0" * 64))
    line = refusal("evaluate", lambda: reseal(checkout / "data/samples", other))
    assert line.startswith("data/samples/samples.parquet: encoded by tokenizer ")


def test_unknown_text_encoder_lists_the_kinds(checkout, refusal):
    other = edit_json("config.json", encoder="telepathy")
    line = refusal("train_prior", lambda: reseal(checkout / "data/text", other))
    assert line.startswith("text.encoder: no kind 'telepathy'; choose one of ")


@pytest.mark.parametrize("stage", ["sample", "evaluate"])
def test_text_encoder_of_another_prior_is_refused(checkout, refusal, stage):
    other = edit_json("config.json", note="another one")
    line = refusal(stage, lambda: reseal(checkout / "data/text", other))
    assert line.startswith("data/prior: was trained with encoder ")


@pytest.mark.parametrize(
    ("stage", "damage"),
    [
        ("encode", flip_a_bit),
        pytest.param("train_prior", shutil.rmtree, marks=pytest.mark.slow),
    ],
)
def test_real_command_reports_one_line(reproduced, tmp_path, stage, damage):
    folder = copy_checkout(reproduced.folder, tmp_path / "checkout")
    damage(folder / "data/tokenizer")
    before = contents(folder)
    done = run(folder, "python", "-m", f"stages.{stage}", fails=True)
    assert contents(folder) == before
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith(f"error: {stage}: data/tokenizer/")
