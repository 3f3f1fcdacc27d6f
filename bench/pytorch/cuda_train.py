"""One side of bench/cuda/pytorch.mjs: trains a model of random weights in bfloat16 with LoRA on all of its linear layers.

The only argument is JSON: {"device", "config", "rank", "rows", "length", "ids", "way", "compile", "repeats", "threads"}.
"way" is "plain", the model of llama.py with adapters in bfloat16, or "peft", as Hugging Face's libraries make both. "ids" is a
file of rows · (length + 1) tokens, int32.
"""
import numpy
import torch
from torch.nn import functional

import protocol
from adapters import Adapted, LoRA
from llama import Llama
from on_device import by_the_clock, peak_bytes

LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
DEVIATION = 0.02


def plain(options):
    """The model's logits as a function of ids, what can be compiled, and the trained parameters."""
    with torch.device("meta"):
        model = Llama(options["config"])
    model = model.to(torch.bfloat16).to_empty(device=options["device"]).requires_grad_(False)
    for name, parameter in model.named_parameters():
        parameter.fill_(1) if "norm" in name else parameter.normal_(0, DEVIATION)
    parameters = []
    for layer in model.model.layers:
        for part in (layer.self_attn, layer.mlp):
            for name in LAYERS:
                if hasattr(part, name):
                    setattr(part, name, adapted(getattr(part, name), options["rank"], parameters))
    return model, model.model.layers, parameters


def adapted(base, rank, parameters):
    weight = base.weight
    a = torch.randn(rank, weight.shape[1], device=weight.device, dtype=weight.dtype) * weight.shape[1] ** -0.5
    b = torch.zeros(weight.shape[0], rank, device=weight.device, dtype=weight.dtype)
    layer = Adapted(base, LoRA(a, b, 1.0))
    parameters.extend(layer.adapter.parameters())
    return layer


def by_peft(options):
    import peft
    from transformers import LlamaConfig, LlamaForCausalLM

    config = {name: value for name, value in options["config"].items() if name != "model_type"}
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(options["device"]):
        model = LlamaForCausalLM(LlamaConfig(**config, use_cache=False, attn_implementation="sdpa"))
    torch.set_default_dtype(torch.float32)
    lora = peft.LoraConfig(r=options["rank"], lora_alpha=options["rank"], target_modules=LAYERS, task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, lora)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return (lambda ids: model(input_ids=ids).logits), model.base_model.model.model.layers, parameters


def main():
    options = protocol.options()
    device, rows, width = options["device"], options["rows"], options["length"] + 1
    logits_of, layers, parameters = (plain if options["way"] == "plain" else by_peft)(options)
    if options["compile"]:
        for layer in layers:
            layer.compile()
    tokens = numpy.fromfile(options["ids"], dtype=numpy.int32, count=rows * width).reshape(rows, width)
    tokens = torch.from_numpy(tokens.astype(numpy.int64)).to(device)
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.0, fused=True)
    losses = []

    def step():
        logits = logits_of(tokens[:, :-1].contiguous())
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].reshape(-1))
        loss.backward()
        losses.append(loss.item())
        torch.nn.utils.clip_grad_norm_(parameters, 1.0).item()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    def train(_):
        """Mean seconds of a step, after two that also compile and allocate."""
        step()
        step()
        seconds = by_the_clock(lambda: [step() for _ in range(options["repeats"])]) / options["repeats"]
        return {"seconds": seconds, "peak": peak_bytes(device), "loss": losses[-1]}

    protocol.serve({"train": train}, trained=sum(parameter.numel() for parameter in parameters))


main()
