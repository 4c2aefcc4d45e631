"""The training steps in PyTorch that train_step compares with, by name.

`torch` is the twin in eager float32; `torch_bf16` the same under bfloat16 autocast;
`torch_compile` the same compiled; `transformers` and `transformers_bf16` are
transformers' OpenAIGPT, eager. All have dropout, clipping and AdamW.
"""

import contextlib
import os
from collections.abc import Callable

import torch
from torch import nn

from benchmarks import torch_twin
from gpt1_jax.config import ModelConfig, OptimConfig, RunConfig


def make(name: str, config: RunConfig) -> tuple[int, Callable[[torch.Tensor], float]]:
    """How many parameters a side has, and its update from tokens_NL, which it returns.

    Args: name: as above.
    """
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(config.seed)
    if name.startswith("transformers"):
        model = _OpenAIGPT(config.model, config.data.vocab_size)
    else:
        model = torch_twin.Twin(config.model, config.data.vocab_size)
    parameters = list(model.parameters())
    loss_of = torch.compile(model) if name == "torch_compile" else model
    step = _make_train_step(loss_of, parameters, config.optim, name.endswith("bf16"))
    return sum(parameter.numel() for parameter in parameters), step


class _OpenAIGPT(nn.Module):
    """transformers' model of the same sizes; dropout is on the sum of embeddings."""

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
        """The mean loss, in nats, of predicting each token but a row's first."""
        inputs_NL = tokens_NL[:, :-1].contiguous()
        logits_NLV = self.model(inputs_NL).logits
        targets_NL = tokens_NL[:, 1:]
        return nn.functional.cross_entropy(
            logits_NLV.flatten(0, 1).float(), targets_NL.flatten()
        )


def _make_train_step(
    loss_of: Callable[[torch.Tensor], torch.Tensor],
    parameters: list[nn.Parameter],
    cfg: OptimConfig,
    is_bf16: bool,
) -> Callable[[torch.Tensor], float]:
    """An update from tokens_NL, as a function that returns the loss.

    Differs: torch.optim.AdamW corrects the moments where openai_adam corrects the rate;
    the rate stays at its peak.
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

    def train_step(tokens_NL: torch.Tensor) -> float:
        optimizer.zero_grad()
        autocast = torch.autocast("cpu", torch.bfloat16)
        with autocast if is_bf16 else contextlib.nullcontext():
            loss = loss_of(tokens_NL)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, cfg.clip_norm)
        optimizer.step()
        return loss.item()

    return train_step
