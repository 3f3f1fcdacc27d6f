"""One side of bench/load.mjs: from process start to two training steps, a line for each finished part.

The only argument is JSON: {"model", "adapter", "operator", "tokens", "dtype", "rows", "length", "threads"}.
"""
print("start", flush=True)

import json
import sys
from pathlib import Path

import numpy
import torch
from torch.nn import functional

from adapters import add_adapters
from llama import Llama
from safetensors_file import read_file, read_folder

print("imports", flush=True)


def main():
    options = json.loads(sys.argv[1])
    if options["threads"] > 0:
        torch.set_num_threads(options["threads"])
    dtype = getattr(torch, options["dtype"])
    config = json.loads((Path(options["model"]) / "config.json").read_text())
    model = Llama.load(config, read_folder(options["model"]), dtype)
    print("model", flush=True)

    folder = Path(options["adapter"])
    adapter_config = json.loads((folder / "adapter_config.json").read_text())
    tensors = read_file(folder / "adapter_model.safetensors")
    parameters = add_adapters(model, tensors, adapter_config, options["operator"], dtype)
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.0, fused=True)
    rows, width = options["rows"], options["length"] + 1
    tokens = numpy.fromfile(options["tokens"], dtype=numpy.int32, count=rows * width).reshape(rows, width)
    tokens = torch.from_numpy(tokens.astype(numpy.int64))
    print("adapter", flush=True)

    for step in ("first step", "second step"):
        logits = model(tokens[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].reshape(-1))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        print(step, flush=True)


main()
