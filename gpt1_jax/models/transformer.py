"""GPT-1: a decoder-only Transformer with layer norm after each residual sum.

Radford et al. 2018, Sec. 3.1 and 4.1; finetune-transformer-lm train.py. It maps tokens
to hidden states and hidden states to logits; losses and tasks are elsewhere.

| letter | axis                        | GPT-1  |
|--------|-----------------------------|--------|
| B      | examples                    | 64     |
| A      | sequences per example       | 1      |
| N      | B and A folded              | 64     |
| L, M   | position as query, as key   | 512    |
| D      | model width                 | 768    |
| H, K   | heads, width per head       | 12, 64 |
| F      | MLP width                   | 3072   |
| V      | vocabulary                  | 40,478 |
| W      | windows, or words           |        |
"""

import functools
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpt1_jax.config import ModelConfig
from gpt1_jax.models import dropout, gpu, heads, layers
from gpt1_jax.models.attention import causal_attention, self_attention

normal_init = nn.initializers.normal(0.02)


def param_dtype(cfg: ModelConfig) -> jnp.dtype:
    """float32, or float64 where the whole computation is."""
    return jnp.promote_types(cfg.compute_dtype, jnp.float32)


def dense(features: int, cfg: ModelConfig, name: str) -> nn.Dense:
    """A layer x W + b in the config's dtype."""
    return nn.Dense(
        features,
        name=name,
        dtype=jnp.dtype(cfg.compute_dtype),
        param_dtype=param_dtype(cfg),
        kernel_init=normal_init,
    )


class Norm(nn.Module):
    """layers.layer_norm with its parameters."""

    cfg: ModelConfig

    @nn.compact
    def __call__(self, x_NLD: jax.Array) -> jax.Array:
        dtype = param_dtype(self.cfg)
        scale_D = self.param("scale", nn.initializers.ones, x_NLD.shape[-1:], dtype)
        bias_D = self.param("bias", nn.initializers.zeros, x_NLD.shape[-1:], dtype)
        return layers.layer_norm(x_NLD, scale_D, bias_D)


class KVCache(NamedTuple):
    """What a layer's attention remembers of the tokens before: k_NMHK, v_NMHK."""

    k: jax.Array
    v: jax.Array

    def put(
        self, k_NLHK: jax.Array, v_NLHK: jax.Array, position_NL: jax.Array
    ) -> "KVCache":
        """With those of new tokens; what lies beyond the room is left out."""
        row_N1 = jnp.arange(len(position_NL))[:, None]
        return KVCache(
            *(
                old.at[row_N1, position_NL].set(new.astype(old.dtype), mode="drop")
                for old, new in ((self.k, k_NLHK), (self.v, v_NLHK))
            )
        )


class Attention(nn.Module):
    """Projections around self_attention, or causal_attention to a memory."""

    cfg: ModelConfig

    @nn.compact
    def __call__(
        self,
        x_NLD: jax.Array,
        drop: dropout.Dropout | None,
        memory: KVCache | None = None,
        position_NL: jax.Array | None = None,
    ) -> tuple[jax.Array, KVCache | None]:
        N, L, D = x_NLD.shape
        H = self.cfg.num_heads
        qkv_NL3HK = dense(3 * D, self.cfg, name="qkv")(x_NLD).reshape(
            N, L, 3, H, D // H
        )
        implementation = self.cfg.attention
        if memory is None:
            att_NLHK = self_attention(qkv_NL3HK, drop, implementation=implementation)
        else:
            assert position_NL is not None
            q_NLHK, k_NLHK, v_NLHK = (qkv_NL3HK[:, :, part] for part in range(3))
            memory = memory.put(k_NLHK, v_NLHK, position_NL)
            att_NLHK = causal_attention(
                q_NLHK, *memory, drop, position_NL, implementation=implementation
            )
        return dense(D, self.cfg, name="out")(att_NLHK.reshape(N, L, D)), memory


# One of each layer.
Memory = tuple[KVCache, ...]


class MLP(nn.Module):
    """Two layers with the tanh form of GELU between them."""

    cfg: ModelConfig

    @nn.compact
    def __call__(self, x_NLD: jax.Array) -> jax.Array:
        a_NLF = dense(self.cfg.mlp_width, self.cfg, name="in")(x_NLD)
        return dense(self.cfg.width, self.cfg, name="out")(layers.gelu(a_NLF))


class Block(nn.Module):
    """n = norm_1(x + attention(x)); norm_2(n + mlp(n)).

    Source: finetune-transformer-lm train.py, `block`.
    """

    cfg: ModelConfig

    @nn.compact
    def __call__(
        self,
        x_NLD: jax.Array,
        layer: jax.Array | int,
        seed_N2: jax.Array | None = None,
        memory: KVCache | None = None,
        position_NL: jax.Array | None = None,
    ) -> tuple[jax.Array, KVCache | None]:
        def drop(site: int, rate: float, x: jax.Array) -> jax.Array:
            if seed_N2 is None:
                return x
            own_N2 = dropout.site_seeds(seed_N2, layer, site)
            return dropout.drop(x, rate, own_N2)

        cfg = self.cfg
        on_weights = None
        if seed_N2 is not None and cfg.attention_dropout:
            on_weights = dropout.Dropout(
                cfg.attention_dropout,
                dropout.site_seeds(seed_N2, layer, dropout.ATTENTION),
            )
        a_NLD, memory = Attention(cfg, name="attention")(
            x_NLD, on_weights, memory, position_NL
        )
        a_NLD = drop(dropout.ATTENTION_OUTPUT, cfg.residual_dropout, a_NLD)
        n_NLD = Norm(cfg, name="norm_1")(x_NLD + a_NLD)
        m_NLD = MLP(cfg, name="mlp")(n_NLD)
        m_NLD = drop(dropout.MLP_OUTPUT, cfg.residual_dropout, m_NLD)
        return Norm(cfg, name="norm_2")(n_NLD + m_NLD), memory


