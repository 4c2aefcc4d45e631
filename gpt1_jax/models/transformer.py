"""GPT-1: a decoder-only Transformer with layer norm after each residual sum.

Radford et al. 2018, Sec. 3.1 and 4.1; finetune-transformer-lm train.py. It maps tokens
to hidden states and hidden states to logits. Losses and task heads are elsewhere.

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
from gpt1_jax.models import attention, dropout, gpu, heads, layers

normal_init = nn.initializers.normal(0.02)


def param_dtype(cfg: ModelConfig) -> jnp.dtype:
    """Returns the dtype of parameters: float64 if computations are, else float32."""
    return jnp.promote_types(cfg.compute_dtype, jnp.float32)


def dense(features: int, cfg: ModelConfig, name: str) -> nn.Dense:
    """Returns a layer x W + b that computes in the config's dtype."""
    return nn.Dense(
        features,
        name=name,
        dtype=jnp.dtype(cfg.compute_dtype),
        param_dtype=param_dtype(cfg),
        kernel_init=normal_init,
    )


class Norm(nn.Module):
    """Layer norm with its parameters; see layers.layer_norm."""

    cfg: ModelConfig

    @nn.compact
    def __call__(self, x_NLD: jax.Array) -> jax.Array:
        dtype = param_dtype(self.cfg)
        scale_D = self.param("scale", nn.initializers.ones, x_NLD.shape[-1:], dtype)
        bias_D = self.param("bias", nn.initializers.zeros, x_NLD.shape[-1:], dtype)
        return layers.layer_norm(x_NLD, scale_D, bias_D)


class KVCache(NamedTuple):
    """The keys and values of a layer's earlier tokens: k_NMHK and v_NMHK."""

    k: jax.Array
    v: jax.Array

    def put(
        self, k_NLHK: jax.Array, v_NLHK: jax.Array, position_NL: jax.Array
    ) -> "KVCache":
        """Returns the cache with new tokens; positions beyond the cache are dropped."""
        row_N1 = jnp.arange(len(position_NL))[:, None]

        def put(old_NMHK: jax.Array, new_NLHK: jax.Array) -> jax.Array:
            new_NLHK = new_NLHK.astype(old_NMHK.dtype)
            return old_NMHK.at[row_N1, position_NL].set(new_NLHK, mode="drop")

        return KVCache(put(self.k, k_NLHK), put(self.v, v_NLHK))


# The cache of each layer.
Cache = tuple[KVCache, ...]


class Attention(nn.Module):
    """Attention with its projections: to the tokens themselves, or to a cache."""

    cfg: ModelConfig

    def setup(self) -> None:
        self.qkv = dense(3 * self.cfg.width, self.cfg, name="qkv")
        self.out = dense(self.cfg.width, self.cfg, name="out")

    def _project(self, x_NLD: jax.Array) -> jax.Array:
        """Returns queries, keys and values qkv_NL3HK."""
        N, L, D = x_NLD.shape
        H = self.cfg.num_heads
        return self.qkv(x_NLD).reshape(N, L, 3, H, D // H)

    def weights(self, x_NLD: jax.Array) -> jax.Array:
        """Returns the attention weights att_NHLM of the tokens to themselves."""
        q_NLHK, k_NLHK, _ = attention.split_qkv(self._project(x_NLD))
        return attention.causal_weights(q_NLHK, k_NLHK)

    def __call__(
        self,
        x_NLD: jax.Array,
        drop: dropout.Dropout | None,
        cache: KVCache | None = None,
        position_NL: jax.Array | None = None,
    ) -> tuple[jax.Array, KVCache | None]:
        qkv_NL3HK = self._project(x_NLD)
        if cache is None:
            att_NLHK = attention.self_attention(
                qkv_NL3HK, drop, implementation=self.cfg.attention
            )
        else:
            assert position_NL is not None
            q_NLHK, k_NLHK, v_NLHK = attention.split_qkv(qkv_NL3HK)
            cache = cache.put(k_NLHK, v_NLHK, position_NL)
            att_NLHK = attention.causal_attention(q_NLHK, *cache, drop, position_NL)
        return self.out(att_NLHK.reshape(x_NLD.shape)), cache


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
        cache: KVCache | None = None,
        position_NL: jax.Array | None = None,
    ) -> tuple[jax.Array, KVCache | None]:
        cfg = self.cfg

        def make_drop(site: int, rate: float) -> dropout.Dropout | None:
            if seed_N2 is None or not rate:
                return None
            return dropout.Dropout(rate, dropout.site_seeds(seed_N2, layer, site))

        def drop(site: int, x_NLD: jax.Array) -> jax.Array:
            residual_drop = make_drop(site, cfg.residual_dropout)
            return residual_drop(x_NLD) if residual_drop else x_NLD

        attention_drop = make_drop(dropout.ATTENTION, cfg.attention_dropout)
        a_NLD, cache = Attention(cfg, name="attention")(
            x_NLD, attention_drop, cache, position_NL
        )
        a_NLD = drop(dropout.ATTENTION_OUTPUT, a_NLD)
        n_NLD = Norm(cfg, name="norm_1")(x_NLD + a_NLD)
        m_NLD = drop(dropout.MLP_OUTPUT, MLP(cfg, name="mlp")(n_NLD))
        return Norm(cfg, name="norm_2")(n_NLD + m_NLD), cache


