"""One side of bench/train.mjs and bench/memory.mjs: trains with PyTorch, a step for each request (protocol.py).

The only argument is JSON: what trainer.py reads, and {"tokens", "rows", "length", "threads"}. Optional: "passRows", rows
of a forward pass, and "compile", a folder for what torch.compile makes; it has compiled before this says that it is ready.
"""
import os

import numpy
import torch
from torch.nn import functional

import protocol
from llama import ATTENTIONS
from trainer import Trainer


def main():
    options = protocol.options()
    rows, width = options["rows"], options["length"] + 1
    pass_rows = options.get("passRows", rows)
    trainer = Trainer(options, ATTENTIONS, (pass_rows, options["length"]))
    tokens = numpy.fromfile(options["tokens"], dtype=numpy.int32, count=rows * width).reshape(rows, width)
    tokens = torch.from_numpy(tokens.astype(numpy.int64))

    def loss_of(part):
        logits = trainer.model(part[:, :-1].contiguous())
        return functional.cross_entropy(logits.flatten(0, 1).float(), part[:, 1:].reshape(-1)) * (len(part) / rows)

    def losses():
        return (loss_of(part) for part in tokens.split(pass_rows))

    if "compile" in options:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = options["compile"]
        compile_blocks(trainer.model)
        for loss in losses():
            loss.backward()
        trainer.optimizer.zero_grad(set_to_none=True)
    protocol.serve({"step": lambda _: trainer.step(losses())}, attention=trainer.attention)


def compile_blocks(model):
    """All blocks share a program: compiled in a third of the time of the model as a whole, and its steps take no longer."""
    for layer in model.model.layers:
        layer.compile()


main()
