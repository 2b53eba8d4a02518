"""The model card of a generator: what it draws, how to load it, and how well it does."""

import json
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqpriors.core.params import Section, check
from vqpriors.inference.bundle import BESIDE, SETTINGS

if TYPE_CHECKING:
    from vqpriors.inference.generator import Generator


class Origin(Section):
    """Where trained parts come from, as far as it is known.

    Attributes:
        data: The data set's name in params.yaml.
        metrics: What was measured on its test split, by name.
    """

    data: str | None
    metrics: dict[str, float]


UNKNOWN = Origin(data=None, metrics={})


def read_origin(folder: Path) -> Origin:
    """Read where a folder's parts come from: what was saved with them, or the checkout around them.

    A checkout whose params or parts have changed since it was measured tells nothing.
    """
    if (folder / SETTINGS).is_file():
        kept = json.loads((folder / SETTINGS).read_text()).get("origin")
        return check("origin", kept, Origin) if kept else UNKNOWN
    params_file, lock_file, metrics_file = (folder.absolute().parent / name for name in BESIDE)
    params, lock = _read_yaml(params_file), _read_yaml(lock_file)
    if lock and not _is_current(lock, params):
        return UNKNOWN
    metrics = json.loads(metrics_file.read_text()) if metrics_file.is_file() else {}
    numbers = {key: each for key, each in metrics.items() if math.isfinite(each)}
    return Origin(data=_at(params, "data.name"), metrics=numbers)


def write_card(generator: "Generator", name: str, origin: Origin) -> str:
    """Return the card, with the hub's metadata at its head.

    Args:
        generator: What it is about.
        name: What it is called: a hub id, or a folder.
        origin: Where its parts come from.
    """
    prior = _config(generator, "prior")["arch"]
    kind = "text-to-image" if generator.reads_text else "unconditional-image-generation"
    metadata = ["license: mit", "library_name: vqpriors", f"pipeline_tag: {kind}", "tags:"]
    metadata += [f"- {tag}" for tag in ("vqpriors", "vector-quantization", prior)]
    parts = [
        "\n".join(["---", *metadata, "---"]),
        f"# {name}",
        _summary(generator),
        _table(["what", "which"], _facts(generator, origin)),
        _usage(generator, name),
        "Unless told otherwise it draws with:",
        _block("json", json.dumps(generator.sample_settings(), indent=2)),
    ]
    if origin.metrics:
        on = f" of `{origin.data}`" if origin.data else ""
        rows = [(f"`{key}`", f"{value:.4g}") for key, value in origin.metrics.items()]
        parts += [
            "## Numbers",
            f"Measured on the test split{on}:",
            _table(["metric", "value"], rows),
        ]
    return "\n\n".join(parts) + "\n"


def _summary(generator: "Generator") -> str:
    colors = "gray" if generator.image.channels == 1 else "colour"
    what = f"{_size(generator)} pictures in {colors}"
    given = " from captions" if generator.reads_text else ""
    more = ", and writes captions for pictures" if generator.is_captioner else ""
    return (
        f"Draws {what}{given}{more}: a prior writes codes, a tokenizer turns them into a picture."
    )


def _facts(generator: "Generator", origin: Origin) -> list[tuple[str, str]]:
    tokenizer, spec = _config(generator, "tokenizer"), generator.spec
    quantizer = "" if "adopted" in tokenizer else f" with `{tokenizer['quantizer']}`"
    text = f"`{_config(generator, 'text')['encoder']}`"
    if generator.reads_text:
        text += f", captions of up to {generator.encoder.shape.length} tokens"
    facts = [
        ("prior", f"`{_config(generator, 'prior')['arch']}`, {_count(generator.prior)}"),
        ("tokenizer", f"`{tokenizer['arch']}`{quantizer}, {_count(generator.tokenizer)}"),
        ("codes", f"{spec.rows} x {spec.columns} of a codebook of {spec.codebook_size:,}"),
        ("picture", f"{_size(generator)}, {'gray' if generator.image.channels == 1 else 'RGB'}"),
        ("text encoder", text),
    ]
    return facts + ([("trained on", f"`{origin.data}`")] if origin.data else [])


def _usage(generator: "Generator", name: str) -> str:
    prompt = "what to draw" if generator.reads_text else ""
    python = [
        "from vqpriors import Generator",
        f"generator = Generator.load({json.dumps(name)})",
        f"pictures = generator({json.dumps(prompt)}, num_samples=4)",
    ]
    command = (
        f"python -m vqpriors generate --from {shlex.quote(name)} --prompt {json.dumps(prompt)}"
    )
    return "\n\n".join(
        [
            "## Draw",
            "With the package `vqpriors` installed, in Python or on the command line:",
            _block("python", "\n".join(python)),
            _block("sh", f"{command} --num-samples 4"),
        ]
    )


def _config(generator: "Generator", part: str) -> dict[str, Any]:
    return json.loads((generator.folder / part / "config.json").read_text())


def _size(generator: "Generator") -> str:
    return f"{generator.image.size} x {generator.image.size} px"


def _count(module: Any) -> str:
    return f"{sum(each.numel() for each in module.parameters()):,} parameters"


def _table(titles: list[str], rows: list[tuple[str, str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _block(language: str, text: str) -> str:
    return f"```{language}\n{text}\n```"


def _read_yaml(path: Path) -> dict[str, Any]:
    from ruamel.yaml import YAML  # what DVC reads params.yaml with

    return (YAML(typ="safe").load(path) if path.is_file() else None) or {}


def _is_current(lock: dict[str, Any], params: dict[str, Any]) -> bool:
    """Tell whether a checkout was measured with the params and the parts that it has now."""
    stages = lock["stages"]
    made = {out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])}
    deps = [dep for stage in stages.values() for dep in stage.get("deps", [])]
    read = [stage.get("params", {}).get("params.yaml", {}) for stage in stages.values()]
    return (
        "evaluate" in stages
        and all(made.get(dep["path"], dep["md5"]) == dep["md5"] for dep in deps)
        and all(_at(params, key) == value for own in read for key, value in own.items())
    )


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values
