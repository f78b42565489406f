"""The student: features, LoRA, fit, predict, calibrate. The only home of torch, transformers and peft."""
