"""One side of bench/cuda/pytorch.mjs: causal scaled_dot_product_attention by each of PyTorch's implementations.

The only argument is JSON: {"device", "heads", "keyValueHeads", "headSize", "length", "checked", "folder", "repeats",
"threads"}. Times are of `length` tokens; results are compared at `checked` ones, whose inputs are float32 files in the
folder (bench/kernels/attention.mjs), in bfloat16.
"""
from pathlib import Path

import numpy
import torch
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

import protocol
from on_device import median_seconds

BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
}


def main():
    options = protocol.options()
    device, folder, size = options["device"], Path(options["folder"]), options["headSize"]
    heads, groups = options["heads"], options["keyValueHeads"]
    counts = {"q": heads, "k": groups, "v": groups, "dOut": heads}

    def attend(tensors, backend):
        q, k, v = (tensors[name] for name in ("q", "k", "v"))
        with sdpa_kernel(BACKENDS[backend]):
            return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=k.shape[1] != heads)

    def prepared(tensors, repeated):
        """Returns the inputs with gradients on; `repeated`: with keys and values for every head of queries."""
        if repeated:
            for name in ("k", "v"):
                tensors[name] = tensors[name].repeat_interleave(heads // groups, dim=1)
        return {name: tensor.requires_grad_(name != "dOut") for name, tensor in tensors.items()}

    def random(count):
        return torch.randn(1, count, options["length"], size, device=device, dtype=torch.bfloat16)

    def read(name):
        values = numpy.fromfile(folder / name, dtype=numpy.float32)
        by_head = torch.from_numpy(values).view(1, options["checked"], counts[name], size).transpose(1, 2)
        return by_head.to(device, torch.bfloat16).contiguous()

    def seconds_of(tensors, backend):
        with torch.no_grad():
            forward = median_seconds(lambda: attend(tensors, backend), options["repeats"], device)
        out, inputs = attend(tensors, backend), [tensors[name] for name in "qkv"]

        def differentiate():
            torch.autograd.grad(out, inputs, tensors["dOut"], retain_graph=True)

        return {"forward": forward, "backward": median_seconds(differentiate, options["repeats"], device)}

    def time(request):
        """Returns seconds of each pass, with keys repeated if necessary, or why there are none."""
        for repeated in [False, True] if groups != heads else [False]:
            tensors = prepared({name: random(count) for name, count in counts.items()}, repeated)
            try:
                return {**seconds_of(tensors, request["backend"]), "repeated": repeated}
            except RuntimeError as error:
                refusal = str(error).splitlines()[0]
        return {"refused": refusal}

    def write(request):
        """The output and the gradients, float32, laid out as the inputs are."""
        tensors = prepared({name: read(name) for name in counts}, request["repeated"])
        out = attend(tensors, request["backend"])
        gradients = torch.autograd.grad(out, [tensors[name] for name in "qkv"], tensors["dOut"])
        for name, tensor in zip(("out", "dQ", "dK", "dV"), (out, *gradients)):
            values = tensor.detach().float()
            if name in ("dK", "dV"):
                values = values.unflatten(1, (groups, -1)).sum(2)
            values.transpose(1, 2).contiguous().cpu().numpy().tofile(folder / name)
        return {}

    protocol.serve({"time": time, "write": write})


main()
