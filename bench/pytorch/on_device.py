"""Times work on a GPU by its own events; on a CPU, where scripts are tried, by the clock."""
import statistics
import time

import torch

EVICTED = 2**28  # bytes: larger than any second-level cache


def median_seconds(body, repeats, device):
    """Times `repeats` runs after one that is not counted, each with its operands out of the caches."""
    body()
    if device == "cpu":
        return statistics.median(by_the_clock(body) for _ in range(repeats))
    other = torch.zeros(EVICTED // 4, device=device)
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for start, end in pairs:
        other.count_nonzero()
        start.record()
        body()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) / 1000 for start, end in pairs)


def by_the_clock(body):
    """Returns the seconds until all work that `body` starts is done."""
    start = time.perf_counter()
    body()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_bytes(device):
    return 0 if device == "cpu" else torch.cuda.max_memory_allocated()
