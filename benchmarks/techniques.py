"""The optimisations of the training step on GPUs; each side leaves out some."""

import contextlib
import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any
from unittest import mock

from gpt1_jax.config import RunConfig

SIDES = (
    "jax_plain_attention",  # reference attention, no kernel
    "jax_unpadded",  # the vocabulary's size as it is
    "jax_plain_loss",  # float32 logits, all at once, differentiated by JAX, unpadded
    "jax_plain_layers",  # GELU and layer norm differentiated by JAX
    "jax_free_layout",  # XLA chooses the layout of hidden states
    "jax_own_products",  # XLA's own matrix-product kernels beside cuBLAS's
    "jax_threefry",  # JAX's random bits for dropout, which needs reference attention
    "jax_naive",  # all of these
    "jax_no_dropout",  # no dropout; attention by cuDNN
    "jax_kernel_no_dropout",  # no dropout; attention by the kernel that supports it
)


def variant(side: str, config: RunConfig) -> RunConfig:
    """Returns the config of a side."""
    changes: dict[str, Any] = {}
    if side in ("jax_plain_attention", "jax_naive", "jax_threefry"):
        changes["attention"] = "xla"
    if "no_dropout" in side:
        for where in ("embedding", "residual", "attention"):
            changes[f"{where}_dropout"] = 0.0
    data = config.data
    if side == "torch_compile_padded":
        vocab_size = -(-data.vocab_size // 128) * 128
        data = dataclasses.replace(data, vocab_size=vocab_size)
    model = dataclasses.replace(config.model, **changes)
    return dataclasses.replace(config, model=model, data=data)


def chunk_elements(side: str) -> int | None:
    """Returns how many logits a side holds at once; None: as many as the job."""
    return 1 << 33 if side in ("jax_plain_loss", "jax_naive") else None


@contextlib.contextmanager
def patched(side: str) -> Iterator[None]:
    """Replaces the optimisations that a side leaves out, while it is compiled."""
    from gpt1_jax.distributed import mesh
    from gpt1_jax.models import attention, dropout, gpu, heads, layers

    replaced: dict[str, list[tuple[Any, str, Any]]] = {
        "jax_plain_loss": [(heads, "nll_sum", _plain_nll_sum)],
        "jax_unpadded": [(heads, "_VOCAB_MULTIPLE", 1)],
        "jax_plain_layers": [
            (layers, "gelu", _plain_gelu),
            (layers, "layer_norm", _plain_layer_norm),
        ],
        "jax_free_layout": [(gpu, "constrain_row_major", lambda x_NLD: x_NLD)],
        "jax_own_products": [(mesh, "_compiler_options", lambda: None)],
        "jax_threefry": [(dropout, "_drop", _threefry_drop)],
    }
    replaced["jax_naive"] = list(itertools.chain(*replaced.values()))
    replaced["jax_kernel_no_dropout"] = [
        (attention, "self_attention", _kernel_without_dropout)
    ]
    with contextlib.ExitStack() as stack:
        for module, name, value in replaced.get(side, []):
            stack.enter_context(mock.patch.object(module, name, value))
        yield


def _plain_nll_sum(h_NLD, table_VD, targets_NL, weight_NL, chunk_elements):
    """Computes heads.nll_sum in the usual way."""
    import optax

    from gpt1_jax.models import heads

    del chunk_elements
    logits_NLV = heads.lm_logits(h_NLD, table_VD)
    nll_NL = optax.softmax_cross_entropy_with_integer_labels(logits_NLV, targets_NL)
    return (nll_NL * weight_NL).sum()


def _plain_gelu(x):
    import jax

    return jax.nn.gelu(x, approximate=True)


def _plain_layer_norm(x_NLD, scale_D, bias_D):
    """Computes layers.layer_norm in the usual way."""
    import jax
    import jax.numpy as jnp

    exact_NLD = x_NLD.astype(jnp.float32)
    centred_NLD = exact_NLD - exact_NLD.mean(-1, keepdims=True)
    var_NL1 = jnp.square(centred_NLD).mean(-1, keepdims=True)
    normed_NLD = centred_NLD * jax.lax.rsqrt(var_NL1 + 1e-5)
    scaled_NLD = scale_D[None, None] * normed_NLD
    return (scaled_NLD + bias_D[None, None]).astype(x_NLD.dtype)


def _threefry_drop(x, rate, seed_N2):
    """Draws the masks of models.dropout as flax does, with one key for all rows."""
    import jax
    import jax.numpy as jnp

    key = jax.random.wrap_key_data(seed_N2[0])
    keep = jax.random.bernoulli(key, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), jnp.zeros((), x.dtype))


def _kernel_without_dropout(qkv_NL3HK, drop, *, implementation):
    """Computes attention.self_attention with the kernel, at a dropout rate of 0."""
    import jax.numpy as jnp

    from gpt1_jax.models import flash_attention

    assert drop is None, implementation
    seed_N2 = jnp.zeros((len(qkv_NL3HK), 2), jnp.uint32)
    return flash_attention.flash_attention(qkv_NL3HK, seed_N2, 0.0)
