"""The model card of a generator: description, usage and metrics."""

import json
import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vqpriors.core.params import Section, check
from vqpriors.inference.bundle import CHECKOUT_FILES, PARTS, SETTINGS
from vqpriors.inference.settings import settings_as_params
from vqpriors.publish.integrity import dvc_digest

if TYPE_CHECKING:
    from vqpriors.inference.generator import Generator


class Provenance(Section):
    """The data set and the metrics of trained parts, if known.

    Attributes:
        data: The data set's name in params.yaml; None if unknown.
        split: The split that the metrics are of; None if unknown.
        metrics: Metrics on its evaluated split, by name; empty if unknown.
    """

    data: str | None
    split: str | None
    metrics: dict[str, float | str]


UNKNOWN = Provenance(data=None, split=None, metrics={})


def read_provenance(folder: Path) -> Provenance:
    """Read the provenance of a folder's parts, from its settings.json or from its checkout.

    It is unknown if the checkout's params or parts have changed since `evaluate` ran.
    """
    if (folder / SETTINGS).is_file():
        saved = json.loads((folder / SETTINGS).read_text()).get("provenance")
        # saved models of earlier versions do not name the split
        return check("provenance", {"split": None} | saved, Provenance) if saved else UNKNOWN
    params_file, lock_file, metrics_file = (
        folder.absolute().parent / name for name in CHECKOUT_FILES
    )
    params, lock = _read_yaml(params_file), _read_yaml(lock_file)
    if lock and not (_is_current(lock, params) and _has_parts_of(lock, folder)):
        return UNKNOWN
    metrics = json.loads(metrics_file.read_text()) if metrics_file.is_file() else {}
    known = {
        key: each for key, each in metrics.items() if isinstance(each, str) or math.isfinite(each)
    }
    return Provenance(
        data=_at(params, "data.name"), split=_at(params, "evaluate.split"), metrics=known
    )


def write_card(generator: "Generator", name: str, provenance: Provenance) -> str:
    """Return the card as Markdown, with the metadata for the Hub at its head.

    Args:
        generator: The generator.
        name: Its name: a Hub id, or a folder's name.
        provenance: The data set and the metrics of its parts.
    """
    kind = "text-to-image" if generator.reads_text else "unconditional-image-generation"
    metadata = ["license: mit", "library_name: vqpriors", f"pipeline_tag: {kind}", "tags:"]
    metadata += [f"- {tag}" for tag in ("vqpriors", "vector-quantization", generator.arch)]
    parts = [
        "\n".join(["---", *metadata, "---"]),
        f"# {name}",
        _summary(generator),
        _table(["part", "value"], _facts(generator, provenance)),
        _usage(generator, name),
        "Default settings:",
        _block(
            "json", json.dumps(settings_as_params(generator.defaults, generator.sampler), indent=2)
        ),
    ]
    if provenance.metrics:
        of = f" of `{provenance.data}`" if provenance.data else ""
        rows = [
            (f"`{key}`", value if isinstance(value, str) else f"{value:.4g}")
            for key, value in provenance.metrics.items()
        ]
        parts += [
            "## Metrics",
            f"On the {provenance.split or 'test'} split{of}:",
            _table(["metric", "value"], rows),
        ]
    return "\n\n".join(parts) + "\n"


def _summary(generator: "Generator") -> str:
    colors = "gray" if generator.image.channels == 1 else "colour"
    pictures = f"{_size(generator)} pictures in {colors}"
    source = " from captions" if generator.reads_text else ""
    more = ", and captions pictures" if generator.is_captioner else ""
    return f"Draws {pictures}{source}{more}: a prior samples codes, a tokenizer decodes them."


def _facts(generator: "Generator", provenance: Provenance) -> list[tuple[str, str]]:
    tokenizer, spec = _config(generator, "tokenizer"), generator.spec
    quantizer = "" if "adopted" in tokenizer else f" with `{tokenizer['quantizer']}`"
    text = f"`{_config(generator, 'text')['encoder']}`"
    if generator.reads_text:
        text += f", captions of up to {generator.encoder.shape.length} tokens"
    facts = [
        ("prior", f"`{generator.arch}`, {_count(generator.prior)}"),
        ("tokenizer", f"`{tokenizer['arch']}`{quantizer}, {_count(generator.tokenizer)}"),
        ("codes", f"{spec.rows} x {spec.columns} of a codebook of {spec.codebook_size:,}"),
        ("picture", f"{_size(generator)}, {'gray' if generator.image.channels == 1 else 'RGB'}"),
        ("text encoder", text),
    ]
    return facts + ([("trained on", f"`{provenance.data}`")] if provenance.data else [])


def _usage(generator: "Generator", name: str) -> str:
    prompt = "a description" if generator.reads_text else ""
    python = [
        "from vqpriors import Generator",
        "",
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
    from ruamel.yaml import YAML  # DVC reads params.yaml with it, too

    return (YAML(typ="safe").load(path) if path.is_file() else None) or {}


def _is_current(lock: dict[str, Any], params: dict[str, Any]) -> bool:
    """Return whether `evaluate` ran with the current params and parts of a checkout."""
    stages = lock["stages"]
    outputs = {
        out["path"]: out["md5"] for stage in stages.values() for out in stage.get("outs", [])
    }
    deps = [dep for stage in stages.values() for dep in stage.get("deps", [])]
    read = [stage.get("params", {}).get("params.yaml", {}) for stage in stages.values()]
    return (
        "evaluate" in stages
        and all(outputs.get(dep["path"], dep["md5"]) == dep["md5"] for dep in deps)
        and all(_at(params, key) == value for own in read for key, value in own.items())
    )


def _has_parts_of(lock: dict[str, Any], folder: Path) -> bool:
    """Return whether the parts in a folder are those that the stages of dvc.lock wrote."""
    outputs = [out for stage in lock["stages"].values() for out in stage.get("outs", [])]
    digests = {Path(out["path"]).name: out["md5"] for out in outputs if "md5" in out}
    return all(digests.get(part) == dvc_digest(folder / part) for part in PARTS)


def _at(values: Any, key: str) -> Any:
    for part in key.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return values
