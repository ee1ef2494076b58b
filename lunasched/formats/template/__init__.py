"""Templates of notifications: a part of Jinja2 whose work is bounded by the length of the text.

A template is filled in by the supervisor, whose main loop a loop without an end, or a text of a
gigabyte, would stop. So it has expressions, conditions and loops over what there is, and neither
calls, assignments nor loops in loops; every value stays below ``VALUE_MAX`` characters.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from lunasched.errors import InvalidInput
from lunasched.formats.template.filters import FILTERS, VALUE_MAX

__all__ = ["FILTERS", "LENGTH_MAX", "VALUE_MAX", "check_template", "render"]

LENGTH_MAX = 8192
"""Characters of a template."""


def check_template(text: str, variables: Collection[str]) -> None:
    """Raise ``InvalidInput`` for what is not a template, or uses another than these variables."""
    if len(text) > LENGTH_MAX:
        raise InvalidInput(f"a template has at most {LENGTH_MAX} characters")
    if not _is_plain(text):
        # Imported here, so that commands that only read do not load Jinja2.
        from lunasched.formats.template.language import compiled_template

        compiled_template(text, variables)


def render(text: str, variables: Mapping[str, object]) -> str:
    """Fill in a template with some variables; raises ``TemplateFailed``."""
    if _is_plain(text):
        return text
    from lunasched.formats.template.language import filled

    return filled(text, variables)


def _is_plain(text: str) -> bool:
    return not re.search(r"\{[{%#]", text)
