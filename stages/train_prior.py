"""Train the prior that `prior.arch` names on codes and captions, in `data/prior/`."""

from pathlib import Path

from stages.command import run
from stages.training import session
from vqpriors import priors, text
from vqpriors.artifact import save_model, verify
from vqpriors.params import Params, Share
from vqpriors.tokens import read_tokens
from vqpriors.training.loop import TrainConfig, train
from vqpriors.training.token_data import token_examples

TOKENS = Path("data/tokens")
TEXT = Path("data/text")


def main(params: Params) -> None:
    """Train and save the best weights and the last."""
    arch = params.kind("prior.arch", "vqpriors.priors")
    config = params.section("prior.train", TrainConfig)
    dropout = params.value("prior.caption_dropout", Share)
    encoder = text.load(TEXT)
    tokenizer = verify(Path("data/tokenizer"))
    tokens = {s: read_tokens(TOKENS, s, tokenizer=tokenizer) for s in ("train", "validation")}
    spec = tokens["train"].spec
    with session("train_prior", params) as work:
        description = priors.describe(
            arch=arch.name,
            config=arch.config,
            grid=(spec.rows, spec.columns),
            codebook_size=spec.codebook_size,
            text=encoder.shape,
            tokenizer=tokenizer,
            encoder=verify(TEXT),
        )
        model = priors.build(description)
        examples = {
            split: token_examples(part.codes, part.captions, encode=encoder.encode, dropout=dropout)
            for split, part in tokens.items()
        }
        trained = train(
            model,
            phases=arch.config.phases,
            config=config,
            training=examples["train"],
            validation=examples["validation"],
            seed=work.seed,
            folder=work.folder,
            log=work.log,
        )
        if work.is_main:
            work.report(trained, {"parameters": sum(p.numel() for p in model.parameters())})
            save_model(
                Path("data/prior"), config=description, weights=trained.best, last=trained.last
            )


if __name__ == "__main__":
    run("train_prior", main)
