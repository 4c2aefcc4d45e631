"""The training steps in PyTorch that benchmarks.train_step compares with.

`torch` is our network written as PyTorch code usually is, with torch's fused attention
and cross entropy; `torch_compile` is the same, compiled; `transformers` is that
library's OpenAIGPT. All have dropout, clipping and AdamW. Nothing is loaded or saved.
"""

import os
from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks import steps
from gpt1_jax.config import ModelConfig, OptimConfig, RunConfig


def make(side: str, config: RunConfig) -> steps.Step:
    """Returns the step of a side, on the GPU where torch finds one.

    It computes in model.compute_dtype; `auto` is bfloat16 on a GPU, float32 on a CPU.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(os.cpu_count() or 1)
    torch.set_float32_matmul_precision("high")  # has no effect on a CPU
    torch.manual_seed(config.seed)
    is_peer = side.startswith("transformers")
    network = (_OpenAIGPT if is_peer else _Transformer)(
        config.model, config.data.vocab_size
    ).to(device)
    parameters = list(network.parameters())
    loss_fn = torch.compile(network) if side.startswith("torch_compile") else network
    dtype = config.model.compute_dtype
    is_half = dtype == "bfloat16" or (dtype == "auto" and device == "cuda")
    autocast = torch.autocast(device, torch.bfloat16, enabled=is_half)
    train_step = _make_train_step(loss_fn, parameters, config.optim, autocast)

    def start(tokens_BL: np.ndarray) -> torch.Tensor:
        return train_step(torch.from_numpy(tokens_BL).to(device, non_blocking=True))

    return steps.Step(
        num_parameters=sum(parameter.numel() for parameter in parameters),
        start=start,
        finish=lambda loss: loss.item(),
        device=torch.cuda.get_device_name() if device == "cuda" else "cpu",
    )


class _Block(nn.Module):
    """The block of models.transformer: norm_1(x + attention(x)), norm_2(n + mlp(n))."""

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


class _Transformer(nn.Module):
    """The Transformer with its tied output layer and its loss."""

    def __init__(self, cfg: ModelConfig, vocab_size: int):
        super().__init__()
        self.cfg = cfg
        self.token = nn.Parameter(torch.empty(vocab_size, cfg.width))
        self.position = nn.Parameter(torch.empty(cfg.context_length, cfg.width))
        self.blocks = nn.ModuleList(_Block(cfg) for _ in range(cfg.num_layers))
        for parameter in self.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)

    def forward(self, tokens_NL: torch.Tensor) -> torch.Tensor:
        """Returns the mean loss, in nats, over all tokens but each row's first.

        Embedding dropout acts on the tables, so in the softmax too; see models.dropout.
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


class _OpenAIGPT(nn.Module):
    """transformers' model of the same sizes; dropout is on summed embeddings."""

    def __init__(self, cfg: ModelConfig, vocab_size: int):
        super().__init__()
        import transformers

        self.model = transformers.OpenAIGPTLMHeadModel(
            transformers.OpenAIGPTConfig(
                vocab_size=vocab_size,
                n_positions=cfg.context_length,
                n_embd=cfg.width,
                n_layer=cfg.num_layers,
                n_head=cfg.num_heads,
                embd_pdrop=cfg.embedding_dropout,
                resid_pdrop=cfg.residual_dropout,
                attn_pdrop=cfg.attention_dropout,
            )
        )

    def forward(self, tokens_NL: torch.Tensor) -> torch.Tensor:
        """Returns the mean loss, in nats, over all tokens but each row's first."""
        inputs_NL = tokens_NL[:, :-1].contiguous()
        logits_NLV = self.model(inputs_NL).logits
        targets_NL = tokens_NL[:, 1:]
        return functional.cross_entropy(
            logits_NLV.flatten(0, 1).float(), targets_NL.flatten()
        )


def _make_train_step(
    loss_fn: Callable[[torch.Tensor], torch.Tensor],
    parameters: list[nn.Parameter],
    cfg: OptimConfig,
    autocast: torch.autocast,
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Returns a function that updates on tokens_NL and returns the loss.

    Differs: torch.optim.AdamW corrects the moments, openai_adam the learning rate; here
    the learning rate stays at its peak.
    """
    optimizer = torch.optim.AdamW(
        [
            {
                "params": [p for p in parameters if p.ndim > 1],
                "weight_decay": cfg.weight_decay,
            },
            {"params": [p for p in parameters if p.ndim == 1], "weight_decay": 0.0},
        ],
        lr=cfg.peak_learning_rate,
        betas=(cfg.b1, cfg.b2),
        eps=cfg.eps,
        fused=True,
    )

    def train_step(tokens_NL: torch.Tensor) -> torch.Tensor:
        optimizer.zero_grad()
        with autocast:
            loss = loss_fn(tokens_NL)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, cfg.clip_norm)
        optimizer.step()
        return loss.detach()

    return train_step