@functools.partial(jax.jit, static_argnums=(0, 1))
def _apply_block(cfg: ModelConfig, remat: bool, params: Any, *arguments: Any) -> Any:
    """A Block's result; jitted, so that one trace of it serves all layers."""

    def apply(params: Any, *arguments: Any) -> Any:
        return Block(cfg, parent=None).apply({"params": params}, *arguments)

    return (jax.checkpoint(apply) if remat else apply)(params, *arguments)


class Embed(nn.Module):
    """The token and the position table."""

    cfg: ModelConfig
    vocab_size: int

    def setup(self) -> None:
        dtype = param_dtype(self.cfg)
        D = self.cfg.width
        self.token = self.param("token", normal_init, (self.vocab_size, D), dtype)
        shape = (self.cfg.context_length, D)
        self.position = self.param("position", normal_init, shape, dtype)

    def __call__(
        self, tokens_NL: jax.Array, position_NL: jax.Array | None = None
    ) -> jax.Array:
        if position_NL is None:
            position_NLD = self.position[None, : tokens_NL.shape[1]]
        else:
            position_NLD = self.position[position_NL]
        return (self.token[tokens_NL] + position_NLD).astype(self.cfg.compute_dtype)


class Transformer(nn.Module):
    """The backbone and its tied output layer.

    cfg.compute_dtype must be a dtype by now, not `auto`. Parameters are float32, or
    float64 where the computation is. Embedding dropout is on the parameters, see
    dropout.drop_embeddings: whoever trains applies it before both methods. What flax
    captures or sows inside a block is not seen outside: blocks are jitted functions.
    """

    cfg: ModelConfig
    vocab_size: int
    remat: bool = False

    def setup(self) -> None:
        self.embed = Embed(self.cfg, self.vocab_size)
        self.blocks = [
            Block(self.cfg, name=f"block_{layer:02d}")
            for layer in range(self.cfg.num_layers)
        ]

    def _run_block(
        self,
        layer: int,
        x_NLD: jax.Array,
        seed_N2: jax.Array | None,
        memory: KVCache | None = None,
        position_NL: jax.Array | None = None,
    ) -> tuple[jax.Array, Any]:
        block = self.blocks[layer]
        if self.is_initializing():
            return block(x_NLD, layer, seed_N2, memory, position_NL)
        params = block.variables["params"]
        rest = (x_NLD, jnp.uint32(layer), seed_N2, memory, position_NL)
        return _apply_block(self.cfg, self.remat, params, *rest)

    def encode(
        self,
        tokens_NL: jax.Array,
        is_train: bool = False,
        row_N: jax.Array | None = None,
    ) -> jax.Array:
        """Returns the hidden states h_NLD of the last block.

        It sows the embeddings and each block's output as intermediates/hidden_states.
        Args: tokens_NL: padded on the right by any id; L at most context_length.
              is_train: with dropout, from the rng stream "dropout".
              row_N: each sequence's index in the whole step's batch; 0, 1, ... if None.
        """
        if tokens_NL.shape[1] > self.cfg.context_length:
            raise ValueError(
                f"{tokens_NL.shape[1]} tokens; at most context_length="
                f"{self.cfg.context_length}; cut them into windows"
            )
        seed_N2 = None
        if is_train:
            if row_N is None:
                row_N = jnp.arange(len(tokens_NL), dtype=jnp.uint32)
            seed_N2 = dropout.row_seeds(self.make_rng("dropout"), row_N)
        h_NLD = self.embed(tokens_NL)
        if is_train:  # What is told to XLA can't be exported, as a model may be.
            h_NLD = gpu.constrain_row_major(h_NLD)
        self.sow("intermediates", "hidden_states", h_NLD)
        for layer in range(self.cfg.num_layers):
            h_NLD, _ = self._run_block(layer, h_NLD, seed_N2)
            self.sow("intermediates", "hidden_states", h_NLD)
        return h_NLD

    def init_cache(self, N: int, M: int) -> Memory:
        """What is remembered of no tokens, with room for M of each of N sequences."""
        cfg = self.cfg
        shape = (N, M, cfg.num_heads, cfg.width // cfg.num_heads)
        zeros = jnp.zeros(shape, cfg.compute_dtype)
        return (KVCache(zeros, zeros),) * cfg.num_layers

    def decode_step(
        self,
        tokens_NL: jax.Array,
        memory: Memory,
        position_N: jax.Array,
        length_N: jax.Array | None = None,
    ) -> tuple[jax.Array, Memory]:
        """`encode` of L more tokens after position_N others, without dropout.

        Args:    length_N: not needed here: where rows have fewer than L new tokens,
                 those after them are forgotten once others take their places.
        Returns: their h_NLD, and the memory with them in it. A position beyond the
                 context gives nothing of use.
        """
        del length_N
        L = tokens_NL.shape[1]
        position_NL = position_N[:, None] + jnp.arange(L)[None]
        h_NLD = self.embed(tokens_NL, position_NL)
        new = []
        for layer, own in enumerate(memory):
            h_NLD, own = self._run_block(layer, h_NLD, None, own, position_NL)
            new.append(own)
        return h_NLD, tuple(new)

    def lm_logits(self, h_NLD: jax.Array) -> jax.Array:
        """Logits over the next token: h times the token table, in float32 at least."""
        return heads.lm_logits(h_NLD, self.embed.token)

    def __call__(self, tokens_NL: jax.Array, is_train: bool = False) -> jax.Array:
        """logits_NLV of tokens_NL."""
        return self.lm_logits(self.encode(tokens_NL, is_train))
