"""Steps of GRPO by TRL: transformers' generation and LoRA of rank 8, on the CPU."""
import time

import datasets
import peft
import torch
import transformers
import trl

from protocol import options, serve


class StepTimes(transformers.TrainerCallback):
    """The seconds between the ends of steps."""

    def __init__(self):
        self.seconds = []
        self.last = None

    def on_step_end(self, *_args, **_kwargs):
        now = time.perf_counter()
        if self.last is not None:
            self.seconds.append(now - self.last)
        self.last = now


def even(completion_ids, **_kwargs):
    """The reward of bench/rollout.mjs."""
    return [sum(token % 2 == 0 for token in ids) / len(ids) for ids in completion_ids]


def steps(request):
    """Seconds of each step after the first, for groups of some size."""
    group, tokens = request["group"], request["tokens"]
    prompts = request["prompts"]
    times = StepTimes()
    model = transformers.AutoModelForCausalLM.from_pretrained(given["model"], dtype=torch.bfloat16)
    trainer = trl.GRPOTrainer(
        model=model,
        processing_class=transformers.AutoTokenizer.from_pretrained(given["model"]),
        reward_funcs=even,
        train_dataset=datasets.Dataset.from_list(
            [{"prompt": [{"role": "user", "content": prompt}]} for prompt in prompts]
        ),
        peft_config=peft.LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"),
        args=trl.GRPOConfig(
            output_dir=given["folder"],
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            per_device_train_batch_size=group * len(prompts),
            num_generations=group,
            max_completion_length=tokens,
            max_steps=request["rounds"] + 1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        callbacks=[times],
    )
    trainer.train()
    return {"seconds": times.seconds}


given = options()
serve({"steps": steps}, trl=trl.__version__)
