"""The page of a report, for jinja2 with autoescape: a string, so that no data file has to be installed."""

STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1d2126; --soft: #5d6670; --line: #dfe3e8; --page: #ffffff; --tile: #f5f7f9; --accent: #b35900;
  --warn: #fdf1de;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ec; --soft: #9aa4ae; --line: #343b43; --page: #14171a; --tile: #1d2226; --accent: #f0a44b;
    --warn: #3a2d16; }
}
@media print {
  :root { color-scheme: light; --ink: #000; --soft: #444; --line: #bbb; --page: #fff; --tile: #f6f6f6;
    --accent: #8a4500; --warn: #fdf1de; }
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
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 8px; }
.pair { display: grid; margin-top: 20px; grid-template-columns: repeat(auto-fill, minmax(400px, 1fr)); gap: 16px 28px; }
@media (max-width: 520px) { .pair, .pictures { grid-template-columns: 1fr !important; } }
@media (max-width: 640px) { .tiles, .tiles.three { grid-template-columns: 1fr 1fr; } }
figure { margin: 0; }
figure svg, figure img { display: block; width: 100%; height: auto; }
video { display: block; max-width: 100%; max-height: 560px; margin-bottom: 6px; }
figure img, video { border-radius: 4px; background: #000; }
figcaption { font-size: 13.5px; padding-top: 5px; overflow-wrap: anywhere; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(440px, 1fr)); gap: 20px; }
pre { background: var(--tile); border: 1px solid var(--line); border-radius: 6px; padding: 12px 14px; font-size: 13.5px;
  white-space: pre-wrap; overflow-wrap: anywhere;
  font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
a { color: var(--accent); }
@media print {
  @page { margin: 14mm; }
  body { font-size: 11pt; }
  main { max-width: none; padding: 0; }
  .pictures { grid-template-columns: 1fr 1fr; }
  .pair { grid-template-columns: 1fr 1fr; }
  figure, .tile, table, pre { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  video { display: none; }
  .tile, .cell, .swatch, .warning { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""

TEMPLATE = (
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ report.title }}</title>
<style>"""
    + STYLE
    + """</style>
</head>
<body>
<main>
<header>
<h1>{{ report.title }}</h1>
{% if report.subtitle %}<div class="soft">{{ report.subtitle }}</div>{% endif %}
</header>
{% for warning in report.warnings %}
<p class="warning">{{ warning }}</p>
{% endfor %}
{% if report.key_figures %}
<div class="tiles{{ ' three' if report.key_figures|length in (3, 5, 6, 9) }}">
{% for figure in report.key_figures %}
<div class="tile"><div class="label">{{ figure.label }}</div>
<div class="value">{{ figure.value }}{% if figure.unit %} <span class="unit">{{ figure.unit }}</span>{% endif %}</div>
{% if figure.note %}<div class="small">{{ figure.note }}</div>{% endif %}
</div>
{% endfor %}
</div>
{% endif %}

{% if video_url %}
<h2>Video</h2>
<video controls preload="metadata" src="{{ video_url }}"></video>
<p class="note"><a href="{{ video_url }}">{{ report.video }}</a>, beside this page.</p>
{% endif %}

{% if report.facts %}
<h2>What ran</h2>
<table class="facts">
{% for name, value in report.facts.items() %}
<tr><td>{{ name }}</td><td>{{ value }}</td></tr>
{% endfor %}
</table>
{% endif %}

{% if latency %}
<h2>Latency</h2>
<figure>{{ plots.latency }}<figcaption>Each point is a frame, at the time it was sent; the marks below are frames that
got no answer.</figcaption></figure>
<div class="pair">
<figure>{{ plots.latency_histogram }}<figcaption>How often which latency; what lies beyond the 99.5th percentile is
counted in the last bar.</figcaption></figure>
<div>
<h3>Percentiles</h3>
<table>
<tr><th>percentile</th><th>latency, ms</th></tr>
{% for name, value in latency %}
<tr><td>{{ name }}</td><td>{{ value }}</td></tr>
{% endfor %}
</table>
</div>
</div>
{% endif %}

<h2>Accuracy</h2>
{% if accuracy %}
<p>{{ accuracy.truths }} objects in {{ accuracy.images }} frames: mAP50 {{ accuracy.map50 }},
mAP75 {{ accuracy.map75 }}, mAP {{ accuracy.map }}, duplicates per object {{ accuracy.duplicates }}.</p>
<div class="scroll"><table class="wide">
<tr><th>class</th><th>objects</th><th>AP50</th><th>AP75</th><th>AP</th><th>threshold</th><th>precision</th><th>recall</th>
<th>false alarms per frame</th><th>duplicates per object</th><th>miss rate</th><th>error of scores</th></tr>
{% for row in accuracy.classes %}
<tr><td><span class="swatch" style="background: {{ row.colour }}"></span>{{ row.name }}</td><td>{{ row.truths }}</td>
<td>{{ row.map50 }}</td><td>{{ row.map75 }}</td><td>{{ row.map }}</td><td>{{ row.threshold }}</td>
<td>{{ row.precision }}</td><td>{{ row.recall }}</td><td>{{ row.false_alarms_per_image }}</td>
<td>{{ row.duplicates }}</td><td>{{ row.log_average_miss_rate }}</td><td>{{ row.calibration }}</td></tr>
{% endfor %}
</table></div>
<p class="note">AP: COCO average precision (IoU 0.5, 0.75, and the mean from 0.5 to 0.95). Precision, recall and false
alarms: at the threshold, IoU 0.5. Miss rate: log-average from 0.01 to 1 false alarms per frame. Error of
scores: by how much they differ from the share that is right, on average (expected calibration error).</p>
<div class="pair">
<figure>{{ plots.precision_recall }}<figcaption>Precision over recall at IoU 0.5; the dots are the
thresholds.</figcaption></figure>
<figure>{{ plots.misses }}<figcaption>Objects missed at the thresholds, by the height of their boxes; above each bar the
number of objects.</figcaption></figure>
</div>
<div class="pair">
<figure>{{ plots.reliability }}<figcaption>Of the detections of a score, the share that is right; on the dashed line a
score means what it says.</figcaption></figure>
<div>
<h3>By size and light</h3>
<table class="wide">
<tr><th></th><th>frames</th><th>objects</th><th>mAP50</th><th>mAP</th></tr>
{% for row in accuracy.parts %}
<tr><td>{{ row.name }}</td><td>{{ row.images }}</td><td>{{ row.truths }}</td><td>{{ row.map50 }}</td>
<td>{{ row.map }}</td></tr>
{% endfor %}
</table>
</div>
<div>
<h3>Confusions</h3>
<div class="scroll"><table class="confusion">
<tr><th class="corner">is \\ found as</th>{% for name in accuracy.confusion_names %}<th>{{ name }}</th>{% endfor %}</tr>
{% for row in accuracy.confusion %}
<tr><td>{{ row.name }}</td>{% for cell in row.cells %}
<td class="cell" style="background: rgba({{ '0, 158, 115' if cell.right else '213, 94, 0' }}, {{ cell.shade }})">
{{ cell.count }}</td>
{% endfor %}</tr>
{% endfor %}
</table></div>
<p class="note">At a score of at least {{ accuracy.confusion_score }}. The column “nothing” counts misses,
the row “nothing” false alarms.</p>
</div>
</div>
{% else %}
<p>{{ report.not_labelled }}</p>
{% endif %}

{% macro gallery(pictures) %}
<div class="pictures">
{% for picture in pictures %}
<figure><img src="{{ picture.source }}" width="{{ picture.width }}" height="{{ picture.height }}"
alt="{{ picture.caption }}">
<figcaption>{{ picture.caption }}</figcaption></figure>
{% endfor %}
</div>
{% endmacro %}
{% if samples %}
<h2>Frames</h2>
<p class="note">Coloured boxes: detections with class and score.{% if accuracy %} White dashes: what is labelled;
dots: regions to ignore.{% endif %}</p>
{{ gallery(samples) }}
{% endif %}
{% if worst %}
<h2>Frames with the most errors</h2>
{{ gallery(worst) }}
{% endif %}

{% if report.commands %}
<h2>To reproduce it</h2>
<pre>{% for command in report.commands %}
{{ command }}
{% endfor %}</pre>
{% endif %}
</main>
</body>
</html>
"""
)
