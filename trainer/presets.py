"""Bases worth taking, and when to take which."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preset:
    """A model of the Hub with safetensors. `parameters` are millions in all, `tokens` what it could read at once."""

    base: str
    parameters: int
    tokens: int
    when: str


PRESETS = (
    Preset(
        "sentence-transformers/all-MiniLM-L6-v2",
        23,
        512,
        "The default: English, labels of whole texts, hundreds of texts a second on one core; good from a few answers on.",
    ),
    Preset(
        "sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2",
        118,
        512,
        "The same for some fifty languages; half as fast.",
    ),
    Preset(
        "FacebookAI/roberta-base",
        125,
        512,
        "English with thousands of texts to learn from and a recipe of LoRA: case and punctuation are kept, so it suits names.",
    ),
    Preset(
        "answerdotai/ModernBERT-base",
        149,
        8192,
        "English, long texts or code: reads pages at once where student.max_tokens allows it; wants LoRA and, for training, a GPU.",
    ),
    Preset(
        "MoritzLaurer/deberta-v3-base-zeroshot-v2.0",
        184,
        512,
        "English, where the last point of accuracy matters more than speed: pairs of texts, inference, fine distinctions.",
    ),
    Preset(
        "FacebookAI/xlm-roberta-base",
        278,
        512,
        "A hundred languages, words and tokens as well as texts; wants LoRA.",
    ),
    Preset(
        "facebook/mbart-large-50-many-to-many-mmt",
        611,
        1024,
        "Texts in many languages at once where a translation model knows them better than XLM-R; its encoder alone is used.",
    ),
    Preset(
        "Qwen/Qwen3-0.6B-Base",
        596,
        32768,
        "Many languages, long texts, knowledge of the world in the label; wants LoRA and a GPU; also writes fields.",
    ),
    Preset(
        "meta-llama/Llama-3.2-1B",
        1236,
        131072,
        "English and a few more, like Qwen and larger; its licence has to be accepted on the Hub.",
    ),
    Preset(
        "mistralai/Mistral-7B-v0.3",
        7248,
        32768,
        "Where nothing smaller is good enough: a GPU for training and for labelling.",
    ),
)


def table() -> str:
    """For people: what each base is, and under it when to take it."""
    return "\n".join(
        f"{preset.base} ({preset.parameters:,} M parameters, {preset.tokens:,} tokens)\n    {preset.when}"
        for preset in PRESETS
    )
