"""Draws flows and what happened in them: Mermaid, Graphviz and self-contained SVG, from the table alone.

Nothing here knows a state or a trigger by name, so a flow of your own is drawn as well as ours. Drawings are text: the
same input gives the same bytes, in every process.
"""

from __future__ import annotations

from ._flow import svg
from ._sequence import Message, sequence_mermaid, sequence_svg
from ._text import dot, effect_text, guard_text, mermaid

__all__ = ["Message", "dot", "effect_text", "guard_text", "mermaid", "sequence_mermaid", "sequence_svg", "svg"]
