"""A tokenizer's vocabulary as bytes, so that what a model writes can be held to a text exactly."""

import copy
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from stillhouse.errors import ModelError

LONGEST_TOKEN = 24  # bytes; longer ones are runs of spaces and the like, and shorter tokens spell them as well


@dataclass(frozen=True, slots=True, eq=False)
class Vocabulary:
    """A tokenizer as bytes: the id of each token's bytes (special tokens left out), and how it cuts a string."""

    ids: Mapping[bytes, int]
    texts: Mapping[int, bytes]
    tokenizer: Any

    def cut(self, text: str) -> list[int]:
        """The tokens of `text` as it stands inside a line: no special tokens, no space put before it.

        Cut after a line break, so that a tokenizer that marks the beginning of a text does not mark this one. Raises
        ModelError where the vocabulary cannot spell the text.
        """
        wanted = text.encode("utf-8")
        mark, ids = self.raw("\n"), self.raw("\n" + text)
        if (
            ids[: len(mark)] == mark
            and b"".join(self.texts.get(token, b"\xff") for token in ids[len(mark) :]) == wanted
        ):
            return ids[len(mark) :]
        return self._longest_first(wanted)

    def raw(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def _longest_first(self, wanted: bytes) -> list[int]:
        tokens, start = [], 0
        while start < len(wanted):
            sizes = range(min(LONGEST_TOKEN, len(wanted) - start), 0, -1)
            size = next((size for size in sizes if wanted[start : start + size] in self.ids), 0)
            if size == 0:
                raise ModelError(
                    "the base's vocabulary cannot write the fields",
                    expected="a token for every byte (byte-level BPE, or byte fallback)",
                    found=f"no token for {wanted[start : start + 1]!r}",
                    fix="take another student.base",
                )
            tokens.append(self.ids[wanted[start : start + size]])
            start += size
        return tokens

    def spelt(self, tokens: Iterable[int]) -> str:
        return b"".join(self.texts[token] for token in tokens).decode("utf-8")

    def made_of(self, alphabet: bytes) -> list[tuple[bytes, int]]:
        return [(text, token) for text, token in self.ids.items() if not text.strip(alphabet)]


def vocabulary_of(tokenizer: Any) -> Vocabulary:
    """The vocabulary of a transformers tokenizer: byte-level BPE (GPT-2, Llama 3, Qwen) or SentencePiece with byte
    fallback (Llama 2, Mistral, Gemma).

    Text that looks like a special token is cut into plain ones. Raises ModelError for any other tokenizer.
    """
    backend = copy.deepcopy(getattr(tokenizer, "backend_tokenizer", None))
    described = json.loads(backend.to_str()) if backend is not None else {}
    byte_level = '"ByteLevel"' in json.dumps([described.get("decoder"), described.get("pre_tokenizer")])
    if backend is None or not (byte_level or "<0x0A>" in backend.get_vocab()):
        raise ModelError(
            "the base's tokenizer cannot be held to a grammar",
            expected="byte-level BPE, or SentencePiece with byte fallback",
            found=type(tokenizer).__name__ if backend is None else str(described.get("model", {}).get("type")),
            fix="take a causal language model such as Llama, Qwen, Mistral or GPT-2 as student.base",
        )
    backend.encode_special_tokens = True
    backend.no_padding()
    backend.no_truncation()
    added = set(backend.get_added_tokens_decoder())
    alphabet = {char: byte for byte, char in _bytes_to_unicode().items()}
    ids: dict[bytes, int] = {}
    texts: dict[int, bytes] = {}
    for piece, token in sorted(backend.get_vocab(with_added_tokens=False).items(), key=lambda pair: pair[1]):
        text = None if token in added else _level(piece, alphabet) if byte_level else _piece(piece)
        if text:
            texts[token] = text
            if text not in ids or not piece.startswith("<0x"):  # "A" is written as itself, not as the byte 0x41
                ids[text] = token
    return Vocabulary(ids, texts, backend)


def _level(piece: str, alphabet: Mapping[str, int]) -> bytes | None:
    return bytes(alphabet[char] for char in piece) if all(char in alphabet for char in piece) else None


def _piece(piece: str) -> bytes:
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        return bytes.fromhex(piece[3:5])
    return piece.replace("\u2581", " ").encode("utf-8")


def _bytes_to_unicode() -> dict[int, str]:
    """GPT-2's printable character for each byte (Radford et al. 2019)."""
    shown = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {byte: chr(byte) for byte in shown} | {byte: chr(256 + place) for place, byte in enumerate(hidden)}
