"""Somebody's own training, which knows nothing of Trainyard: Transformers' Trainer, writing into ./outputs.

trainer.py MODEL_DIR
"""

import sys

import peft
import torch
import transformers

model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
model = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["q_proj"]))
rows = [{"input_ids": [i, i + 1, i + 2, i + 3], "labels": [i, i + 1, i + 2, i + 3]} for i in range(32)]
arguments = transformers.TrainingArguments(
    output_dir="outputs/mine",
    max_steps=8,
    logging_steps=2,
    save_steps=4,
    per_device_train_batch_size=2,
    learning_rate=0.01,
    use_cpu=True,
    report_to="none",
)
trainer = transformers.Trainer(model=model, args=arguments, train_dataset=rows)
trainer.train()
model.save_pretrained("outputs/mine")