@functools.partial(jax.jit, static_argnums=(0, 1))
def _apply_block(cfg: ModelConfig, remat: bool, params: Any, *arguments: Any) -> Any:
    """Returns a Block's result; jitted, so that it is traced once for all layers."""

    def apply(params: Any, *arguments: Any) -> Any:
        return Block(cfg, parent=None).apply({"params": params}, *arguments)

    return (jax.checkpoint(apply) if remat else apply)(params, *arguments)


class Embed(nn.Module):
    """The tables of tokens and positions."""

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
    """The blocks between the embeddings and the output layer, which share a table.

    cfg.compute_dtype is resolved, that is, not `auto`. The methods do not apply
    embedding dropout: the training loss applies it to the parameters beforehand, see
    dropout.drop_embeddings. Blocks are jitted functions, so flax can neither capture
    nor sow intermediates inside them.
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
        cache: KVCache | None = None,
        position_NL: jax.Array | None = None,
    ) -> tuple[jax.Array, Any]:
        block = self.blocks[layer]
        if self.is_initializing():
            return block(x_NLD, layer, seed_N2, cache, position_NL)
        params = block.variables["params"]
        rest = (x_NLD, jnp.uint32(layer), seed_N2, cache, position_NL)
        return _apply_block(self.cfg, self.remat, params, *rest)

    def encode(
        self,
        tokens_NL: jax.Array,
        is_train: bool = False,
        row_N: jax.Array | None = None,
    ) -> jax.Array:
        """Returns the hidden states h_NLD of the last block.

        It sows the embeddings and each block's output as intermediates/hidden_states.
        Args: tokens_NL: padded on the right with any id; L at most context_length.
              is_train: apply dropout, with the rng stream "dropout".
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
        if is_train:  # Elsewhere no layout is set: a model with one cannot be exported.
            h_NLD = gpu.constrain_row_major(h_NLD)
        self.sow("intermediates", "hidden_states", h_NLD)
        for layer in range(self.cfg.num_layers):
            h_NLD, _ = self._run_block(layer, h_NLD, seed_N2)
            self.sow("intermediates", "hidden_states", h_NLD)
        return h_NLD

    def attention_weights(self, tokens_NL: jax.Array) -> tuple[jax.Array, ...]:
        """Returns each block's attention weights att_NHLM, without dropout.

        They are computed as the implementation `xla` computes them.
        """
        h_NLD, found = self.embed(tokens_NL), []
        for layer, block in enumerate(self.blocks):
            params = {"params": block.variables["params"]["attention"]}
            own = Attention(self.cfg, parent=None)
            found.append(jnp.asarray(own.apply(params, h_NLD, method="weights")))
            h_NLD, _ = self._run_block(layer, h_NLD, None)
        return tuple(found)

    def init_cache(self, N: int, M: int) -> Cache:
        """Returns an empty cache for M tokens of each of N sequences."""
        cfg = self.cfg
        shape = (N, M, cfg.num_heads, cfg.width // cfg.num_heads)
        zeros = jnp.zeros(shape, cfg.compute_dtype)
        return (KVCache(zeros, zeros),) * cfg.num_layers

    def decode_step(
        self,
        tokens_NL: jax.Array,
        cache: Cache,
        position_N: jax.Array,
        length_N: jax.Array | None = None,
    ) -> tuple[jax.Array, Cache]:
        """Encodes the next L tokens of each sequence, without dropout.

        Args:    position_N: the position of each row's first new token.
                 length_N: the number of new tokens in each row, without padding. The
                 Transformer ignores it: the next tokens overwrite padding in the cache.
        Returns: h_NLD and the extended cache. The hidden state at a position beyond
                 the context is meaningless.
        """
        del length_N
        L = tokens_NL.shape[1]
        position_NL = position_N[:, None] + jnp.arange(L)[None]
        h_NLD = self.embed(tokens_NL, position_NL)
        extended = []
        for layer, old in enumerate(cache):
            h_NLD, new = self._run_block(layer, h_NLD, None, old, position_NL)
            extended.append(new)
        return h_NLD, tuple(extended)

    def lm_logits(self, h_NLD: jax.Array) -> jax.Array:
        """Returns logits over the next token, h table^T, in float32 or wider."""
        return heads.lm_logits(h_NLD, self.embed.token)

    def __call__(self, tokens_NL: jax.Array, is_train: bool = False) -> jax.Array:
        """Returns logits_NLV over the next token."""
        return self.lm_logits(self.encode(tokens_NL, is_train))
