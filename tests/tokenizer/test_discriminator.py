import pytest
import torch
from torch.testing import assert_close

from tests.tiny import phase, randomised, runtime_config, train_config, vqvae
from vqpriors.tokenizer.base.discriminator import PatchDiscriminator, sharpening_losses
from vqpriors.training.image_examples import ImageExamples
from vqpriors.training.loop import train

DECODER_LOSSES = ("adversarial", "features")


def pictures(count=4, *, size=16):
    return torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1


def sharpening(**changes):
    """Return a tokenizer that sharpens, with random weights."""
    torch.manual_seed(0)
    model = vqvae(image_size=16, width=8, **changes)
    model.add_discriminator(width=4)
    model.begin_phase(sharpen=True)
    return randomised(model).train()


def gradients(model, name):
    """Return the gradient of one loss by parameter; None where it has none."""
    model.zero_grad()
    model.losses({"images": pictures()})[name].backward()
    return {key: value.grad for key, value in model.named_parameters()}


@pytest.mark.parametrize("name", [*DECODER_LOSSES, "discriminator"])
def test_each_loss_trains_either_the_decoder_or_the_discriminator(name):
    found = gradients(sharpening(), name)
    is_discriminator = name == "discriminator"
    for key, gradient in found.items():
        is_trained = gradient is not None and gradient.abs().sum() > 0
        if key.startswith("discriminator."):
            assert is_trained == is_discriminator, key
        elif key.startswith("decoder."):
            assert is_trained != is_discriminator, key


def test_adversarial_gradient_is_as_large_as_that_of_the_reconstruction():
    model, norms = sharpening(), {}
    for name in ("reconstruction", "adversarial"):
        norms[name] = gradients(model, name)["decoder.up.2.weight"].norm()
    assert_close(norms["adversarial"], norms["reconstruction"])
    assert norms["reconstruction"] > 0


def test_losses_equal_their_formulas():
    torch.manual_seed(0)
    discriminator = randomised(PatchDiscriminator(channels=1, width=4))
    real, restored = pictures(), pictures().flip(0) * 0.5
    unused = {"reconstruction": torch.zeros(()), "last_weight": torch.zeros(())}
    found = sharpening_losses(discriminator, real, restored, **unused)
    (high, of_real), (low, of_restored) = discriminator(real), discriminator(restored)
    assert high.shape == (4, 1, 2, 2)
    assert_close(found["adversarial"], -low.mean())
    assert_close(
        found["discriminator"], ((1 - high).clamp(min=0).mean() + (1 + low).clamp(min=0).mean()) / 2
    )
    shares = [
        (a - b).abs().mean() / a.abs().mean() for a, b in zip(of_real, of_restored, strict=True)
    ]
    assert len(shares) == 3
    assert_close(found["features"], sum(shares) / 3)
    assert sharpening_losses(discriminator, real, real, **unused)["features"] == 0


def test_training_teaches_the_discriminator_and_sharpens_the_decoder_only(tmp_path):
    torch.manual_seed(0)
    model = vqvae(image_size=16, width=8)
    model.add_discriminator(width=4)
    pixels = ((pictures(32) + 1) * 127.5).round().byte().numpy()
    states, judged = [], []

    def look(averaged):
        states.append({k: v.clone() for k, v in averaged.state_dict().items()})
        judged.append(float(averaged.losses({"images": pictures()}).get("discriminator", 0)))
        return {}

    frozen = {"frozen": ["encoder", "quantizer"], "options": {"sharpen": True}}
    trained = train(
        model,
        phases={"plain": phase(epochs=2), "sharpen": phase(epochs=3, lr=0.02, **frozen)},
        config=train_config(),
        runtime=runtime_config(),
        training=ImageExamples(pixels),
        validation=ImageExamples(pixels[:4]),
        seed=0,
        folder=tmp_path,
        log=lambda step, values: None,
        callback=look,
    )
    plain, last = states[1], states[-1]
    moved = {k.split(".")[0] for k, v in last.items() if not torch.equal(v, plain[k])}
    assert moved == {"decoder", "discriminator"}
    for name, value in states[0].items():  # idle in the first phase
        if name.startswith("discriminator."):
            assert torch.equal(value, plain[name])
    assert judged[-1] < 0.5  # untrained it is about 1
    assert all(torch.equal(trained.best[name], value) for name, value in last.items())


def test_tokenizer_without_a_discriminator_has_no_weights_of_one():
    model = vqvae()
    assert not any(name.startswith("discriminator") for name in model.state_dict())
    assert set(model.losses({"images": pictures(size=8)})) == {"reconstruction", "commitment"}
