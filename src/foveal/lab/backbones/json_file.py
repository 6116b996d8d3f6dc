"""The small JSON files beside a model's weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from foveal.errors import IncompleteBackboneError


def read_json(path: Path, purpose: str) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        IncompleteBackboneError: the file is missing or holds something else; the message ends with
            ``purpose``, which says what the file is for.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise IncompleteBackboneError(f"{path}: no such file; {purpose}") from None
    except (OSError, ValueError) as error:
        raise IncompleteBackboneError(f"{path}: cannot be read as JSON ({error}); {purpose}") from error
    if not isinstance(content, dict):
        raise IncompleteBackboneError(f"{path}: holds no JSON object; {purpose}")
    return content
