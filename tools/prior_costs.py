"""Measure the sampling cost of each prior at 128 px; write the table of docs/priors.md.

Counts the floating point operations that the sampler needs for one picture without guidance, with
captions of 64 and of 256 tokens. The priors are untrained, which does not change the counts.
"""

import argparse
import re
import time
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import stages  # noqa: F401 puts src of this checkout on the path
from vqpriors.core.params import check
from vqpriors.core.registry import kind_names, load_kind
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.sampling.base.choosing import choose_sampler
from vqpriors.sampling.base.sampler import PictureRandom

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "priors.md"
BETWEEN_MARKERS = re.compile(r"(?<=<!-- costs -->\n).*?(?=<!-- /costs -->)", re.DOTALL)
GRID, CODES, VOCABULARY = (32, 32), 4096, 2048
SHORT, LONG, STEPS = 64, 256, 12
SIZE = {"width": 256, "depth": 12, "heads": 8, "text_depth": 2, "positions": "rope"}
SIZE |= {"dropout": 0.0, "latent_width": 64, "latent_depth": 1}


def main() -> None:
    """Measure every prior and write the table between the markers of the page."""
    description = (__doc__ or "").partition("\n")[0]
    argparse.ArgumentParser("python -m tools.prior_costs", description=description).parse_args()
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    rows = []
    for kind in kind_names("vqpriors.priors"):
        rows.append(_row(kind, params))
        print(rows[-1], flush=True)
    lines = [
        "| prior | parameters | TFLOP per picture | with a caption 4 times longer | seconds |",
        "| --- | --- | --- | --- | --- |",
        *rows,
    ]
    text = PAGE.read_text()
    PAGE.write_text(BETWEEN_MARKERS.sub(lambda _: "\n".join(lines) + "\n", text))


def _row(kind: str, params: dict[str, Any]) -> str:
    short, parameters, seconds = _cost(kind, params, SHORT)
    long, _, _ = _cost(kind, params, LONG)
    return (
        f"| `{kind}` | {parameters / 1e6:.1f} M | {short / 1e12:.3f} | "
        f"+{(long / short - 1):.1%} | {seconds:.1f} |"
    )


@torch.inference_mode()
def _cost(kind: str, params: dict[str, Any], length: int) -> tuple[int, int, float]:
    """Return operations for one picture, number of parameters, and seconds without counting."""
    module = load_kind("vqpriors.priors", kind, param="prior.arch")
    values = {key: SIZE.get(key, value) for key, value in params["prior"][kind].items()}
    torch.manual_seed(0)
    prior = module.build(
        check(f"prior.{kind}", values, module.Config),
        grid=GRID,
        codebook_size=CODES,
        text=TextShape(length, VOCABULARY, 0),
    ).eval()
    name = choose_sampler("auto", prior.primitive)
    sampling = load_kind("vqpriors.sampling", name, param="sample.sampler")
    sampler = sampling.build(check(f"sample.{name}", params["sample"][name], sampling.Config))
    tokens = torch.randint(VOCABULARY, (1, length), generator=torch.Generator().manual_seed(0))
    text = TextInput(tokens, torch.ones_like(tokens, dtype=torch.bool), None)

    def draw() -> None:
        random = PictureRandom(range(1), seed=0, device=torch.device("cpu"))
        sampler(prior, text, text, guidance=1.0, steps=STEPS, random=random)

    began = time.perf_counter()
    draw()
    seconds = time.perf_counter() - began
    # The counter does not count fused attention on CPUs.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        draw()
    return counter.get_total_flops(), sum(p.numel() for p in prior.parameters()), seconds


if __name__ == "__main__":
    main()
