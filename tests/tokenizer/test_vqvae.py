import numpy as np
import pytest
import torch
from torch.testing import assert_close

from tests.tiny import ema, vqvae
from vqpriors.quantizers.fsq import FiniteScalarQuantizer
from vqpriors.tokenizer.base.coding import decode_codes, encode_pixels
from vqpriors.training.image_examples import ImageExamples

SHAPES = [
    (28, 4, 1, 7),
    (28, 4, 3, 7),
    (28, 2, 3, 14),
    (128, 4, 3, 32),
    (128, 8, 1, 16),
    (128, 8, 3, 16),
]


def trained(**changes):
    """Return a tokenizer with distinct codes, initialised by one batch."""
    torch.manual_seed(0)
    model = vqvae(ema(num_codes=16, dim=4), width=8, **changes)
    for parameter in model.parameters():
        parameter.data *= 2
    model.losses({"images": torch.rand(16, 1, 8, 8) * 2 - 1})
    model.quantizer.end_update()
    return model.eval()


def pictures(count, *, channels=1, size=8):
    shape = (count, channels, size, size)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize(("size", "stride", "channels", "grid"), SHAPES)
def test_grid_is_the_image_size_over_the_stride(size, stride, channels, grid):
    model = vqvae(image_size=size, stride=stride, channels=channels).eval()
    images = torch.rand(2, channels, size, size) * 2 - 1
    codes = model.encode(images)
    assert (model.rows, model.columns) == (grid, grid)
    assert (codes.shape, codes.dtype) == ((2, grid * grid), torch.int64)
    assert model.decode(codes).shape == images.shape
    assert set(model.losses({"images": images})) == {"reconstruction", "commitment"}


@pytest.mark.parametrize(("size", "stride"), [(28, 8), (28, 3), (30, 4), (128, 12)])
def test_invalid_stride_is_refused(size, stride):
    expected = (
        "tokenizer.vqvae.stride: must be a power of 2 that divides the image size, "
        f"got stride={stride} for {size} px"
    )
    with pytest.raises(ValueError, match="stride") as caught:
        vqvae(image_size=size, stride=stride)
    assert str(caught.value) == expected


def test_reconstruction_without_weight_is_refused():
    with pytest.raises(ValueError, match=r"mse_weight and l1_weight must not both be 0"):
        vqvae(mse_weight=0.0, l1_weight=0.0)


@torch.no_grad()
def test_code_of_each_cell_is_the_nearest_to_the_encoders_vector_at_that_cell():
    model, images = trained(image_size=16), torch.rand(3, 1, 16, 16) * 2 - 1
    vectors, book = model.encoder(images), model.codebook()  # (B, D, 4, 4), (K, D)
    nearest = [
        [
            (book - vectors[picture, :, row, column]).square().sum(1).argmin().item()
            for row in range(4)
            for column in range(4)
        ]
        for picture in range(3)
    ]
    assert len(np.unique(nearest)) > 4
    assert model.encode(images).tolist() == nearest


