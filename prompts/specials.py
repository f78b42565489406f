"""Texts of the pool cannot speak a model's control language: the spelling of a special token is broken by a space."""

from collections.abc import Sequence
from typing import Any


def specials_of(tokenizer: Any) -> tuple[str, ...]:
    """The spellings of all special tokens of a transformers tokenizer, those added later too, in order."""
    added = (token for token in getattr(tokenizer, "added_tokens_decoder", {}).values() if token.special)
    spelt = {str(token) for token in (*tokenizer.all_special_tokens, *added)}
    return tuple(sorted(token for token in spelt if len(token) > 1 and token.strip()))


def without_specials(text: str, specials: Sequence[str]) -> str:
    """The text as a tokenizer reads it letter by letter: `<|im_end|>` becomes `< |im_end|>`."""
    for special in specials:
        if special in text:
            text = text.replace(special, f"{special[0]} {special[1:]}")
    return text
