"""Peers of the stepwise priors: GPT-2 of transformers, and a decoder of x-transformers.

Both have torch's fused attention, keep keys and values, and draw from all codes as likely as they
say. In bfloat16 they draw with weights turned to it once.
"""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed import ours
from benchmarks.speed.contest import Side
from benchmarks.speed.sizes import Size
from vqpriors.core.hardware import Precision

TRANSFORMERS, X_TRANSFORMERS = "transformers", "x-transformers"
NAMES = {TRANSFORMERS: "GPT2LMHeadModel", X_TRANSFORMERS: "AutoregressiveWrapper"}


def gpt2(size: Size) -> Any:
    """Build a GPT-2 without dropout and with an output layer of its own."""
    from transformers import GPT2Config, GPT2LMHeadModel

    settings: dict[str, Any] = {"attn_implementation": "sdpa", "tie_word_embeddings": False}
    config = GPT2Config(
        vocab_size=size.num_codes + 1,
        n_positions=size.length + 1,
        n_embd=size.width,
        n_layer=size.depth,
        n_head=size.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=size.num_codes,
        eos_token_id=None,
        **settings,
    )
    return GPT2LMHeadModel(config)


def x_transformer(size: Size) -> Any:
    """Build a decoder with rotary positions."""
    from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper

    decoder = Decoder(
        dim=size.width,
        depth=size.depth,
        heads=size.heads,
        attn_dim_head=size.width // size.heads,
        attn_flash=True,
        rotary_pos_emb=True,
        rotary_emb_dim=size.width // size.heads,
    )
    net = TransformerWrapper(
        num_tokens=size.num_codes + 1,
        max_seq_len=size.length + 1,
        use_abs_pos_emb=False,
        attn_layers=decoder,
    )
    return AutoregressiveWrapper(net)


BUILDERS = {TRANSFORMERS: gpt2, X_TRANSFORMERS: x_transformer}


def training_side(peer: str, size: Size, precision: Precision) -> Side:
    """Return a peer that makes a training step on random codes."""
    model = BUILDERS[peer](size)
    tokens = torch.randint(size.num_codes, (size.batch, size.length + 1))

    def loss() -> Tensor:
        if peer == X_TRANSFORMERS:
            return model(tokens)
        logits = model(tokens[:, :-1]).logits
        return F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())

    run = ours.peer_training(model, loss, precision)
    return Side(NAMES[peer], run, ours.num_parameters(model), peer)


def drawing_side(peer: str, size: Size, count: int, precision: Precision) -> Side:
    """Return a peer that draws the codes of some pictures."""
    model = BUILDERS[peer](size).eval().requires_grad_(False).to(ours.DTYPES[precision])
    begin = torch.full((count, 1), size.num_codes)
    run = torch.inference_mode()(partial(model.generate, begin, **_settings(peer, size.length)))
    return Side(NAMES[peer], run, ours.num_parameters(model), peer)


def _settings(peer: str, length: int) -> dict[str, Any]:
    if peer == X_TRANSFORMERS:
        return {"seq_len": length, "filter_logits_fn": lambda logits: logits}
    settings = {"do_sample": True, "top_k": 0, "use_cache": True, "pad_token_id": 0}
    return settings | {"min_new_tokens": length, "max_new_tokens": length}
