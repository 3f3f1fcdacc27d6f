"""One side of bench/merge.mjs: adds an adapter to the weights as reference implementations do, by a dense ΔW of each layer.

The only argument is JSON: {"model", "adapter", "operator", "dtype", "threads"}.
"""
import json
import time
from pathlib import Path

import torch

import protocol
from adapters import Adapted, add_adapters
from llama import Llama
from safetensors_file import read_file, read_folder, write_file


@torch.no_grad()
def main():
    options = protocol.options()
    model = load(options)
    layers = {name: module for name, module in model.named_modules() if isinstance(module, Adapted)}
    original = {name: layer.base.weight.clone() for name, layer in layers.items()}

    def merge(_):
        for name, layer in layers.items():
            layer.base.weight.copy_(original[name])
        _, seconds = protocol.timed(lambda: add_deltas(layers.values()))
        return {"seconds": seconds}

    def compare(request):
        """Returns the largest difference of a folder's weights from those merged here, relative to the largest of each."""
        theirs = read_folder(request["folder"])
        apart = 0.0
        for name, layer in layers.items():
            ours = layer.base.weight.float()
            difference = (theirs[f"{name}.weight"].float() - ours).abs().max() / ours.abs().max()
            apart = max(apart, difference.item())
        return {"apart": apart, "layers": len(layers)}

    def files(request):
        """Load, merge and save."""
        start = time.perf_counter()
        merged = load(options)
        add_deltas(module for module in merged.modules() if isinstance(module, Adapted))
        tensors = {name.replace(".base.", "."): tensor for name, tensor in merged.state_dict().items()}
        tensors = {name: tensor for name, tensor in tensors.items() if ".adapter." not in name}
        if merged.config.get("tie_word_embeddings", False):
            del tensors["lm_head.weight"]
        write_file(request["output"], tensors)
        return {"seconds": time.perf_counter() - start}

    protocol.serve({"merge": merge, "compare": compare, "files": files})


def load(options):
    dtype = getattr(torch, options["dtype"])
    config = json.loads((Path(options["model"]) / "config.json").read_text())
    model = Llama.load(config, read_folder(options["model"]), dtype)
    folder = Path(options["adapter"])
    adapter_config = json.loads((folder / "adapter_config.json").read_text())
    tensors = read_file(folder / "adapter_model.safetensors")
    add_adapters(model, tensors, adapter_config, options["operator"], torch.float32)
    return model


def add_deltas(layers):
    """W + ΔW in float32, rounded once."""
    for layer in layers:
        layer.base.weight.add_(layer.adapter.delta())


main()
