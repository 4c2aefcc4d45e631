"""The LSTM that the paper sets beside the Transformer: one layer of 2,048 units.

Radford et al. 2018, Sec. 5, Table 5. Letters as in models.transformer; here W is units,
G four times as many. It has the Transformer's methods, so that whoever trains,
transfers, scores and decodes takes either.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpt1_jax.config import ModelConfig
from gpt1_jax.models import dropout, heads
from gpt1_jax.models.transformer import dense, normal_init, param_dtype


class State(NamedTuple):
    """What a layer carries from token to token: h_NW and c_NW."""

    h: jax.Array
    c: jax.Array


class Tokens(nn.Module):
    """The token table; an LSTM needs no positions."""

    cfg: ModelConfig
    vocab_size: int

    def setup(self) -> None:
        shape = (self.vocab_size, self.cfg.width)
        self.token = self.param("token", normal_init, shape, param_dtype(self.cfg))

    def __call__(self, tokens_NL: jax.Array) -> jax.Array:
        return self.token[tokens_NL].astype(self.cfg.compute_dtype)


def _gate_bias(key: jax.Array, shape: tuple[int], dtype: jnp.dtype) -> jax.Array:
    """1 for the forget gates, the second quarter, 0 for the others."""
    del key
    is_forget_G = jnp.arange(shape[0]) * 4 // shape[0] == 1
    return is_forget_G.astype(dtype)


class Layer(nn.Module):
    """A layer of LSTM units, and its states brought back to the model's width.

    i, f, o = sigmoid(W x + U h + b), g = tanh(W x + U h + b), each with its own part of
    W, U and b in the order i, f, g, o; c' = f c + i g; h' = o tanh(c').
    Source: Hochreiter and Schmidhuber 1997, with Gers et al. 2000's forget gate, whose
    bias starts at 1 (Jozefowicz et al. 2015). The paper names none of this.
    """

    cfg: ModelConfig
    remat: bool = False

    def setup(self) -> None:
        W = self.cfg.lstm_width
        self.input = nn.Dense(
            4 * W,
            name="input",
            dtype=jnp.dtype(self.cfg.compute_dtype),
            param_dtype=param_dtype(self.cfg),
            kernel_init=normal_init,
            bias_init=_gate_bias,
        )
        self.recurrent = self.param(
            "recurrent", normal_init, (W, 4 * W), param_dtype(self.cfg)
        )
        self.out = dense(self.cfg.width, self.cfg, "out")

    def __call__(
        self, x_NLD: jax.Array, state: State, length_N: jax.Array | None
    ) -> tuple[jax.Array, State]:
        """States after each token, in the model's width, and the last of each row.

        Args: length_N: how many tokens of each row count; None: all.
        """
        recurrent_WG = self.recurrent.astype(x_NLD.dtype)
        gates_NLG = self.input(x_NLD)

        def step(carried: State, now: tuple) -> tuple[State, jax.Array]:
            gates_NG, place = now
            i, f, g, o = jnp.split(gates_NG + carried.h @ recurrent_WG, 4, axis=-1)
            # The sum over a text is carried in float32 at least.
            c = jax.nn.sigmoid(f) * carried.c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = (jax.nn.sigmoid(o) * jnp.tanh(c)).astype(x_NLD.dtype)
            if length_N is None:
                return State(h, c), h
            counts_N1 = (place < length_N)[:, None]
            kept = jax.tree.map(
                lambda new, old: jnp.where(counts_N1, new, old), State(h, c), carried
            )
            return kept, h

        places_L = jnp.arange(x_NLD.shape[1])
        if self.remat:
            step = jax.checkpoint(step, prevent_cse=False)
        state, h_LNW = jax.lax.scan(step, state, (gates_NLG.swapaxes(0, 1), places_L))
        return self.out(h_LNW.swapaxes(0, 1)), state


class LSTM(nn.Module):
    """The layer between a token table and a tied output layer.

    The softmax's matrix is the token table, as the Transformer's; states of 2,048 units
    are projected to its width of 768 first. Embedding dropout is on the table, see
    dropout.drop_embeddings; residual dropout on the projected states.
    """

    cfg: ModelConfig
    vocab_size: int
    remat: bool = False

    def setup(self) -> None:
        self.embed = Tokens(self.cfg, self.vocab_size)
        self.layer = Layer(self.cfg, self.remat, name="block_00")

    def encode(
        self,
        tokens_NL: jax.Array,
        is_train: bool = False,
        row_N: jax.Array | None = None,
    ) -> jax.Array:
        """Returns the projected states h_NLD; as Transformer.encode."""
        x_NLD = self.embed(tokens_NL)
        self.sow("intermediates", "hidden_states", x_NLD)
        h_NLD, _ = self.layer(x_NLD, self._zeros(len(tokens_NL)), None)
        if is_train:
            if row_N is None:
                row_N = jnp.arange(len(tokens_NL), dtype=jnp.uint32)
            seed_N2 = dropout.row_seeds(self.make_rng("dropout"), row_N)
            own_N2 = dropout.site_seeds(seed_N2, 0, dropout.MLP_OUTPUT)
            h_NLD = dropout.drop(h_NLD, self.cfg.residual_dropout, own_N2)
        self.sow("intermediates", "hidden_states", h_NLD)
        return h_NLD

    def _zeros(self, N: int) -> State:
        shape = (N, self.cfg.lstm_width)
        return State(
            jnp.zeros(shape, self.cfg.compute_dtype),
            jnp.zeros(shape, param_dtype(self.cfg)),
        )

    def init_cache(self, N: int, M: int) -> State:
        """What is remembered of no tokens, of N sequences; however long, as much."""
        del M
        return self._zeros(N)

    def decode_step(
        self,
        tokens_NL: jax.Array,
        memory: State,
        position_N: jax.Array,
        length_N: jax.Array | None = None,
    ) -> tuple[jax.Array, State]:
        """`encode` of L more tokens, of which the first length_N of each row count."""
        del position_N
        return self.layer(self.embed(tokens_NL), memory, length_N)

    def lm_logits(self, h_NLD: jax.Array) -> jax.Array:
        """Logits over the next token, in float32 at least."""
        return heads.lm_logits(h_NLD, self.embed.token)

    def __call__(self, tokens_NL: jax.Array, is_train: bool = False) -> jax.Array:
        """logits_NLV of tokens_NL."""
        return self.lm_logits(self.encode(tokens_NL, is_train))
