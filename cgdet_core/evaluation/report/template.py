"""The page of a report, for jinja2 with autoescape: a string, so that no data file has to be installed."""

from cgdet_core.evaluation.report.style import STYLE

_MACROS = """
{% macro row(pictures) %}
<div class="pictures">
{% for picture in pictures %}
<figure><img src="{{ picture.source }}" width="{{ picture.width }}" height="{{ picture.height }}"
alt="{{ picture.caption }}">
<figcaption>{{ picture.caption }}</figcaption></figure>
{% endfor %}
</div>
{% endmacro %}
{% macro gallery(group) %}
<div class="lead">
<h2>{{ group.title }}</h2>
{% if group.note %}<p class="note">{{ group.note }}</p>{% endif %}
{{ row(group.pictures[:2]) }}
</div>
{% if group.pictures|length > 2 %}{{ row(group.pictures[2:]) }}{% endif %}
{% endmacro %}
{% macro tiles(figures) %}
{% if figures %}
<div class="tiles{{ ' three' if figures|length in (3, 5, 6, 9) }}">
{% for figure in figures %}
<div class="tile"><div class="label">{{ figure.label }}</div>
<div class="value">{{ figure.value }}{% if figure.unit %} <span class="unit">{{ figure.unit }}</span>{% endif %}</div>
{% if figure.note %}<div class="small">{{ figure.note }}</div>{% endif %}
</div>
{% endfor %}
</div>
{% endif %}
{% endmacro %}
"""

_COMPARISON = """
{% if comparison %}
<h2>A against B</h2>
{% if comparison.words %}<p class="verdict">{{ comparison.words }}.</p>{% endif %}
<p class="note">A is {{ comparison.given.names[0] }}, B is {{ comparison.given.names[1] }}.
{{ comparison.given.note }}</p>
<div class="pair">
{% if comparison.given.table %}
<div><table>
<thead><tr><th></th><th>A</th><th>B</th></tr></thead>
{% for name, a, b in comparison.given.table %}
<tr><td>{{ name }}</td><td>{{ a }}</td><td>{{ b }}</td></tr>
{% endfor %}
</table></div>
{% endif %}
{% if comparison.plots.precision_recall is defined %}
<figure>{{ comparison.plots.precision_recall }}<figcaption>Precision over recall at IoU 0.5; A drawn through, B dashed;
the dots are the thresholds.</figcaption></figure>
{% endif %}
</div>
{% if comparison.rows %}
<div class="scroll"><table class="versus">
<thead><tr><th></th><th>A</th><th>B</th><th>B &minus; A</th>
{% if comparison.plots.differences is defined %}<th>interval</th><th>B is</th>{% endif %}</tr></thead>
{% for row in comparison.rows %}
<tr><td>{{ row.name }}</td><td>{{ row.a }}</td><td>{{ row.b }}</td><td class="strong">{{ row.change }}</td>
{% if comparison.plots.differences is defined %}
<td>{{ row.interval }}</td><td class="{{ row.said }}">{{ row.said }}</td>
{% endif %}</tr>
{% endfor %}
</table></div>
{% endif %}
{% if comparison.plots.differences is defined %}
<figure>{{ comparison.plots.differences }}</figure>
{% endif %}
{% for group in comparison.galleries %}
{{ gallery(group) }}
{% endfor %}
{% endif %}
"""

_RUN = """
{% if part.video_url %}
<div class="screen">
<h2>Video</h2>
<video controls preload="metadata" src="{{ part.video_url }}"></video>
<p class="note"><a href="{{ part.video_url }}">{{ part.given.video }}</a>, beside this page.</p>
</div>
{% endif %}

{% if part.given.counts %}
<div class="lead">
<h2>What became of the frames</h2>
<table class="counts">
{% for name, count, note in part.given.counts %}
<tr{{ ' class="sum"'|safe if loop.first }}><td>{{ name }}</td><td>{{ count }}</td><td>{{ note }}</td></tr>
{% endfor %}
</table>
</div>
{% endif %}

{% if part.latency %}
<div class="lead">
<h2>Age and drops</h2>
<figure>{{ part.plots.latency }}<figcaption>Each point is a frame that was answered, at its time in the recording; the
marks below are frames that got no answer.{% if part.given.latency_note %} {{ part.given.latency_note }}{% endif %}
</figcaption></figure>
</div>
<div class="pair">
<figure>{{ part.plots.latency_histogram }}<figcaption>How often which latency; what lies beyond the 99.5th percentile is
counted in the last bar.</figcaption></figure>
<div>
<h3>Percentiles</h3>
<table>
<thead><tr><th>percentile</th><th>latency, ms</th></tr></thead>
{% for name, value in part.latency %}
<tr><td>{{ name }}</td><td>{{ value }}</td></tr>
{% endfor %}
</table>
</div>
</div>
{% endif %}

{% if part.given.stages %}
<div class="lead">
<h2>Stages</h2>
<div class="pair">
<div>
<table class="wide">
<thead><tr><th></th>{% for head in part.given.stages.columns %}<th>{{ head }}</th>{% endfor %}</tr></thead>
{% for name, cells in part.given.stages.table.items() %}
<tr><td>{{ name }}</td>{% for cell in cells %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}
</table>
<p class="note">{{ part.given.stages.note }}</p>
</div>
{% if part.plots.stages is defined %}<figure>{{ part.plots.stages }}</figure>{% endif %}
</div>
</div>
{% endif %}

{% if part.steps or part.given.answers %}
<h2>Live against offline</h2>
{% if part.given.answers %}<p>{{ part.given.answers }}</p>{% endif %}
{% if part.steps %}
<div class="scroll"><table class="steps">
<thead><tr><th></th>{% for name in part.steps.columns %}<th>{{ name }}</th>{% endfor %}<th>live</th></tr></thead>
{% for row in part.steps.rows %}
<tr><td>{{ row.name }}</td><td class="strong">{{ row.first }}</td>
{% for change in row.changes %}<td>{{ change }}</td>{% endfor %}<td class="strong">{{ row.last }}</td></tr>
{% endfor %}
</table></div>
<p class="note">The same labelled frames in every column. Offline: every frame, from score 0.001. What the node's
thresholds take away; what is lost with frames that got no answer, in which nothing counts as found; and what the
answers differ in from the offline detections. Live: what is left.</p>
<figure>{{ part.plots.steps }}</figure>
{% endif %}
{% endif %}
"""

