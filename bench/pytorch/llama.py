"""A decoder of the Llama family in plain PyTorch, operation by operation, with Hugging Face's module names.

Letters: B rows, T tokens of a row, D hidden, H query heads, K key-value heads, E head size, V vocabulary.
"""
import math

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint


class RMSNorm(nn.Module):
    def __init__(self, size, epsilon):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.epsilon = epsilon

    def forward(self, x):
        wide = x.float()
        scaled = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + self.epsilon)
        return self.weight * scaled.to(x.dtype)


def rotate(x, cosines, sines):
    """x [B, heads, T, E], half-split pairs."""
    first, second = x.chunk(2, dim=-1)
    return x * cosines + torch.cat((-second, first), dim=-1) * sines


def eager_attention(q, k, v):
    """Causal softmax(q kᵀ / √E) v with all scores in memory."""
    scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
    length = q.shape[-2]
    hidden = torch.full((length, length), float("-inf"), dtype=q.dtype).triu(1)
    return functional.softmax(scores + hidden, dim=-1, dtype=torch.float32).to(q.dtype) @ v


def sdpa_attention(q, k, v):
    return functional.scaled_dot_product_attention(q, k, v, is_causal=True)


# The first is the default.
ATTENTIONS = {"sdpa": sdpa_attention, "eager": eager_attention}


class KeyValueCache:
    """Keys and values [B, K, T, E] of one layer, in room for `capacity` tokens."""

    def __init__(self, config, capacity, dtype):
        _, _, heads, size = sizes_of(config)
        self.keys, self.values = (torch.empty(1, heads, capacity, size, dtype=dtype) for _ in range(2))
        self.length = 0

    def extend(self, keys, values):
        """Appends those of new tokens, and returns all."""
        start, self.length = self.length, self.length + keys.shape[2]
        self.keys[:, :, start : self.length] = keys
        self.values[:, :, start : self.length] = values
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden, self.heads, self.kv_heads, self.head_size = sizes_of(config)
        bias = config.get("attention_bias", False)
        self.q_proj = nn.Linear(hidden, self.heads * self.head_size, bias=bias)
        self.k_proj = nn.Linear(hidden, self.kv_heads * self.head_size, bias=bias)
        self.v_proj = nn.Linear(hidden, self.kv_heads * self.head_size, bias=bias)
        self.o_proj = nn.Linear(self.heads * self.head_size, hidden, bias=bias)
        self.attend = sdpa_attention

    def forward(self, x, cosines, sines, cache=None):
        batch, length, _ = x.shape

        def by_head(projected):
            return projected.view(batch, length, -1, self.head_size).transpose(1, 2)

        q, k, v = by_head(self.q_proj(x)), by_head(self.k_proj(x)), by_head(self.v_proj(x))
        q, k = rotate(q, cosines, sines), rotate(k, cosines, sines)
        if cache is not None:
            k, v = cache.extend(k, v)
            if length == 1:
                return self.o_proj(self.attend_one(q, k, v))
        repeats = self.heads // self.kv_heads
        k, v = k.repeat_interleave(repeats, dim=1), v.repeat_interleave(repeats, dim=1)
        return self.o_proj(self.attend(q, k, v).transpose(1, 2).reshape(batch, length, -1))

    def attend_one(self, q, k, v):
        """One token's heads [B, H, 1, E] to all that came before: those of a group are its queries, and nothing is copied."""
        batch = q.shape[0]
        groups = q.reshape(batch, self.kv_heads, self.heads // self.kv_heads, self.head_size)
        return functional.scaled_dot_product_attention(groups, k, v).reshape(batch, 1, -1)


class MLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        hidden, inner, bias = config["hidden_size"], config["intermediate_size"], config.get("mlp_bias", False)
        self.gate_proj = nn.Linear(hidden, inner, bias=bias)
        self.up_proj = nn.Linear(hidden, inner, bias=bias)
        self.down_proj = nn.Linear(inner, hidden, bias=bias)

    def forward(self, x):
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.input_layernorm = RMSNorm(config["hidden_size"], config["rms_norm_eps"])
        self.self_attn = Attention(config)
        self.post_attention_layernorm = RMSNorm(config["hidden_size"], config["rms_norm_eps"])
        self.mlp = MLP(config)

    def forward(self, x, cosines, sines, cache=None):
        x = x + self.self_attn(self.input_layernorm(x), cosines, sines, cache)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = nn.ModuleList(Block(config) for _ in range(config["num_hidden_layers"]))
        self.norm = RMSNorm(config["hidden_size"], config["rms_norm_eps"])


class Llama(nn.Module):
    """Logits [B, T, V] of ids [B, T]; every row is one document, unless its attention and positions say otherwise.

    `checkpointing`: blocks keep their input alone and run again in the backward pass.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.checkpointing = False
        self.model = Decoder(config)
        self.lm_head = nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)
        if config.get("tie_word_embeddings", False):
            self.lm_head.weight = self.model.embed_tokens.weight

    @classmethod
    def load(cls, config, tensors, dtype):
        """The model with its weights frozen and in `dtype`."""
        with torch.device("meta"):
            model = cls(config)
        weights = {name: tensor.to(dtype) for name, tensor in tensors.items()}
        if config.get("tie_word_embeddings", False):
            weights["lm_head.weight"] = weights["model.embed_tokens.weight"]
        model.load_state_dict(weights, assign=True)
        return model.requires_grad_(False)

    def use_attention(self, attend):
        for layer in self.model.layers:
            layer.self_attn.attend = attend

    def forward(self, ids, positions=None):
        """`positions` [T]: of packed documents, where they begin anew in each; else 0, 1, …"""
        x = self.model.embed_tokens(ids)
        cosines, sines = self.rotary(ids.shape[1], x.dtype)
        if positions is not None:
            cosines, sines = cosines[positions], sines[positions]
        for layer in self.model.layers:
            if self.checkpointing:
                x = checkpoint(layer, x, cosines, sines, use_reentrant=False)
            else:
                x = layer(x, cosines, sines)
        return self.lm_head(self.model.norm(x))

    def next_logits(self, ids, caches, rotary):
        """Logits [B, V] of what follows ids [B, T] after what the caches, one of each layer, hold; `rotary` of all positions.

        More than one token only into empty caches.
        """
        start = caches[0].length
        cosines, sines = (table[start : start + ids.shape[1]] for table in rotary)
        x = self.model.embed_tokens(ids)
        for layer, cache in zip(self.model.layers, caches):
            x = layer(x, cosines, sines, cache)
        return self.lm_head(self.model.norm(x[:, -1]))

    def rotary(self, length, dtype):
        """cos and sin [T, E], made in float32."""
        _, _, _, size = sizes_of(self.config)
        numbers = {"dtype": torch.float32, "device": self.lm_head.weight.device}
        frequencies = rope_theta(self.config) ** (-torch.arange(0, size, 2, **numbers) / size)
        angles = torch.outer(torch.arange(length, **numbers), frequencies).repeat(1, 2)
        return angles.cos().to(dtype), angles.sin().to(dtype)


def sizes_of(config):
    """D, H, K, E."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    return hidden, heads, config.get("num_key_value_heads", heads), config.get("head_dim") or hidden // heads


def rope_theta(config):
    parameters = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind != "default":
        raise ValueError(f"expected plain rotary embeddings but the model's rope type is {kind}")
    return parameters.get("rope_theta", config.get("rope_theta", 10000.0))
