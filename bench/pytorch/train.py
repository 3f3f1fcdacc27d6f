"""One side of bench/train.mjs: trains with PyTorch, a step for each request (protocol.py).

The only argument is JSON: {"model", "adapter", "tokens", "operator", "dtype", "rows", "length", "threads",
"learningRate", "best"}. `best` turns on what a careful user would: adapters in the model's dtype, the faster attention
and the fused AdamW.
"""
import json
import time
from pathlib import Path

import numpy
import torch
from torch.nn import functional

import protocol
from adapters import add_adapters
from llama import ATTENTIONS, Llama, sizes_of
from safetensors_file import read_file, read_folder


def main():
    options = protocol.options()
    dtype = getattr(torch, options["dtype"])
    config = json.loads((Path(options["model"]) / "config.json").read_text())
    model = Llama.load(config, read_folder(options["model"]), dtype)
    attention = faster_attention(config, options, dtype) if options["best"] else "sdpa"
    model.use_attention(attention)

    folder = Path(options["adapter"])
    adapter_config = json.loads((folder / "adapter_config.json").read_text())
    adapter_dtype = dtype if options["best"] else torch.float32
    tensors = read_file(folder / "adapter_model.safetensors")
    parameters = add_adapters(model, tensors, adapter_config, options["operator"], adapter_dtype)
    optimizer = torch.optim.AdamW(
        parameters, lr=options["learningRate"], weight_decay=0.0, fused=True if options["best"] else None
    )
    rows, width = options["rows"], options["length"] + 1
    tokens = numpy.fromfile(options["tokens"], dtype=numpy.int32, count=rows * width).reshape(rows, width)
    tokens = torch.from_numpy(tokens.astype(numpy.int64))
    ids, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].reshape(-1)

    def step(_):
        start, cpu_start = time.perf_counter(), time.process_time()
        logits = model(ids)
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), targets)
        del logits
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        values = {"loss": loss.item(), "gradNorm": norm.item()}
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        return {**values, "seconds": seconds, "cpuSeconds": cpu_seconds}

    protocol.serve({"step": step}, attention=attention)


def faster_attention(config, options, dtype):
    """Name of the attention whose forward and backward pass take least at this model's shape."""
    _, heads, _, size = sizes_of(config)

    def seconds(attend):
        q, k, v = (
            torch.randn(options["rows"], heads, options["length"], size).to(dtype).requires_grad_() for _ in range(3)
        )
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            out = attend(q, k, v)
            out.backward(torch.ones_like(out))
            best = min(best, time.perf_counter() - start)
        return best

    return min(ATTENTIONS, key=lambda name: seconds(ATTENTIONS[name]))


main()
