"""One side of bench/generation.mjs: reads a prompt and chooses the likeliest token again and again, with a cache.

The only argument is JSON: {"model", "tokens", "prompt", "newTokens", "dtype", "threads"}.
"""
import json
from pathlib import Path

import numpy
import torch

import protocol
from llama import KeyValueCache, Llama
from safetensors_file import read_folder


def main():
    options = protocol.options()
    dtype = getattr(torch, options["dtype"])
    config = json.loads((Path(options["model"]) / "config.json").read_text())
    model = Llama.load(config, read_folder(options["model"]), dtype)
    prompt = numpy.fromfile(options["tokens"], dtype=numpy.int32, count=options["prompt"])
    prompt = torch.from_numpy(prompt.astype(numpy.int64)).unsqueeze(0)
    new_tokens = options["newTokens"]
    capacity = options["prompt"] + new_tokens
    rotary = model.rotary(capacity, dtype)

    @torch.inference_mode()
    def generate(_):
        caches = [KeyValueCache(config, capacity, dtype) for _ in model.model.layers]

        def choose(ids):
            return model.next_logits(ids, caches, rotary).argmax(-1).item()

        first, prefill = protocol.timed(lambda: choose(prompt))

        def go_on():
            chosen = [first]
            for _ in range(new_tokens):
                chosen.append(choose(torch.tensor([[chosen[-1]]])))
            return chosen

        ids, decode = protocol.timed(go_on)
        return {"prefill": prefill, "decode": decode, "ids": ids}

    protocol.serve({"generate": generate})


main()
