"""Causal attention: a case to solve by hand, and a slow oracle."""

import jax.numpy as jnp
import numpy as np

from gpt1_jax.models.attention import causal_attention

N, L, H, K = 2, 5, 3, 7


def random_qkv(seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((N, L, H, K), np.float32) for _ in range(3)]


def oracle(q_NLHK, k_NMHK, v_NMHK) -> np.ndarray:
    """One output at a time, in float64."""
    q_NLHK, k_NMHK, v_NMHK = (x.astype(np.float64) for x in (q_NLHK, k_NMHK, v_NMHK))
    att_NLHK = np.zeros_like(q_NLHK)
    for n in range(N):
        for h in range(H):
            for i in range(L):
                logits = [q_NLHK[n, i, h] @ k_NMHK[n, j, h] for j in range(i + 1)]
                weights = np.exp(np.array(logits) / np.sqrt(K))
                weights /= weights.sum()
                att_NLHK[n, i, h] = sum(
                    weight * v_NMHK[n, j, h] for j, weight in enumerate(weights)
                )
    return att_NLHK


def test_two_positions_by_hand():
    # K = 4: the logits at position 1 are 0 and 2 log 3 / sqrt(4), the weights 1/4, 3/4.
    q = jnp.array([[9.0, 0, 0, 0], [2.0, 0, 0, 0]])
    k = jnp.array([[0.0, 5, 0, 0], [np.log(3.0), 0, 5, 0]])
    v = jnp.array([[8.0, 0, 4, 1], [0.0, 4, 4, 2]])
    att = causal_attention(*(x[None, :, None] for x in (q, k, v)))[0, :, 0]
    np.testing.assert_allclose(att, [[8, 0, 4, 1], [2, 3, 4, 1.75]], rtol=1e-6)


def test_equals_the_slow_oracle():
    q, k, v = random_qkv()
    np.testing.assert_allclose(causal_attention(q, k, v), oracle(q, k, v), atol=2e-6)


def test_extreme_logits_neither_overflow_nor_reach_masked_positions():
    q, k, v = random_qkv()
    q *= 1e6
    k *= np.float32(1e3)  # logits near 1e9 / sqrt(K), where a mask of -1e9 still holds
    att = causal_attention(q, k, v)
    assert np.isfinite(att).all()
    np.testing.assert_allclose(att[:, 0], v[:, 0], rtol=1e-6)


def test_dropout_acts_on_normalised_weights_in_float32():
    seen = []

    def halve_first_head(att_NHLM):
        seen.append(att_NHLM)
        return att_NHLM.at[:, 0].multiply(0.5)

    q, k, v = (jnp.asarray(x, jnp.bfloat16) for x in random_qkv())
    whole = causal_attention(q, k, v)
    halved = causal_attention(q, k, v, halve_first_head)
    assert halved.dtype == jnp.bfloat16
    (att_NHLM,) = seen
    assert att_NHLM.shape == (N, H, L, L)
    assert att_NHLM.dtype == jnp.float32
    np.testing.assert_allclose(att_NHLM.sum(-1), 1.0, rtol=1e-6)
    assert not np.triu(att_NHLM, 1).any()
    np.testing.assert_array_equal(halved[:, :, 0], whole[:, :, 0] / 2)
    np.testing.assert_array_equal(halved[:, :, 1:], whole[:, :, 1:])
