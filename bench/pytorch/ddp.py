"""A process of PyTorch in bench/ranks.mjs: alone, or a rank of DistributedDataParallel by gloo, a step for each request.

The only argument is JSON: what trainer.py reads, and {"tokens", "rows", "length", "threads", "rank", "size", "store"}. Rows are
dealt out by rank; "store" is a file that is not there yet, in which ranks find each other.
"""
import time

import numpy
import torch
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

import protocol
from llama import ATTENTIONS
from trainer import Trainer


def main():
    options = protocol.options()
    rows, width, rank, size = options["rows"], options["length"] + 1, options["rank"], options["size"]
    tokens = numpy.fromfile(options["tokens"], dtype=numpy.int32, count=rows * width).reshape(rows, width)
    own = torch.from_numpy(tokens.astype(numpy.int64))[rank::size]
    trainer = Trainer(options, ATTENTIONS, (len(own), options["length"]))
    model = trainer.model
    if size > 1:
        torch.distributed.init_process_group("gloo", init_method=f"file://{options['store']}", rank=rank, world_size=size)
        model = DistributedDataParallel(model, broadcast_buffers=False)
    # The mean over ranks, which DDP makes of gradients, is then that over all rows.
    share = len(own) * size / rows

    def losses():
        logits = model(own[:, :-1].contiguous())
        yield functional.cross_entropy(logits.flatten(0, 1).float(), own[:, 1:].reshape(-1)) * share

    def step(_):
        begin = time.monotonic()
        values = trainer.step(losses())
        return {**values, "begin": begin, "end": time.monotonic()}

    protocol.serve({"step": step}, attention=trainer.attention)


main()
