"""Supervised fine-tuning with Unsloth. Where the results go, and from which checkpoint it continues, is told by
Trainyard's environment."""

import os

# Before everything else that it patches.
from unsloth import FastLanguageModel  # isort: skip

from datasets import load_dataset
from trl import SFTConfig, SFTTrainer

MODEL = "Qwen/Qwen3-0.6B"
LENGTH = 512
OUTPUT = os.environ.get("TRAINYARD_OUTPUT_DIR", "outputs")


def main() -> None:
    model, tokenizer = FastLanguageModel.from_pretrained(MODEL, max_seq_length=LENGTH, load_in_4bit=True)
    model = FastLanguageModel.get_peft_model(
        model,
        r=16,
        lora_alpha=32,
        lora_dropout=0,
        target_modules=["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
        use_gradient_checkpointing="unsloth",
    )
    data = load_dataset("json", data_files="data.jsonl", split="train")
    data = data.map(lambda row: {"text": tokenizer.apply_chat_template(row["messages"], tokenize=False)})
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=data.remove_columns("messages"),
        args=SFTConfig(
            output_dir=OUTPUT,
            dataset_text_field="text",
            max_length=LENGTH,
            num_train_epochs=10,
            per_device_train_batch_size=4,
            learning_rate=2e-4,
            lr_scheduler_type="cosine",
            warmup_steps=2,
            logging_steps=1,
            save_steps=20,
            save_total_limit=2,
            report_to="none",
        ),
    )
    trainer.train(resume_from_checkpoint=os.environ.get("TRAINYARD_RESUME_FROM") or None)
    model.save_pretrained(OUTPUT)
    tokenizer.save_pretrained(OUTPUT)


if __name__ == "__main__":
    main()
