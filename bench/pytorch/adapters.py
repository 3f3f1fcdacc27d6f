"""LoRA and MoRA as modules beside a linear layer, operation by operation: compress, square linear, decompress.

The arithmetic follows arXiv 2405.12130: Eq. 6 (sharing) and Eq. 9 (rotation). k inputs, d outputs, R side of M.
"""
import torch
from torch import nn


class LoRA(nn.Module):
    def __init__(self, a, b, scale):
        super().__init__()
        self.a = linear_of(a)
        self.b = linear_of(b)
        self.scale = scale

    def forward(self, x):
        return self.b(self.a(x)) * self.scale

    def delta(self):
        """Returns the change of a weight [d, k] by the layer, as every `delta` here."""
        return self.b.weight @ self.a.weight * self.scale


class Sharing(nn.Module):
    """Input j is added to group j mod R; output i is entry i mod R."""

    def __init__(self, matrix, in_features, out_features):
        super().__init__()
        self.square = linear_of(matrix)
        self.in_features = in_features
        self.out_features = out_features

    def forward(self, x):
        side = self.square.in_features
        return tiled(self.square(in_blocks(x, side).sum(dim=-2)), self.out_features)

    def delta(self):
        blocks = -(-self.in_features // self.square.in_features)
        return tiled_rows(wrapped(self.square.weight.repeat(1, blocks), self.in_features), self.out_features)


class Rotation(nn.Module):
    """M is applied to every block of R inputs, block b rotated by b; the results are concatenated and cut."""

    def __init__(self, matrix, in_features, out_features):
        super().__init__()
        self.square = linear_of(matrix)
        self.in_features = in_features
        self.out_features = out_features
        side = matrix.shape[0]
        frequencies = 10000.0 ** (-torch.arange(0, side, 2, dtype=torch.float32) / side)
        angles = torch.outer(torch.arange(-(-in_features // side), dtype=torch.float32), frequencies).repeat(1, 2)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)

    def forward(self, x):
        blocks = in_blocks(x, self.square.in_features)
        first, second = blocks.chunk(2, dim=-1)
        turned = blocks * self.cosines + torch.cat((-second, first), dim=-1) * self.sines
        return tiled(self.square(turned).flatten(-2), self.out_features)

    def delta(self):
        """M times the rotation of each section, along the diagonal."""
        first, second = self.square.weight.chunk(2, dim=-1)
        swapped = torch.cat((second, -first), dim=-1)
        blocks = [self.square.weight * cosines + swapped * sines for cosines, sines in zip(self.cosines, self.sines)]
        return tiled_rows(wrapped(torch.block_diag(*blocks), self.in_features), self.out_features)


class Adapted(nn.Module):
    """A frozen linear layer and an adapter, which computes in the dtype of its own parameters."""

    def __init__(self, base, adapter):
        super().__init__()
        self.base = base
        self.adapter = adapter
        self.dtype = next(adapter.parameters()).dtype

    def forward(self, x):
        return self.base(x).add_(self.adapter(x.to(self.dtype)))


def linear_of(weight):
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight)
    return layer


def in_blocks(x, side):
    """Returns [..., k] as [..., n, R]; the last block is filled up with the start of x."""
    missing = -x.shape[-1] % side
    if missing > 0:
        x = torch.cat((x, x[..., :missing]), dim=-1)
    return x.view(*x.shape[:-1], -1, side)


def tiled(y, width):
    """Returns the first `width` entries of y repeated without end."""
    repeats = -(-width // y.shape[-1])
    if repeats > 1:
        y = torch.cat([y] * repeats, dim=-1)
    return y[..., :width]


def wrapped(columns, width):
    """Columns past the width belong to the input's start, which fills its last block."""
    missing = columns.shape[1] - width
    delta = columns[:, :width].clone()
    delta[:, :missing] += columns[:, width:]
    return delta


def tiled_rows(matrix, height):
    return tiled(matrix.T, height).T


def add_adapters(model, tensors, config, operator, dtype):
    """Puts an adapter of Hugging Face's file layout beside the layers that it names. Returns its parameters."""
    prefix, ends = "base_model.model.", (".lora_A.weight", ".lora_B.weight")
    paths = {name[len(prefix) : -len(ends[0])] for name in tensors if name.endswith(ends)}
    parameters = []
    for path in sorted(paths):
        parent_path, _, child = path.rpartition(".")
        parent = model.get_submodule(parent_path)
        base = getattr(parent, child)
        a, b = (tensors[prefix + path + end].to(dtype) for end in ends)
        if operator == "lora":
            adapter = LoRA(a, b, config["lora_alpha"] / config["r"])
        elif operator == "sharing":
            adapter = Sharing(a, base.in_features, base.out_features)
        elif operator == "rotation":
            adapter = Rotation(a, base.in_features, base.out_features).to(dtype)
        else:
            raise ValueError(f"no PyTorch version of {operator}")
        setattr(parent, child, Adapted(base, adapter))
        parameters.extend(adapter.parameters())
    return parameters
