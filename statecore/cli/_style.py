"""How our pages look, on light and dark screens, wide and narrow ones."""

from __future__ import annotations

CSS = """
:root { color-scheme: light dark; --ink: #161b2c; --soft: #5b6478; --line: #dfe4ee; --card: #fff; --page: #f3f5fa;
  --tile: #f6f8fc; --good: #0a7f4f; --goodbg: #dff5ea; --bad: #b3202f; --badbg: #fde5e7; --accent: #2f55d4;
  --idle: #64748b; --ringing: #b45309; --accepted: #7c3aed; --active: #047857; --ended: #475569 }
@media (prefers-color-scheme: dark) { :root { --ink: #e9ecf5; --soft: #9aa5bc; --line: #283042; --card: #12161f;
  --page: #0a0d14; --tile: #1a202c; --good: #4cd39a; --goodbg: #0d2c20; --bad: #ff8290; --badbg: #3a151b;
  --accent: #8fb0ff; --idle: #94a3b8; --ringing: #fbbf24; --accepted: #b69cff; --active: #34d399; --ended: #a3b1c6 } }
* { box-sizing: border-box } html { scroll-behavior: smooth }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.5;
  font-family: ui-sans-serif, system-ui, "Segoe UI", Inter, Helvetica, Arial, sans-serif }
main { max-width: 1160px; margin: 0 auto; padding: 40px 24px 72px }
.top { display: flex; align-items: center; gap: 10px 16px; flex-wrap: wrap }
h1 { font-size: 1.75rem; letter-spacing: -.02em; margin: 0 } h1 span { color: var(--soft); font-weight: 400 }
h2 { margin: 0; font-size: 1.2rem; letter-spacing: -.01em } h2::first-letter { text-transform: uppercase }
.lead { color: var(--soft); max-width: 68ch; margin: 8px 0 0 }
.pill { padding: 2px 12px; border-radius: 999px; font-size: .84rem; font-weight: 600; white-space: nowrap }
.good { color: var(--good); background: var(--goodbg) } .bad { color: var(--bad); background: var(--badbg) }
.tag { color: var(--soft); border: 1px solid var(--line); font-weight: 400 }
section { background: var(--card); border: 1px solid var(--line); border-radius: 16px; padding: 24px; margin-top: 20px;
  min-width: 0 }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(128px, 1fr)); gap: 10px; margin: 18px 0 0 }
.tiles div { background: var(--tile); border-radius: 12px; padding: 10px 14px }
.tiles dt { color: var(--soft); font-size: .8rem } .tiles dt::first-letter { text-transform: uppercase }
.tiles dd { margin: 0; font-size: 1.06rem; font-weight: 600; font-variant-numeric: tabular-nums }
table { border-collapse: collapse; width: 100%; font-size: .92rem; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: 9px 12px 9px 0; border-bottom: 1px solid var(--line) }
th { color: var(--soft); font-weight: 500; font-size: .8rem } tr:last-child td { border: 0 }
td a { color: inherit; font-weight: 600 } a { text-decoration-color: var(--line); text-underline-offset: 3px }
.sides { margin: 14px 0 0; display: grid; gap: 8px }
.side { display: flex; gap: 4px 10px; align-items: baseline; flex-wrap: wrap }
.side b { width: 3.2em; font-weight: 500 }
.side ol { list-style: none; display: flex; flex-wrap: wrap; gap: 4px 0; margin: 0; padding: 0; font-size: .86rem }
.side li { color: var(--c); font-weight: 600 } .side li::before { content: "●"; font-size: .7em; margin-right: .4em }
.side li + li { margin-left: .6em } .side li:not(:last-child)::after { content: "→"; color: var(--soft);
  font-weight: 400; margin-left: .6em }
.idle { --c: var(--idle) } .ringing { --c: var(--ringing) } .accepted { --c: var(--accepted) }
.active { --c: var(--active) } .ended { --c: var(--ended) } .none { color: var(--soft); font-size: .86rem }
.problems { color: var(--bad); margin: 14px 0 0; padding-left: 1.2em }
.players { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(280px, 100%), 1fr)); gap: 16px;
  margin-top: 20px }
figure { margin: 0 } video { display: block; width: 100%; border-radius: 12px; background: #000; aspect-ratio: 4 / 3 }
figcaption { color: var(--soft); font-size: .86rem; margin-top: 6px }
.drawings { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 0 20px;
  align-items: start }
details { margin-top: 18px; min-width: 0 } details[open] summary { margin-bottom: 10px }
summary { cursor: pointer; color: var(--accent); font-size: .92rem; width: fit-content }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 3px; border-radius: 4px }
.drawn { overflow-x: auto; border: 1px solid var(--line); border-radius: 14px }
.drawn svg { display: block; margin: 0 auto; min-width: min(var(--wide), 560px) }
.small { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(460px, 100%), 1fr)); gap: 0 20px;
  align-items: start }
.small .drawings { grid-template-columns: minmax(0, 1fr) }
footer { color: var(--soft); font-size: .86rem; margin-top: 28px }
@media (max-width: 700px) {
  main { padding: 24px 14px 48px } section { padding: 18px 16px; border-radius: 14px }
  thead { display: none } table, tbody { display: block }
  tr { display: grid; grid-template-columns: 1fr 1fr; gap: 2px 14px; padding: 12px 0;
    border-bottom: 1px solid var(--line) }
  tr:last-child { border: 0 } td { display: block; border: 0; padding: 0 } td:empty { display: none }
  td:not(:first-child, :last-child)::before { content: attr(data-name) " "; color: var(--soft); font-size: .8rem }
  td:first-child { grid-column: 1 } td:last-child { grid-row: 1; grid-column: 2; justify-self: end }
}
@media print { body { background: none } section { break-inside: avoid } }
"""
