"""Reads and writes safetensors with PyTorch and NumPy alone."""
import json
import os
import struct
from pathlib import Path

import numpy
import torch

DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


def read_file(path):
    """All tensors of a file, by name."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    data = numpy.memmap(path, dtype=numpy.uint8, mode="r", offset=8 + length)
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        start, end = entry["data_offsets"]
        copy = torch.from_numpy(numpy.array(data[start:end]))
        tensors[name] = copy.view(DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors


def read_folder(folder):
    """All tensors of a checkpoint, single or sharded."""
    tensors = {}
    for path in sorted(Path(folder).glob("*.safetensors")):
        tensors.update(read_file(path))
    return tensors


def write_file(path, tensors):
    """Writes tensors by name, and waits until the disk has them."""
    names = {dtype: name for name, dtype in DTYPES.items()}
    header, offset = {}, 0
    for name, tensor in tensors.items():
        end = offset + tensor.nbytes
        header[name] = {"dtype": names[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for tensor in tensors.values():
            file.write(tensor.contiguous().view(torch.uint8).numpy())
        file.flush()
        os.fsync(file.fileno())
