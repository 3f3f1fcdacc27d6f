"""Prints, as JSON, what can be compared on a GPU: {"torch", "device", "peft"}, or {"why"} nothing can.

The only argument is the kind of device that is asked for, "cuda" or, to try the scripts, "cpu".
"""
import json
import sys


def facts(kind):
    try:
        import torch
    except ImportError as error:
        return {"why": f"python3 has no PyTorch ({error})"}
    if kind == "cuda" and not torch.cuda.is_available():
        return {"why": f"python3's PyTorch {torch.__version__} has no CUDA device"}
    try:
        import peft
        import transformers

        versions = f"{peft.__version__} with transformers {transformers.__version__}"
    except Exception as error:  # an installation that does not fit the rest raises anything
        return {**of(torch, kind), "peft": None, "whyNoPeft": f"{type(error).__name__}: {error}"}
    return {**of(torch, kind), "peft": versions}


def of(torch, kind):
    name = torch.cuda.get_device_name() if kind == "cuda" else "cpu"
    return {"torch": torch.__version__, "device": name, "cudnn": torch.backends.cudnn.version()}


print(json.dumps(facts(sys.argv[1])))
