"""The page: one file that works alone, with drawings, figures and players."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...diagram import sequence_svg, svg
from ...flow import FLOWS

_CSS = """
:root { color-scheme: light dark; --ink: #1b2033; --soft: #5b6478; --line: #d8deea; --card: #fff; --page: #f4f6fb;
  --good: #0a7f4f; --bad: #c02a3a; --accent: #3f5bd8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebf4; --soft: #9aa4ba; --line: #2c3446; --card: #171c29;
  --page: #0e121b; --good: #4cc38a; --bad: #ff6b7a; --accent: #8ea2ff; } }
* { box-sizing: border-box } body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif }
main { max-width: 1080px; margin: 0 auto; padding: 32px 20px 80px }
h1 { font-size: 1.9rem; margin: 0 0 4px } h2 { margin: 0; font-size: 1.25rem } p { margin: 4px 0; color: var(--soft) }
.verdict { display: inline-block; padding: 2px 12px; border-radius: 999px; font-weight: 600; color: #fff }
.good { background: var(--good) } .bad { background: var(--bad) }
table { border-collapse: collapse; width: 100%; font-size: .92rem } th, td { text-align: left; padding: 8px 10px;
  border-bottom: 1px solid var(--line); white-space: nowrap } th { color: var(--soft); font-weight: 500 }
.scroll { overflow-x: auto } section { background: var(--card); border: 1px solid var(--line); border-radius: 14px;
  padding: 20px; margin: 20px 0 }
header.call { display: flex; gap: 12px; align-items: center; flex-wrap: wrap; margin-bottom: 12px }
.tag { color: var(--soft); border: 1px solid var(--line); border-radius: 999px; padding: 0 10px; font-size: .85rem }
.path { font-family: ui-monospace, monospace; font-size: .88rem; color: var(--soft) } .path b { color: var(--accent) }
.players { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 16px; margin: 14px 0 }
video { width: 100%; border-radius: 10px; background: #000; aspect-ratio: 4 / 3 } figure { margin: 0 }
figcaption { color: var(--soft); font-size: .88rem; margin-top: 4px }
details { margin-top: 12px } summary { cursor: pointer; color: var(--accent) } svg { display: block;
  max-width: 100%; height: auto; margin: 8px auto 0 }
ul.problems { color: var(--bad) }
"""


_NONE = "\N{EN DASH}"


def write(out: Path, results: Sequence[Any], leaks: dict[str, int], *, ok: bool) -> Path:
    """Write index.html into a folder; gives its path."""
    left = ", ".join(f"{count} {name}" for name, count in leaks.items() if count) or "nothing"
    body = [
        "<h1>statecore demo</h1>",
        f"<p>{_verdict(ok, 'everything as it should be', 'something is wrong')} &nbsp; left behind: {_e(left)}</p>",
        _table(results),
        *(_call(number, result) for number, result in enumerate(results)),
    ]
    page = out / "index.html"
    page.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>statecore demo</title>'
        f"<style>{_CSS}</style></head><body><main>{''.join(body)}</main></body></html>",
        encoding="utf-8",
    )
    return page


def _e(text: object) -> str:
    return html.escape(str(text))


def _verdict(ok: bool, good: str, bad: str) -> str:
    return f'<span class="verdict {"good" if ok else "bad"}">{good if ok else bad}</span>'


def _table(results: Sequence[Any]) -> str:
    head = "".join(
        f"<th>{_e(name)}</th>"
        for name in ("call", "ended as", "ring", "set-up", "tone", "speech", "tune", "video", "delay")
    )
    rows = []
    for result in results:
        audio, video = result.audio or {}, result.video or {}
        cells = (
            result.name,
            result.reason or _NONE,
            f"{result.ring_ms:.1f} ms" if result.ring_ms is not None else _NONE,
            f"{result.setup_ms:.1f} ms" if result.setup_ms is not None else _NONE,
            f"{audio['received_hz']:g} of {audio['sent_hz']:g} Hz" if audio.get("received_hz") else _NONE,
            *(f"{audio[each]:.3f}" if audio.get(each) is not None else _NONE for each in ("correlation", "tune")),
            f"{video['frames']} pictures, {video['fps']:g}/s, {video['width']} x {video['height']}" if video else _NONE,
            f"{result.delay_ms:.0f} ms" if result.delay_ms is not None else _NONE,
        )
        rows.append("<tr>" + "".join(f"<td>{_e(cell)}</td>" for cell in cells) + "</tr>")
    body = f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody>"
    return f'<section class="scroll"><table>{body}</table></section>'


def _call(number: int, result: Any) -> str:
    sides = "".join(
        f'<p class="path">{name.capitalize()}: <b>{_e(" → ".join(states.path) or "not involved")}</b></p>'
        for name, states in (("alice", result.alice), ("bob", result.bob))
    )
    problems = "".join(f"<li>{_e(problem)}</li>" for problem in result.problems)
    return (
        f'<section><header class="call"><h2>{_e(result.name)}</h2><span class="tag">{_e(result.flow)} flow</span>'
        f"{_verdict(not result.problems, 'good', 'wrong')}</header>{sides}"
        f"{f'<ul class=problems>{problems}</ul>' if problems else ''}{_players(result)}"
        f"<details{' open' if number == 0 else ''}><summary>What was said</summary>{_sequence(result)}</details>"
        f"<details><summary>The way on the state diagram</summary>{_states(number, result)}</details></section>"
    )


def _sequence(result: Any) -> str:
    people = ("alice", "service", "bob")
    return sequence_svg(people, [m for m in result.messages if {m.source, m.target} <= set(people)])


def _states(number: int, result: Any) -> str:
    drawn = svg(FLOWS[result.flow], guards=False, highlight=tuple(result.alice.path), prefix=f"call{number}-")
    return f'<div class="scroll">{drawn}</div>'


def _players(result: Any) -> str:
    players = []
    for path in result.recordings:
        if path.exists() and path.stat().st_size > 2_000:
            data = base64.b64encode(path.read_bytes()).decode()
            caption = f"What {'Alice' if 'alice' in path.name else 'Bob'} received"
            players.append(
                f'<figure><video controls preload="metadata" src="data:video/webm;base64,{data}#t=0.1"></video>'
                f"<figcaption>{caption}</figcaption></figure>"
            )
    return f'<div class="players">{"".join(players)}</div>' if players else ""
