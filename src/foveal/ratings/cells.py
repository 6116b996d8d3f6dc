"""Cells of typed tables as text, so that every kind of table reads like a CSV file with the same content."""

from __future__ import annotations

import json
import math
from decimal import Decimal


def text(value: object) -> str:
    """A cell as text that ``float`` reads back as the very same number.

    Args:
        value: None and NaN, for a missing value, become empty. Whole numbers have no ``.0``, others the
            shortest digits that tell them apart (``repr``); truth values are ``true`` and ``false``, so that
            they are no numbers; lists and mappings are JSON, dates and all else what ``str`` says.

    Returns:
        The text, blanks kept.
    """
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value).removesuffix(".0")
    if isinstance(value, Decimal):
        whole = value.to_integral_value()
        return f"{whole if whole == value else value:f}"
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
