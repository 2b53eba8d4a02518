"""A small untrained generator, saved as artifacts, and its pictures."""

import numpy as np
import torch
from dvc.utils.serialize import dump_yaml
from PIL import Image

from tests.checkout import set_value, tiny_params
from tests.tiny import randomised
from vqpriors.core.artifact import save_model, verify
from vqpriors.core.params import Params
from vqpriors.priors.base.loading import build_prior, describe_prior
from vqpriors.text.base.encoder import save_encoder
from vqpriors.tokenizer.base.loading import build_tokenizer, describe_tokenizer, load_tokenizer

CAPTIONS = ["a red seven", "a green six", "a red six"]
SIZE = 8


def contiguous(model):
    return {name: value.contiguous() for name, value in model.state_dict().items()}


def params_of(arch, **changes):
    """Return params with a kind of prior and values at dotted keys; `__` stands for a dot."""
    values = tiny_params()
    values["prior"]["arch"] = arch
    # Untrained weights make one code the likeliest by far.
    values["sample"]["maskgit"] |= {"temperature": 5.0, "temperature_schedule": "constant"}
    for key, value in changes.items():
        set_value(values, key.replace("__", "."), value)
    return values


def make_parts(folder, arch, **changes):
    """Make a tokenizer, a text encoder and a prior of that kind, and params.yaml beside them."""
    torch.manual_seed(0)
    values = params_of(arch, **changes)
    params = Params(values)
    kind = params.kind("tokenizer.arch", "vqpriors.tokenizer")
    quantizer = params.kind("tokenizer.quantizer", "vqpriors.quantizers")
    described = describe_tokenizer(
        arch=kind.name,
        config=kind.config,
        quantizer=quantizer.name,
        quantizer_config=quantizer.config,
        image_size=SIZE,
        channels=3,
    )
    model = build_tokenizer(described)
    torch.nn.init.normal_(model.quantizer.codebook)
    for parameter in model.encoder.parameters():
        parameter.data *= 4  # untrained, it would give all cells of all pictures the same code
    save_model(folder / "tokenizer", config=described, weights=contiguous(model))
    _, spec = load_tokenizer(folder / "tokenizer", torch.device("cpu"))
    reader = params.kind("text.encoder", "vqpriors.text")
    encoder = reader.module.build(reader.config, captions=CAPTIONS)
    save_encoder(folder / "text", reader.name, encoder)
    prior = params.kind("prior.arch", "vqpriors.priors")
    described = describe_prior(
        arch=arch,
        config=prior.config,
        grid=(spec.rows, spec.columns),
        codebook_size=spec.codebook_size,
        text=encoder.shape,
        tokenizer=spec.fingerprint,
        encoder=verify(folder / "text"),
    )
    model = randomised(build_prior(described))
    for name, value in model.named_parameters():
        if name.endswith("gate"):
            torch.nn.init.constant_(value, 0.5)  # closed gates would block captions
    weights = contiguous(model)
    save_model(folder / "prior", config=described, weights=weights, last=weights)
    dump_yaml(str(folder.parent / "params.yaml"), values)


def picture(seed=0, size=(SIZE, SIZE)):
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def half_mask():
    """Return a mask of `picture()` whose upper half is marked."""
    mask = Image.new("L", (SIZE, SIZE))
    mask.paste(255, (0, 0, SIZE, SIZE // 2))
    return mask


def same(first, second):
    return [a.tobytes() for a in first] == [b.tobytes() for b in second]
