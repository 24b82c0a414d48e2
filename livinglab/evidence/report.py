"""A dossier's page for people: one self-contained HTML file, every value escaped, nothing loaded from anywhere."""

import html
import json
from typing import Any

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; background: #fff }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.PASS { color: #1b5e20 } .FAIL { color: #b71c1c } .INCONCLUSIVE { color: #8a5a00 } .NOT_EVALUABLE { color: #6a1b9a }
.note { background: #fff8e1; padding: .6rem 1rem; border-left: 4px solid #f9a825 } code { word-break: break-all }
"""

_SIGNS = {"at_least": "≥", "at_most": "≤"}


def render(plan: bytes, release: bytes, documents: dict[str, bytes], withheld: dict[str, str]) -> str:
    """The page."""
    body, spec = json.loads(plan), json.loads(release)["spec"]
    sides = f"{_e(body['participant'])} and {_e(body['authority'])}, {_e(body['valid_from'])} to {_e(body['valid_until'])}"
    parts = [f"<h1>{_e(spec['title'])}</h1>", f"<p>Plan <code>{_e(body['id'])}</code>, {sides}; {_e(body['measured_runs'])} measured runs.</p>"]
    if spec["data"]["visibility"] == "demonstration":
        parts.append('<p class="note">Demonstration on public data: it shows the method of measuring, and proves little about the pilot.</p>')
    parts.append('<p class="note">For reading. What is proven is what <code>livinglab verify</code> finds. It is no declaration of conformity.</p>')
    criteria = {c["id"]: c for c in spec["criteria"]}
    judged = sorted(name for name in documents if name.endswith("/verdict.json"))
    parts += [_verdict(name.partition("/")[0], json.loads(documents[name]), criteria) for name in judged]
    if body.get("documents"):
        titles = {d["name"]: d["title"] for d in spec.get("required_evidence", ())}
        brought = {f"{titles.get(d['name'], d['name'])} ({d['media_type']})": d["digest"] for d in body["documents"]}
        parts.append(
            f"<h2>Required evidence</h2><p>What the participant brought and both sides signed; people judge what it says.</p>{_by_digest(brought)}"
        )
    if withheld:
        parts.append(f"<h2>Withheld</h2><p>Known by digest only.</p>{_by_digest(withheld)}")
    return f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Dossier</title><style>{_STYLE}</style><body>{"".join(parts)}</body></html>\n'


def _by_digest(documents: dict[str, str]) -> str:
    rows = "".join(f"<tr><td>{_e(name)}</td><td><code>{_e(digest)}</code></td></tr>" for name, digest in sorted(documents.items()))
    return f"<table><tr><th>document</th><th>digest</th></tr>{rows}</table>"


def _e(value: object) -> str:
    return html.escape(str(value))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _demand(criterion: dict[str, Any]) -> str:
    threshold = criterion["threshold"]
    if isinstance(threshold, dict):
        return f"{_number(threshold['low'])} … {_number(threshold['high'])}"
    baseline = criterion["baseline"]
    return f"{_SIGNS[criterion['direction']]} " + (
        _number(threshold) if baseline is None else f"margin {_number(baseline['margin'])} to {baseline['name']}"
    )


def _verdict(attempt: str, verdict: dict[str, Any], criteria: dict[str, dict[str, Any]]) -> str:
    rows = []
    for result in verdict["results"]:
        criterion, m = criteria[result["criterion"]], result["measurement"] or {}
        interval = m.get("interval")
        bounds = f"[{_number(interval['lower'])}, {_number(interval['upper'])}]" if interval else ""
        cells = "".join(f'<td class="n">{_e(cell)}</td>' for cell in (_number(m.get("value")), bounds, _demand(criterion), m.get("n", "–")))
        advisory = " (advisory)" if result["severity"] == "advisory" else ""
        word, basis = _e(result["verdict"]), f"{_e(criterion['basis'])}: {_e(criterion['source'])}"
        title = f'<td title="{_e(criterion["rationale"])}">{_e(criterion["title"])}</td>'
        rows.append(f'<tr>{title}<td>{_e(criterion["slice"])}</td>{cells}<td class="{word}">{word}{advisory}</td><td>{basis}</td></tr>')
    head = "".join(f"<th>{name}</th>" for name in ("criterion", "slice", "value", "interval", "demand", "n", "verdict", "basis"))
    word = verdict["verdict"]
    return f'<h2>Attempt {_e(attempt)}: <span class="{_e(word)}">{_e(word)}</span></h2><table><tr>{head}</tr>{"".join(rows)}</table>'