@torch.no_grad()
def test_decoder_gets_the_vector_of_each_code_at_its_cell():
    model, codes, seen = trained(image_size=16), torch.arange(16)[None], []
    model.decoder.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    model.decode(codes)
    for cell in range(16):
        assert_close(seen[0][0, :, cell // 4, cell % 4], model.codebook()[cell])


@torch.no_grad()
def test_encoder_gets_pixels_in_the_range_of_training():
    model, pixels, seen = trained(), pictures(5), []
    model.encoder.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    encode_pixels(model, pixels, batch_size=5, precision="no")
    model.losses(ImageExamples(pixels).batch(torch.arange(5), None))
    assert_close(*seen)
    assert (seen[0].min(), seen[0].max()) == (-1, 1)


def test_encode_gives_the_codes_of_the_forward_pass():
    model = trained()
    images = torch.rand(5, 1, 8, 8) * 2 - 1
    seen = []
    hook = model.quantizer.register_forward_hook(lambda _, __, output: seen.append(output.codes))
    losses = model.losses({"images": images})
    hook.remove()
    codes = model.encode(images)
    assert codes.unique().numel() > 2
    assert torch.equal(seen[0].view(5, 4), codes)
    grid = model.quantizer.decode(codes).view(5, 2, 2, 4).permute(0, 3, 1, 2)
    error = model.decoder(grid) - images
    expected = error.square().mean() + 0.5 * error.abs().mean()
    assert_close(losses["reconstruction"], expected)


def test_decode_is_deterministic_and_stays_in_range():
    model = trained()
    for parameter in model.decoder.parameters():
        parameter.data *= 5
    codes = torch.randint(16, (6, 4))
    images = model.decode(codes)
    assert torch.equal(model.decode(codes), images)
    assert images.abs().max() == 1.0


def test_phase_without_quantizing_has_no_commitment_and_keeps_the_codebook():
    model = trained().train()
    before = model.quantizer.codebook.clone()
    model.begin_phase(quantize=False)
    assert set(model.losses({"images": torch.rand(2, 1, 8, 8)})) == {"reconstruction"}
    model.quantizer.end_update()
    assert torch.equal(model.quantizer.codebook, before)
    model.begin_phase()
    assert set(model.losses({"images": torch.rand(2, 1, 8, 8)})) == {
        "reconstruction",
        "commitment",
    }
    model.quantizer.end_update()
    assert not torch.equal(model.quantizer.codebook, before)


QUANTIZERS = {
    "fsq": lambda: FiniteScalarQuantizer(levels=[3, 4]),
    "normalised": lambda: ema(is_normalised=True),
}


@pytest.mark.parametrize("kind", QUANTIZERS)
def test_decoder_gets_bounded_vectors_with_and_without_quantizing(kind):
    torch.manual_seed(0)
    model, seen = vqvae(QUANTIZERS[kind]()), []
    model.encoder.project.weight.data *= 1000
    model.decoder.register_forward_hook(lambda _, given, __: seen.append(given[0]))
    for quantize in (False, True):
        model.begin_phase(quantize=quantize)
        model.losses({"images": torch.rand(4, 1, 8, 8) * 2 - 1})["reconstruction"].backward()
    for vectors in seen:
        assert vectors.shape == (4, 2, 2, 2)
        assert vectors.abs().max() <= 1.01
    assert not torch.equal(*seen)


def test_encoder_learns_through_the_quantizer():
    model = trained().train()
    model.losses({"images": torch.rand(4, 1, 8, 8)})["reconstruction"].backward()
    assert all(p.grad.abs().sum() > 0 for p in model.encoder.project.parameters())


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_codes_and_pictures_do_not_depend_on_the_batch_size(batch_size):
    model, pixels = trained(), pictures(7)
    codes = encode_pixels(model, pixels, batch_size=7, precision="no")
    assert (codes.dtype, codes.shape) == (np.uint16, (7, 4))
    assert (encode_pixels(model, pixels, batch_size=batch_size, precision="no") == codes).all()
    restored = decode_codes(model, codes, batch_size=7, precision="no")
    assert (restored.dtype, restored.shape) == (np.uint8, pixels.shape)
    again = decode_codes(model, codes, batch_size=batch_size, precision="no")
    assert np.abs(again.astype(int) - restored).max() <= 1


def test_empty_batch_has_no_codes():
    codes = encode_pixels(trained(), pictures(0), batch_size=4, precision="no")
    assert codes.shape == (0, 4)
    assert decode_codes(trained(), codes, batch_size=4, precision="no").shape == (0, 1, 8, 8)


def test_quantizer_without_a_loss_trains():
    model = vqvae(FiniteScalarQuantizer(levels=[3, 4]))
    losses = model.losses({"images": torch.rand(2, 1, 8, 8)})
    assert set(losses) == {"reconstruction"}
    losses["reconstruction"].backward()
    assert model.num_codes == 12
