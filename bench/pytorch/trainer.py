"""What the scripts that train have in common: a frozen model with an adapter, and an optimizer step."""
import json
import time
from pathlib import Path

import torch

from adapters import add_adapters
from llama import Llama, sizes_of
from safetensors_file import read_file, read_folder


class Trainer:
    """Of a script's options: "model", "adapter", "operator", "dtype", "learningRate", "best" and "checkpointing".

    `best` turns on what a careful user would: adapters in the model's dtype, the fused AdamW, and the fastest of
    `attentions` (functions by name) on a batch of `shape` (rows, tokens of each).
    """

    def __init__(self, options, attentions, shape):
        best, dtype = options["best"], getattr(torch, options["dtype"])
        config = json.loads((Path(options["model"]) / "config.json").read_text())
        self.model = Llama.load(config, read_folder(options["model"]), dtype)
        self.model.checkpointing = options.get("checkpointing", False)
        self.attention = fastest_attention(attentions, config, shape, dtype) if best else next(iter(attentions))
        self.model.use_attention(attentions[self.attention])

        folder = Path(options["adapter"])
        adapter_config = json.loads((folder / "adapter_config.json").read_text())
        tensors = read_file(folder / "adapter_model.safetensors")
        adapter_dtype = dtype if best else torch.float32
        self.parameters = add_adapters(self.model, tensors, adapter_config, options["operator"], adapter_dtype)
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=options["learningRate"], weight_decay=0.0, fused=True if best else None
        )

    def logits(self, ids):
        """[rows, tokens, vocabulary] in the model's dtype."""
        return self.model(ids)

    def blocks(self):
        """The decoder's blocks, which are compiled one by one."""
        return self.model.model.layers

    def step(self, losses):
        """An optimizer step on losses that are made one by one and add up to the step's; with its time."""
        start, cpu_start = time.perf_counter(), time.process_time()
        total = 0.0
        for loss in losses:
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        values = {"loss": total, "gradNorm": norm.item()}
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        return {**values, "seconds": seconds, "cpuSeconds": cpu_seconds}


def fastest_attention(attentions, config, shape, dtype):
    """Name of the attention whose forward and backward pass take least at this model's heads."""
    _, heads, _, size = sizes_of(config)
    rows, length = shape

    def seconds(attend):
        q, k, v = (torch.randn(rows, heads, length, size).to(dtype).requires_grad_() for _ in range(3))
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            out = attend(q, k, v)
            out.backward(torch.ones_like(out))
            best = min(best, time.perf_counter() - start)
        return best

    return min(attentions, key=lambda name: seconds(attentions[name]))
