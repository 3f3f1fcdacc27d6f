"""One side of bench/rows.mjs: trains on rows of text with PyTorch, as padded batches or packed.

The only argument is JSON: what trainer.py reads, and {"data", "packed", "threads"}. The file `data` is JSON: a list of
steps, each a list of passes, each a list of rows {"ids", "targets"}, with -1 where nothing is to be predicted. Padded, a
step is one batch with rows of the longest one's length; pads stand at the end, where no token sees them.
"""
import json
from itertools import chain
from pathlib import Path

import torch
from torch.nn import functional

import protocol
from llama import ATTENTIONS, eager_attention, sdpa_attention
from trainer import Trainer

NO_TARGET = -1


class Packed:
    """Attention over documents that lie end to end in one row: `lengths` of those at work."""

    def __init__(self):
        self.use([1])
        self.ways = {
            "mask": self.masked,
            "sdpa by document": lambda *qkv: self.by_document(sdpa_attention, *qkv),
            "eager by document": lambda *qkv: self.by_document(eager_attention, *qkv),
        }

    def use(self, lengths):
        self.lengths = lengths
        blocks = [torch.ones(length, length, dtype=torch.bool).tril() for length in lengths]
        self.mask = torch.block_diag(*blocks)

    def masked(self, q, k, v):
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=self.mask)

    def by_document(self, attend, q, k, v):
        documents = zip(*(tensor.split(self.lengths, dim=2) for tensor in (q, k, v)))
        return torch.cat([attend(*document) for document in documents], dim=2)


def main():
    options = protocol.options()
    steps = json.loads(Path(options["data"]).read_text())
    if options["packed"]:
        packed = Packed()
        lengths = lengths_of(steps[0][0])
        packed.use(lengths)
        trainer = Trainer(options, packed.ways, (1, sum(lengths)))
    else:
        lengths = lengths_of(chain(*steps[0]))
        trainer = Trainer(options, ATTENTIONS, (len(lengths), max(lengths)))

    def loss_of(ids, targets, positions=None):
        """Sum over the targets."""
        logits = trainer.model(ids, positions).flatten(0, 1).float()
        return functional.cross_entropy(logits, targets.flatten(), ignore_index=NO_TARGET, reduction="sum")

    def packed_loss(rows):
        packed.use(lengths_of(rows))
        joined = (torch.tensor([list(chain(*(row[name] for row in rows)))]) for name in ("ids", "targets"))
        return loss_of(*joined, torch.cat([torch.arange(length) for length in packed.lengths]))

    def padded_loss(rows):
        longest = max(lengths_of(rows))

        def padded(name, fill):
            return torch.tensor([row[name] + [fill] * (longest - len(row[name])) for row in rows])

        return loss_of(padded("ids", 0), padded("targets", NO_TARGET))

    def step(request):
        passes = steps[request["step"]]
        count = sum(target != NO_TARGET for row in chain(*passes) for target in row["targets"])
        parts = map(packed_loss, passes) if options["packed"] else map(padded_loss, [list(chain(*passes))])
        return trainer.step(loss / count for loss in parts)

    protocol.serve({"step": step}, attention=trainer.attention)


def lengths_of(rows):
    return [len(row["ids"]) for row in rows]


main()