_ACCURACY = """
<h2>Accuracy</h2>
{% set accuracy = part.accuracy %}
{% if accuracy %}
{% if part.given.metrics_note %}<p>{{ part.given.metrics_note }}</p>{% endif %}
<p>{{ accuracy.truths }} objects in {{ accuracy.images }} frames: mAP50 {{ accuracy.map50 }},
mAP75 {{ accuracy.map75 }}, mAP {{ accuracy.map }}, duplicates per object {{ accuracy.duplicates }}.</p>
<div class="scroll"><table class="wide">
<thead><tr><th>class</th><th>objects</th><th>AP50</th><th>AP75</th><th>AP</th><th>threshold</th><th>precision</th>
<th>recall</th><th>false alarms per frame</th><th>duplicates per object</th><th>miss rate</th>
<th>error of scores</th></tr></thead>
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
<figure>{{ part.plots.precision_recall }}<figcaption>Precision over recall at IoU 0.5; the dots are the
thresholds.</figcaption></figure>
<figure>{{ part.plots.misses }}<figcaption>Objects missed at the thresholds, by the height of their boxes; above each
bar the number of objects.</figcaption></figure>
</div>
<div class="pair">
<figure>{{ part.plots.reliability }}<figcaption>Of the detections of a score, the share that is right; on the dashed
line a score means what it says.</figcaption></figure>
<div>
<h3>By size and light</h3>
<table class="wide">
<thead><tr><th></th><th>frames</th><th>objects</th><th>mAP50</th><th>mAP</th></tr></thead>
{% for row in accuracy.parts %}
<tr><td>{{ row.name }}</td><td>{{ row.images }}</td><td>{{ row.truths }}</td><td>{{ row.map50 }}</td>
<td>{{ row.map }}</td></tr>
{% endfor %}
</table>
</div>
<div>
<h3>Confusions</h3>
<div class="scroll"><table class="confusion">
<thead><tr><th class="corner">is \\ found as</th>
{% for name in accuracy.confusion_names %}<th>{{ name }}</th>{% endfor %}</tr></thead>
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
<p>{{ part.given.not_labelled }}</p>
{% endif %}
"""

TEMPLATE = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{{{ report.title }}}}</title>
<style>{STYLE}</style>
</head>
<body>
{_MACROS}
<main>
<header>
<h1>{{{{ report.title }}}}</h1>
{{% if report.subtitle %}}<div class="soft">{{{{ report.subtitle }}}}</div>{{% endif %}}
</header>
{{% for warning in report.warnings %}}
<p class="warning">{{{{ warning }}}}</p>
{{% endfor %}}
{_COMPARISON}
{{% for part in parts %}}
{{% if part.given.name %}}<h2 class="model">{{{{ part.given.name }}}}</h2>{{% endif %}}
{{{{ tiles(part.given.key_figures) }}}}
{_RUN}
{_ACCURACY}
{{% for group in part.galleries %}}
{{{{ gallery(group) }}}}
{{% endfor %}}
{{% if part.given.facts %}}
<h2>What ran</h2>
<table class="facts">
{{% for name, value in part.given.facts.items() %}}
<tr><td>{{{{ name }}}}</td><td>{{{{ value }}}}</td></tr>
{{% endfor %}}
</table>
{{% endif %}}
{{% endfor %}}

{{% if report.commands %}}
<h2>To reproduce it</h2>
<pre>{{% for command in report.commands %}}
{{{{ command }}}}
{{% endfor %}}</pre>
{{% endif %}}
</main>
</body>
</html>
"""
