"""Networks of other packages that the benchmarks compare with."""

from typing import Any

from benchmarks.speed import checkouts

NUM_MICRO, MICRO_WIDTH = 5, 32  # micro-conditions of aMUSEd: sizes and scores


def gpt2(*, num_tokens: int, max_length: int, width: int, depth: int, heads: int) -> Any:
    """Build a GPT-2 without dropout and without tied embeddings; its last token is the start."""
    from transformers import GPT2Config, GPT2LMHeadModel

    settings: dict[str, Any] = {"attn_implementation": "sdpa", "tie_word_embeddings": False}
    config = GPT2Config(
        vocab_size=num_tokens,
        n_positions=max_length,
        n_embd=width,
        n_layer=depth,
        n_head=heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=num_tokens - 1,
        eos_token_id=None,
        **settings,
    )
    return GPT2LMHeadModel(config)


def x_transformer(*, num_tokens: int, max_length: int, width: int, depth: int, heads: int) -> Any:
    """Build a decoder of x-transformers with rotary position embeddings, and its sampler."""
    from x_transformers import AutoregressiveWrapper, Decoder, TransformerWrapper

    decoder = Decoder(
        dim=width,
        depth=depth,
        heads=heads,
        attn_dim_head=width // heads,
        attn_flash=True,
        rotary_pos_emb=True,
        rotary_emb_dim=width // heads,
    )
    net = TransformerWrapper(
        num_tokens=num_tokens,
        max_seq_len=max_length,
        use_abs_pos_emb=False,
        attn_layers=decoder,
    )
    return AutoregressiveWrapper(net)


def llama_gen(*, num_tokens: int, max_length: int, width: int, depth: int, heads: int) -> Any:
    """Build LlamaGen's transformer from its checkout, with one class in place of a start token."""
    module = checkouts.load(checkouts.LLAMA_GEN, "autoregressive.models.gpt")
    rates = ("token_dropout_p", "resid_dropout_p", "ffn_dropout_p", "class_dropout_prob")
    settings = module.ModelArgs(
        dim=width,
        n_layer=depth,
        n_head=heads,
        num_classes=1,
        vocab_size=num_tokens - 1,
        block_size=max_length - 1,
        **dict.fromkeys(rates, 0.0),
    )
    return module.Transformer(settings)


def uvit(*, num_codes: int, edge: int, width: int, depth: int, heads: int, res_blocks: int) -> Any:
    """Build the network of aMUSEd.

    Args:
        num_codes: Codebook size; the mask token follows the codes.
        edge: Rows and columns of codes.
        width: Width of all layers and of the captions' vectors.
        depth: Transformer layers.
        heads: Attention heads.
        res_blocks: Convolutional blocks before and after the transformer layers, each.
    """
    from diffusers.models.unets.uvit_2d import UVit2DModel

    return UVit2DModel(
        hidden_size=width,
        cond_embed_dim=width,
        micro_cond_encode_dim=MICRO_WIDTH,
        micro_cond_embed_dim=NUM_MICRO * MICRO_WIDTH,
        encoder_hidden_size=width,
        vocab_size=num_codes + 1,
        codebook_size=num_codes,
        in_channels=width,
        block_out_channels=width,
        block_num_heads=heads,
        num_res_blocks=res_blocks,
        num_hidden_layers=depth,
        num_attention_heads=heads,
        intermediate_size=width * 11 // 4,  # like ours
        sample_size=edge,
    )
