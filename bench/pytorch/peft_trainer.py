"""The model and LoRA as Hugging Face's transformers and PEFT make them, set as fast as we know: the strongest PyTorch.

Attention is eager, which the compiler fuses, and adapters are in the model's dtype; PEFT alone would make them float32.
"""
import peft
import torch
import transformers

from trainer import Trainer


class PeftTrainer(Trainer):
    """Of a script's options: "model", "adapter", "dtype" and "learningRate". Its weights are those of `Trainer`."""

    attention = "eager"

    def __init__(self, options):
        dtype = getattr(torch, options["dtype"])
        base = transformers.AutoModelForCausalLM.from_pretrained(
            options["model"], dtype=dtype, attn_implementation=self.attention, use_cache=False
        )
        self.model = peft.PeftModel.from_pretrained(
            base, options["adapter"], is_trainable=True, autocast_adapter_dtype=False
        )
        self.parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        for parameter in self.parameters:
            parameter.data = parameter.data.to(dtype)
        self.model.train()
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=options["learningRate"], weight_decay=0.0, fused=True
        )

    def logits(self, ids):
        return self.model(input_ids=ids).logits

    def blocks(self):
        return self.model.get_base_model().model.layers
