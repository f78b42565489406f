"""The student: features, LoRA, fit, predict, calibrate. The only home of torch, transformers and peft."""

import warnings

# peft asks transformers for a property under its old name; nothing a user could do about it.
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing.*", category=FutureWarning)
