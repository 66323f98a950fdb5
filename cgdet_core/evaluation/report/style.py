"""How the page of a report looks: on light and dark screens, and printed."""

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1d2126; --soft: #5d6670; --line: #dfe3e8; --page: #ffffff; --tile: #f5f7f9; --accent: #b35900;
  --warn: #fdf1de; --good: #00694d; --bad: #b34700;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --soft: #9aa4ae; --line: #343b43; --page: #14171a; --tile: #1d2226; --accent: #f0a44b;
    --warn: #3a2d16; --good: #3fc79a; --bad: #ff8a4c; }
}
@media print {
  :root { color-scheme: light; --ink: #000; --soft: #444; --line: #bbb; --page: #fff; --tile: #f6f6f6;
    --accent: #8a4500; --warn: #fdf1de; --good: #00694d; --bad: #b34700; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.5;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", Arial, sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 24px 72px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 48px 0 14px; padding-bottom: 6px; border-bottom: 1px solid var(--line); }
h3 { font-size: 15px; margin: 24px 0 8px; }
p { margin: 0 0 12px; max-width: 72ch; }
.soft, figcaption, .note { color: var(--soft); }
.note { font-size: 14px; max-width: 88ch; }
.warning { background: var(--warn); border-left: 4px solid var(--accent); padding: 8px 14px; margin: 12px 0;
  max-width: none; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; margin: 28px 0 8px; }
.tiles.three { grid-template-columns: repeat(3, 1fr); }
.tile { background: var(--tile); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; }
.tile .label { font-size: 13px; color: var(--soft); }
.tile .value { font-size: 26px; font-weight: 600; font-variant-numeric: tabular-nums; line-height: 1.25;
  overflow-wrap: anywhere; }
.tile .unit { font-size: 15px; font-weight: 400; color: var(--soft); }
.tile .small { font-size: 12.5px; color: var(--soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 14.5px; font-variant-numeric: tabular-nums; margin: 0 0 8px; }
th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top; }
th { font-weight: 600; font-size: 13px; color: var(--soft); vertical-align: bottom; }
th:first-child, td:first-child, .facts td { text-align: left; }
th:last-child, td:last-child { padding-right: 0; }
.wide { width: 100%; }
.wide td:first-child, .corner { white-space: nowrap; }
.facts td:first-child { color: var(--soft); white-space: nowrap; padding-right: 28px; }
.facts td { overflow-wrap: anywhere; }
.confusion th, .confusion td { padding: 6px 12px !important; }
.confusion th:not(.corner) { text-align: center; }
.confusion td.cell { text-align: center; min-width: 76px; }
.confusion .corner { font-weight: 400; }
.counts td:nth-child(2) { text-align: right; } .counts td:last-child { text-align: left; color: var(--soft); }
.counts .sum td { font-weight: 600; } .counts .sum td:last-child { font-weight: 400; }
.steps td.strong, .versus td.strong { font-weight: 600; }
.versus .better { color: var(--good); } .versus .worse { color: var(--bad); }
.verdict { font-size: 18px; max-width: none; }
.model { margin: 64px 0 0; font-size: 24px; border: 0; }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 8px; }
.pair { display: grid; margin-top: 20px; grid-template-columns: repeat(auto-fill, minmax(400px, 1fr)); gap: 16px 28px; }
@media (max-width: 520px) { .pair, .pictures { grid-template-columns: 1fr !important; } }
@media (max-width: 640px) { .tiles, .tiles.three { grid-template-columns: 1fr 1fr; } }
figure { margin: 0; }
figure svg, figure img { display: block; width: 100%; height: auto; }
video { display: block; max-width: 100%; max-height: 560px; margin-bottom: 6px; }
figure img, video { border-radius: 4px; background: #000; }
figcaption { font-size: 13.5px; padding-top: 5px; overflow-wrap: anywhere; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(440px, 1fr)); gap: 20px;
  margin-bottom: 20px; }
pre { background: var(--tile); border: 1px solid var(--line); border-radius: 6px; padding: 12px 14px; font-size: 13.5px;
  white-space: pre-wrap; overflow-wrap: anywhere;
  font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
a { color: var(--accent); }
@page { margin: 14mm; }
@media print {
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  h1 { font-size: 20pt; }
  h2 { font-size: 14pt; margin: 22pt 0 8pt; break-after: avoid; }
  h3 { break-after: avoid; }
  .model { break-before: page; margin-top: 0; }
  .tiles { margin: 12pt 0 4pt; }
  .tile .value { font-size: 17pt; }
  /* what belongs to a heading stays with it: a browser breaks after a heading whose next block fits no more */
  .lead { break-inside: avoid; }
  .scroll { overflow: visible; }
  table { font-size: 8.5pt; break-inside: avoid; }
  table.facts { break-inside: auto; }
  tr, figure, .tile, pre, .warning { break-inside: avoid; }
  thead { display: table-header-group; }
  th { font-size: 8pt; }
  th, td { padding: 3pt 7pt 3pt 0; }
  .confusion td.cell { min-width: 0; }
  .pictures { grid-template-columns: 1fr 1fr; gap: 10pt; }
  .pair { grid-template-columns: 1fr 1fr; gap: 10pt 16pt; }
  figcaption, .note, pre { font-size: 8.5pt; }
  .screen { display: none; }
  .tile, .cell, .swatch, .warning { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
