"""Fixed texts as chains of tokens: the whole "knowledge" of a lab model.

A lab model is an order-1 Markov chain: the next token depends on the last one alone.  So each text is cut into pieces
that occur nowhere else, each piece becomes one token, and each token has exactly one successor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

END = "</s>"
_SPACE = "▁"  # SentencePiece writes a space so
_PIECE_CHARACTERS = 12
_PAD_TO = 32  # a matrix's row is computed in blocks of 32


class Kind(IntEnum):
    """GGUF's token types (ggml-org/ggml docs/gguf.md, tokenizer.ggml.token_type)."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    UNUSED = 5
    BYTE = 6


@dataclass
class Vocabulary:
    """Tokens in order of their ids, with SentencePiece scores, and the one successor that some of them have."""

    tokens: list[str] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    follows: dict[int, int] = field(default_factory=dict)
    fallback: int = 0  # the successor of every other token

    def add(self, token: str, kind: Kind, score: float = 0.0) -> int:
        self.tokens.append(token)
        self.kinds.append(kind)
        self.scores.append(score)
        return len(self.tokens) - 1


def pieces(text: str, used: set[str]) -> list[str]:
    """Cuts `text` after newlines and before spaces into pieces that are not in `used`, and adds them to it.

    A piece that is taken grows by a character at a time; what is left over at the end is glued to the piece before.
    """
    out: list[str] = []
    start = 0
    while start < len(text):
        limit = min(len(text), start + _PIECE_CHARACTERS)
        cuts = [
            end
            for end in range(start + 1, limit + 1)
            if text[end - 1] == "\n" or (end < len(text) and text[end] == " ")
        ]
        end = cuts[-1] if cuts else limit
        while text[start:end].replace(" ", _SPACE) in used and end < len(text):
            end += 1
        piece = text[start:end].replace(" ", _SPACE)
        if piece in used:
            if not out:
                raise ValueError(f"the whole of {text!r} is a piece of another answer")
            before = out.pop()
            used.discard(before)
            piece = before + piece
        used.add(piece)
        out.append(piece)
        start = end
    return out


def _base() -> tuple[Vocabulary, int]:
    """The tokens that every prompt can be written with: control, 256 bytes, printable ASCII.  And the end's id."""
    vocabulary = Vocabulary()
    vocabulary.add("<unk>", Kind.UNKNOWN)
    vocabulary.add("<s>", Kind.CONTROL)
    end = vocabulary.add(END, Kind.CONTROL)
    for byte in range(256):
        vocabulary.add(f"<0x{byte:02X}>", Kind.BYTE)
    for character in [_SPACE, *map(chr, range(33, 127))]:
        vocabulary.add(character, Kind.NORMAL, -1000.0)
    return vocabulary, end


def _padded(vocabulary: Vocabulary) -> Vocabulary:
    while len(vocabulary.tokens) % _PAD_TO:
        vocabulary.add(f"<|pad{len(vocabulary.tokens)}|>", Kind.UNUSED)
    return vocabulary


def answers(texts: Mapping[str, str], default: str, endless: Mapping[str, tuple[str, str]] | None = None) -> Vocabulary:
    """One model that knows several answers: the control token `<|KEY|>` at the end of a prompt starts the text of KEY.

    Any other prompt gets the text of `default`.  A KEY of `endless` starts its two words, over and over (see `loop`).
    """
    vocabulary, end = _base()
    used = {token for token, kind in zip(vocabulary.tokens, vocabulary.kinds, strict=True) if kind is Kind.NORMAL}
    for key, text in texts.items():
        start = vocabulary.add(f"<|{key}|>", Kind.CONTROL)
        ids = [vocabulary.add(piece, Kind.NORMAL, -1.0) for piece in pieces(text, used)]
        vocabulary.follows.update(zip([start, *ids], [*ids, end], strict=True))
        if key == default:
            vocabulary.fallback = ids[0]
    for key, words in (endless or {}).items():
        start = vocabulary.add(f"<|{key}|>", Kind.CONTROL)
        one, other = (vocabulary.add(_SPACE + word, Kind.NORMAL, -1.0) for word in words)
        vocabulary.follows.update({start: one, one: other, other: one})
    return _padded(vocabulary)


def loop(words: tuple[str, ...]) -> Vocabulary:
    """Says `words` over and over until it is stopped.

    At least two words: Ollama ends a stream in which one piece repeats more than 30 times (llm/llama_server.go).
    """
    if len(set(words)) < 2:
        raise ValueError(f"a loop needs two different words at least, not {words!r}")
    vocabulary, _ = _base()
    ids = [vocabulary.add(_SPACE + word, Kind.NORMAL, -1.0) for word in words]
    vocabulary.follows.update(zip(ids, [*ids[1:], ids[0]], strict=True))
    vocabulary.fallback = ids[0]
    return _padded(vocabulary)
