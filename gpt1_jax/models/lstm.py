"""The LSTM of the paper's ablation: one layer of 2,048 units.

Radford et al. 2018, Sec. 5, Table 5. It has the Transformer's methods and can take its
place everywhere. Axes as in models.transformer, except: W is the units, G their gates,
four times as many.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from gpt1_jax.config import ModelConfig
from gpt1_jax.models import dropout, heads
from gpt1_jax.models.transformer import dense, normal_init, param_dtype


class State(NamedTuple):
    """The recurrent state of a layer: h_NW and c_NW."""

    h: jax.Array
    c: jax.Array


class Tokens(nn.Module):
    """The token table. An LSTM needs no positions."""

    cfg: ModelConfig
    vocab_size: int

    def setup(self) -> None:
        shape = (self.vocab_size, self.cfg.width)
        self.token = self.param("token", normal_init, shape, param_dtype(self.cfg))

    def __call__(self, tokens_NL: jax.Array) -> jax.Array:
        return self.token[tokens_NL].astype(self.cfg.compute_dtype)


def _gate_bias(key: jax.Array, shape: tuple[int], dtype: jnp.dtype) -> jax.Array:
    """Returns 1 for the forget gates, the second quarter, and 0 for the others."""
    del key
    is_forget_G = jnp.arange(shape[0]) * 4 // shape[0] == 1
    return is_forget_G.astype(dtype)


class Layer(nn.Module):
    """A layer of LSTM units, and a projection of its states to the model's width.

    i, f, o = sigmoid(W x + U h + b), g = tanh(W x + U h + b), each with its own part of
    W, U and b in the order i, f, g, o; c' = f c + i g; h' = o tanh(c').
    Source: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000,
    whose bias starts at 1 (Jozefowicz et al. 2015). The GPT-1 paper gives no details.
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
        """Returns the projected states h_NLD and each row's last state.

        Args: length_N: the number of tokens in each row, without padding; None: L.
        """
        recurrent_WG = self.recurrent.astype(x_NLD.dtype)
        gates_NLG = self.input(x_NLD)

        def step(before: State, inputs: tuple) -> tuple[State, jax.Array]:
            gates_NG, position = inputs
            i, f, g, o = jnp.split(gates_NG + before.h @ recurrent_WG, 4, axis=-1)
            # c, a sum over the text, is in float32 or wider.
            c = jax.nn.sigmoid(f) * before.c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = (jax.nn.sigmoid(o) * jnp.tanh(c)).astype(x_NLD.dtype)
            after = State(h, c)
            if length_N is not None:
                is_token_N1 = (position < length_N)[:, None]
                after = jax.tree.map(
                    lambda new, old: jnp.where(is_token_N1, new, old), after, before
                )
            return after, h

        position_L = jnp.arange(x_NLD.shape[1])
        if self.remat:
            step = jax.checkpoint(step, prevent_cse=False)
        state, h_LNW = jax.lax.scan(step, state, (gates_NLG.swapaxes(0, 1), position_L))
        return self.out(h_LNW.swapaxes(0, 1)), state


class LSTM(nn.Module):
    """A token table, the layer, and an output layer tied to the table.

    States of 2,048 units are projected to the table's width of 768 first. Residual
    dropout acts on the projected states; for embedding dropout, which acts on the
    table, see dropout.drop_embeddings.
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
        """Returns the projected states h_NLD; arguments as for Transformer.encode."""
        x_NLD = self.embed(tokens_NL)
        self.sow("intermediates", "hidden_states", x_NLD)
        h_NLD, _ = self.layer(x_NLD, self.init_cache(len(tokens_NL)), None)
        if is_train:
            if row_N is None:
                row_N = jnp.arange(len(tokens_NL), dtype=jnp.uint32)
            seed_N2 = dropout.row_seeds(self.make_rng("dropout"), row_N)
            own_N2 = dropout.site_seeds(seed_N2, 0, dropout.MLP_OUTPUT)
            h_NLD = dropout.drop(h_NLD, self.cfg.residual_dropout, own_N2)
        self.sow("intermediates", "hidden_states", h_NLD)
        return h_NLD

    def init_cache(self, N: int, M: int = 0) -> State:
        """Returns the state of N sequences before their first token; M is unused."""
        del M
        shape = (N, self.cfg.lstm_width)
        return State(
            jnp.zeros(shape, self.cfg.compute_dtype),
            jnp.zeros(shape, param_dtype(self.cfg)),
        )

    def decode_step(
        self,
        tokens_NL: jax.Array,
        cache: State,
        position_N: jax.Array,
        length_N: jax.Array | None = None,
    ) -> tuple[jax.Array, State]:
        """Encodes the next L tokens; see Transformer.decode_step.

        Args: length_N: the number of tokens in each row, without padding; None: L.
        """
        del position_N
        return self.layer(self.embed(tokens_NL), cache, length_N)

    def lm_logits(self, h_NLD: jax.Array) -> jax.Array:
        """Returns logits over the next token, in float32 or wider."""
        return heads.lm_logits(h_NLD, self.embed.token)

    def __call__(self, tokens_NL: jax.Array, is_train: bool = False) -> jax.Array:
        """Returns logits_NLV over the next token."""
        return self.lm_logits(self.encode(tokens_NL, is_train))
