"""Supervised fine-tuning with TRL: the settings come from config.yaml and the command line."""

from datasets import load_dataset
from trl import ModelConfig, ScriptArguments, SFTConfig, SFTTrainer, TrlParser, get_peft_config


def main() -> None:
    script, training, model = TrlParser((ScriptArguments, SFTConfig, ModelConfig)).parse_args_and_config()
    trainer = SFTTrainer(
        model=model.model_name_or_path,
        args=training,
        train_dataset=load_dataset("json", data_files=script.dataset_name, split="train"),
        peft_config=get_peft_config(model),
    )
    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    trainer.save_model(training.output_dir)


if __name__ == "__main__":
    main()
