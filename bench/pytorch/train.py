"""One side of bench/train.mjs and bench/memory.mjs: trains with PyTorch, a step for each request (protocol.py).

The only argument is JSON: what trainer.py reads, and {"tokens", "rows", "length", "threads"}. Optional: "passRows", rows
of a forward pass; "compile", a folder for what torch.compile makes, which it has done before this says that it is ready; and
"library": "peft", to train what transformers and PEFT make (peft_trainer.py).
"""
import ctypes
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
    trainer = trainer_of(options, pass_rows)
    tokens = numpy.fromfile(options["tokens"], dtype=numpy.int32, count=rows * width).reshape(rows, width)
    tokens = torch.from_numpy(tokens.astype(numpy.int64))

    def loss_of(part):
        logits = trainer.logits(part[:, :-1].contiguous())
        return functional.cross_entropy(logits.flatten(0, 1).float(), part[:, 1:].reshape(-1)) * (len(part) / rows)

    def losses():
        return (loss_of(part) for part in tokens.split(pass_rows))

    if "compile" in options:
        compile_blocks(trainer.blocks(), options["compile"])
        for loss in losses():
            loss.backward()
        trainer.optimizer.zero_grad(set_to_none=True)
    protocol.serve({"step": lambda _: trainer.step(losses())}, attention=trainer.attention)


def trainer_of(options, pass_rows):
    if options.get("library") == "peft":
        from peft_trainer import PeftTrainer  # not every Python has its imports

        return PeftTrainer(options)
    return Trainer(options, ATTENTIONS, (pass_rows, options["length"]))


def compile_blocks(blocks, folder):
    """All blocks share a program, so that this takes a third of the time that it takes for the model as a whole."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = folder
    # Where PyTorch has vector functions of a shared library, compiled code finds them only if all do, also in the processes
    # that try what this processor can do; without them it is scalar.
    for path in {line.split()[-1] for line in open("/proc/self/maps") if "libsleef.so" in line}:
        ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        os.environ["LD_PRELOAD"] = path
    for block in blocks:
        block.compile()


main()
