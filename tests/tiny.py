"""The smallest useful models and settings, for tests of the code around them."""

import torch

from vqpriors.core.params import check
from vqpriors.core.phases import Phase
from vqpriors.data.text_inputs import TextInput, TextShape
from vqpriors.priors.cftn.model import CFTN
from vqpriors.priors.cftn2.model import CFTN2
from vqpriors.priors.lstm.model import LSTM
from vqpriors.priors.transformer.model import Transformer
from vqpriors.quantizers.ema import VectorQuantizerEMA
from vqpriors.tokenizer.vqvae import VQVAE
from vqpriors.training.config import (
    RuntimeConfig,
    SharedTrainConfig,
    StageTrainConfig,
    TrainConfig,
)

TEXT = TextShape(length=5, vocabulary=9, feature_width=0)
NO_TEXT = TextShape(length=0, vocabulary=0, feature_width=0)

PHASE = {"epochs": 1, "lr": 0.01, "frozen": [], "weights": {}, "options": {}}
TRAIN = {
    "optimizer": "adamw",
    "batch_size": 4,
    "grad_accum_steps": 1,
    "warmup_steps": 2,
    "weight_decay": 0.01,
    "betas": [0.9, 0.99],
    "ema_decay": 0.9,
}
SHARED_TRAIN = {
    "clip_norm": 1.0,
    "min_lr_ratio": 0.1,
    "precision": "no",
    "compile": False,
    "compile_layers": False,
    "log_steps": 2,
}
RUNTIME = {
    "checkpoint_steps": 0,
    "checkpoint_seconds": 0.0,
    "resume": "auto",
    "tracking": {"wandb": False, "mlflow": False, "tensorboard": False, "project": "tests"},
}


def phase(**changes):
    return check("phases.main", PHASE | changes, Phase)


def train_config(**changes):
    stage = {key: value for key, value in changes.items() if key not in SHARED_TRAIN}
    shared = SHARED_TRAIN | {k: v for k, v in changes.items() if k in SHARED_TRAIN}
    return TrainConfig(
        check("train", shared, SharedTrainConfig),
        check("tiny.train", TRAIN | stage, StageTrainConfig),
        "tiny.train",
    )


def runtime_config(**changes):
    return check("runtime", RUNTIME | changes, RuntimeConfig)


def ema(**changes):
    settings = {"num_codes": 4, "dim": 2, "decay": 0.9, "is_normalised": False}
    settings |= {"commitment": 0.25, "dead_code_threshold": 0.05}
    return VectorQuantizerEMA(**settings | changes)


def vqvae(quantizer=None, **changes):
    settings = {"image_size": 8, "channels": 1, "width": 4, "stride": 4, "residual_blocks": 1}
    settings |= {"residual_width": 2, "mse_weight": 1.0, "l1_weight": 0.5}
    return VQVAE(quantizer=ema() if quantizer is None else quantizer, **settings | changes)


def vq_model(**changes):
    """Return a model of diffusers that halves pictures and uses most of its codes."""
    from diffusers import VQModel

    settings = {"block_out_channels": (8, 8), "norm_num_groups": 4, "latent_channels": 3}
    settings |= {"down_block_types": ("DownEncoderBlock2D",) * 2, "num_vq_embeddings": 16}
    settings |= {"up_block_types": ("UpDecoderBlock2D",) * 2}
    torch.manual_seed(0)
    model = VQModel(**settings | changes)
    torch.nn.init.normal_(model.quantize.embedding.weight)
    return model.eval()


def transformer(**changes):
    settings = {"grid": (2, 3), "codebook_size": 7, "text": TEXT, "width": 8, "depth": 2}
    settings |= {"heads": 2, "text_depth": 1, "positions": "rope", "dropout": 0.0}
    return Transformer(**settings | changes)


MASKED = {"mask_schedule": "uniform", "label_smoothing": 0.0}


def cftn(**changes):
    settings = {"grid": (2, 3), "codebook_size": 7, "text": TEXT, "width": 8, "depth": 2}
    settings |= {"heads": 2, "text_depth": 1, "positions": "rope", "dropout": 0.0}
    return CFTN(**settings | MASKED | {"box_mask_prob": 0.0} | changes)


def cftn2(**changes):
    settings = {"grid": (2, 3), "codebook_size": 7, "text": TEXT, "width": 8, "depth": 2}
    settings |= {"heads": 2, "positions": "rope", "dropout": 0.0, "full_mask_prob": 0.0}
    settings |= {"two_way": False}
    settings |= {"full_caption_mask_prob": 0.0, "stem_depth": 2}
    settings |= {"latent_width": 3, "latent_depth": 1, "flow_layers": 2, "free_nats": 0.0}
    return CFTN2(**settings | MASKED | changes)


def lstm(**changes):
    settings = {"grid": (2, 3), "codebook_size": 7, "text": TEXT, "width": 8, "depth": 2}
    settings |= {"heads": 2, "text_depth": 1, "dropout": 0.0}
    return LSTM(**settings | changes)


def randomised(module, seed=0):
    """Draw weights large enough for every input to change the output."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        if parameter.ndim > 1:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.5
    return module.eval()


def captions(*rows, shape=TEXT):
    """Encode captions given as token ids: a row starts with token 1 and is padded with 0."""
    tokens = torch.zeros(len(rows), shape.length, dtype=torch.int64)
    for row, ids in enumerate(rows):
        tokens[row, : 1 + len(ids)] = torch.tensor([1, *ids])
    return TextInput(tokens, tokens != 0, None)


def no_captions(count):
    tokens = torch.zeros(count, 0, dtype=torch.int64)
    return TextInput(tokens, tokens.bool(), None)


def prior_batch(prior, codes, text, *, draws=None, seed=0):
    """Return a batch for a prior's losses; draws are random unless given."""
    if draws is None:
        generator = torch.Generator().manual_seed(seed)
        draws = torch.rand(len(codes), prior.num_draws, generator=generator)
    batch = {"codes": codes, "draws": draws, "text_tokens": text.tokens}
    batch |= {"text_mask": text.text_mask, "text_is_empty": text.text_mask.sum(1) <= 1}
    batch |= {
        "place": torch.arange(len(codes)),
        "batch_size": torch.full((len(codes),), len(codes)),
    }
    return batch if text.features is None else batch | {"text_features": text.features}


def codes(count, *, length=6, codebook_size=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(codebook_size, (count, length), generator=generator)
