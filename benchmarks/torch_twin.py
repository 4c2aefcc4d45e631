"""The same network and loss in PyTorch: what train_step compares with.

Written as PyTorch is usually written, with its own fused attention and cross entropy.
It does not load, save or evaluate.
"""

import torch
from torch import nn
from torch.nn import functional

from gpt1_jax.config import ModelConfig


class Block(nn.Module):
    """n = norm_1(x + attention(x)); norm_2(n + mlp(n)). As models.transformer."""

    def __init__(self, cfg: ModelConfig):
        super().__init__()
        self.cfg = cfg
        D, F = cfg.width, cfg.mlp_width
        self.qkv, self.out = nn.Linear(D, 3 * D), nn.Linear(D, D)
        self.mlp_in, self.mlp_out = nn.Linear(D, F), nn.Linear(F, D)
        self.norm_1, self.norm_2 = nn.LayerNorm(D, eps=1e-5), nn.LayerNorm(D, eps=1e-5)

    def forward(self, x_NLD: torch.Tensor) -> torch.Tensor:
        rate = self.cfg.residual_dropout
        a_NLD = functional.dropout(self._attend(x_NLD), rate, self.training)
        n_NLD = self.norm_1(x_NLD + a_NLD)
        m_NLF = functional.gelu(self.mlp_in(n_NLD), approximate="tanh")
        m_NLD = functional.dropout(self.mlp_out(m_NLF), rate, self.training)
        return self.norm_2(n_NLD + m_NLD)

    def _attend(self, x_NLD: torch.Tensor) -> torch.Tensor:
        N, L, D = x_NLD.shape
        H = self.cfg.num_heads
        q_NHLK, k_NHLK, v_NHLK = (
            x.view(N, L, H, D // H).transpose(1, 2)
            for x in self.qkv(x_NLD).chunk(3, dim=-1)
        )
        att_NHLK = functional.scaled_dot_product_attention(
            q_NHLK,
            k_NHLK,
            v_NHLK,
            dropout_p=self.cfg.attention_dropout if self.training else 0.0,
            is_causal=True,
        )
        return self.out(att_NHLK.transpose(1, 2).reshape(N, L, D))


class Twin(nn.Module):
    """The Transformer with its tied output layer and its loss."""

    def __init__(self, cfg: ModelConfig, vocab_size: int):
        super().__init__()
        self.cfg = cfg
        self.token = nn.Parameter(torch.empty(vocab_size, cfg.width))
        self.position = nn.Parameter(torch.empty(cfg.context_length, cfg.width))
        self.blocks = nn.ModuleList(Block(cfg) for _ in range(cfg.num_layers))
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, tokens_NL: torch.Tensor) -> torch.Tensor:
        """The mean loss, in nats, of predicting each token but a row's first.

        Embedding dropout is on the tables, so in the softmax too; see models.dropout.
        """
        rate = self.cfg.embedding_dropout
        token_VD = functional.dropout(self.token, rate, self.training)
        position_LD = functional.dropout(self.position, rate, self.training)
        inputs_NL, targets_NL = tokens_NL[:, :-1], tokens_NL[:, 1:]
        h_NLD = functional.embedding(inputs_NL, token_VD)
        h_NLD = h_NLD + position_LD[: inputs_NL.shape[1]]
        for block in self.blocks:
            h_NLD = block(h_NLD)
        logits_NLV = h_NLD @ token_VD.T
        return functional.cross_entropy(logits_NLV.flatten(0, 1), targets_NL.flatten())
