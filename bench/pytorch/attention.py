"""One side of bench/kernels.mjs: causal scaled_dot_product_attention, forward and backward.

The only argument is JSON: {"folder", "heads", "keyValueHeads", "headSize", "dtype", "threads"}. Inputs are float32 files in
the folder (bench/kernels/attention.mjs). Keys and values are repeated for their queries' heads beforehand, untimed.
"""
from pathlib import Path

import numpy
import torch
from torch.nn import functional

import protocol


def main():
    options = protocol.options()
    folder, dtype, size = Path(options["folder"]), getattr(torch, options["dtype"]), options["headSize"]
    heads, groups = options["heads"], options["keyValueHeads"]
    state = {}

    def prepare(request):
        documents, length = request["documents"], request["length"]

        def read(name, count):
            values = numpy.fromfile(folder / name, dtype=numpy.float32, count=documents * length * count * size)
            by_head = torch.from_numpy(values).view(documents, length, count, size).transpose(1, 2)
            return by_head.repeat_interleave(heads // count, dim=1).to(dtype).contiguous()

        for name, count in (("q", heads), ("k", groups), ("v", groups), ("dOut", heads)):
            state[name] = read(name, count).requires_grad_(name != "dOut")
        return {}

    def attend():
        return functional.scaled_dot_product_attention(state["q"], state["k"], state["v"], is_causal=True)

    def repeat(count):
        for _ in range(count):
            attend()

    def forward(request):
        with torch.no_grad():
            _, seconds = protocol.timed(lambda: repeat(request["repeats"]))
        return {"seconds": seconds / request["repeats"]}

    def backward(request):
        total = 0.0
        for _ in range(request["repeats"]):
            for name in ("q", "k", "v"):
                state[name].grad = None
            out = attend()
            _, seconds = protocol.timed(lambda: out.backward(state["dOut"]))
            total += seconds
        return {"seconds": total / request["repeats"]}

    def write(_):
        """The output and the gradients, float32, laid out as the inputs are."""
        for name in ("q", "k", "v"):
            state[name].grad = None
        out = attend()
        out.backward(state["dOut"])
        for name, tensor in (("out", out), ("dQ", state["q"].grad), ("dK", state["k"].grad), ("dV", state["v"].grad)):
            values = tensor.detach().float()
            if name in ("dK", "dV"):
                values = values.unflatten(1, (groups, -1)).sum(2)
            values.transpose(1, 2).contiguous().numpy().tofile(folder / name)
        return {}

    protocol.serve({"prepare": prepare, "forward": forward, "backward": backward, "write": write})


main()
