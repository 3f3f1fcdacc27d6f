"""The protocol of this folder's scripts: a line of JSON once it is ready, and one for each request."""
import json
import os
import sys
import time

import torch

# Answers alone are written to standard output: what libraries print goes to standard error.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def options():
    """Returns the script's only argument, JSON. Sets PyTorch's threads (0: its default)."""
    values = json.loads(sys.argv[1])
    if values["threads"] > 0:
        torch.set_num_threads(values["threads"])
    return values


def serve(tasks, **facts):
    """Announces readiness, and answers requests {"task", ...} until the input ends; `tasks` are functions of a request."""
    say({"version": torch.__version__, "threads": torch.get_num_threads(), "blas": blas(), **facts})
    for line in sys.stdin:
        request = json.loads(line)
        say(tasks[request["task"]](request))


def timed(body):
    """What `body` gives, and its seconds."""
    start = time.perf_counter()
    result = body()
    return result, time.perf_counter() - start


def blas():
    """Paths of the BLAS libraries that this process has loaded: they decide how fast float32 products are."""
    paths = {line.split()[-1] for line in open("/proc/self/maps") if "/" in line}
    return sorted(path for path in paths if "blas" in path or "mkl" in path or "blis" in path)


def say(value):
    print(json.dumps(value), file=answers, flush=True)
