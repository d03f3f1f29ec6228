"""Text is read and written alike on every machine, whatever its locale says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILES = [path for folder in ("statecore", "adapters", "docs", "examples") for path in (ROOT / folder).rglob("*.py")]
MODES = {"'r'", "'w'", "'a'", "'x'", "'r+'", "'w+'", "'a+'"}
PIPES = {"Popen", "run", "check_output"}


def _without(tree: ast.AST) -> Iterator[int]:
    """The lines of calls that open a file or a pipe as text and leave the encoding to the machine."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func).rpartition(".")[2]
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        modes = {*map(ast.unparse, call.args[:2]), given.get("mode")}
        opens = name == "open" and modes & MODES and ast.unparse(call.func) != "av.open"
        piped = name in PIPES and given.get("text") == "True"
        if (name in ("read_text", "write_text") or opens or piped) and "encoding" not in given:
            yield call.lineno


def test_text_has_its_encoding() -> None:
    """Whoever opens a text file says in which encoding: where the machine's is another one, an arrow in a report would
    end the command."""
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
    found = [f"{path.relative_to(ROOT)}:{line}" for path, tree in trees.items() for line in _without(tree)]
    assert not found, ", ".join(found)
