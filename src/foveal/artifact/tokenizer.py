"""What an artifact's tokenizer must be: JSON of the ``tokenizers`` library, all texts of one length."""

from __future__ import annotations

import json
from typing import Any

MAX_TOKENIZER_BYTES = 64 << 20
"""The largest vocabularies in use (256,000 entries) take 35 MB."""


def check_tokenizer(content: bytes, length: int) -> None:
    """Make sure that a tokenizer gives ``length`` tokens for any text, and always the same ones.

    Needs no library, so that artifacts are written and read without it.

    Args:
        content: what ``tokenizers.Tokenizer.to_str`` gives, in UTF-8.
        length: tokens that the card promises.

    Raises:
        ValueError: it is not such JSON, cuts or pads to another length, or draws its tokens by chance.
    """
    try:
        settings = json.loads(content)
    except RecursionError as error:
        raise ValueError("its tokenizer is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"its tokenizer is not JSON: {error}") from error
    cut = _part(settings, "truncation").get("max_length")
    if cut != length:
        raise ValueError(
            f"its tokenizer cuts texts to {cut or 'no length'}, the card says {length} tokens; "
            f"call enable_truncation({length}) before storing it"
        )
    if _part(settings, "padding").get("strategy") != {"Fixed": length}:
        raise ValueError(
            f"its tokenizer does not pad texts to the card's {length} tokens; "
            f"call enable_padding(length={length}) before storing it"
        )
    if _part(settings, "model").get("dropout"):
        raise ValueError(
            "its tokenizer drops merges by chance, and scores would change with it; set model.dropout to None"
        )


def _part(settings: Any, name: str) -> dict[str, Any]:
    part = settings.get(name) if isinstance(settings, dict) else None
    return part if isinstance(part, dict) else {}
