"""Tables and progress for people."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from livinglab.cli.client import Client
from livinglab.domain.run import PHASES, Step

COLOURS = {"PASS": "green", "FAIL": "red", "INCONCLUSIVE": "yellow", "NOT_EVALUABLE": "magenta"}
_SIGNS = {"at_least": "≥", "at_most": "≤"}


def number(value: float | None) -> str:
    """A number with as many digits as a table has room for."""
    return "–" if value is None else f"{value:.4g}" if abs(value) >= 100 else f"{value:.3f}"  # noqa: PLR2004


def demand(criterion: dict[str, Any]) -> str:
    """What a criterion demands, in mathematics."""
    threshold, baseline = criterion["threshold"], criterion["baseline"]
    if isinstance(threshold, dict):
        return f"{number(threshold['low'])} … {number(threshold['high'])}"
    sign = _SIGNS[criterion["direction"]]
    if baseline:
        margin = -baseline["margin"] if criterion["direction"] == "at_least" else baseline["margin"]
        return f"{sign} {number(margin)} vs {baseline['name']}"
    return f"{sign} {number(threshold)}"


def verdict_table(verdict: dict[str, Any], criteria: list[dict[str, Any]], title: str) -> Table:
    """Criterion, slice, measured value with its interval, threshold, n, verdict."""
    by_id = {c["id"]: c for c in criteria}
    table = Table(title=title, title_justify="left", header_style="bold")
    for name, justify in (("criterion", "left"), ("slice", "left"), ("value", "right"), ("interval", "right"), ("demand", "right"), ("n", "right"),
                          ("events", "right"), ("verdict", "left")):  # fmt: skip
        table.add_column(name, justify=justify, no_wrap=name in ("verdict", "demand", "interval"))  # type: ignore[arg-type]
    for result in verdict["results"]:
        criterion, m = by_id[result["criterion"]], result["measurement"]
        interval = m and m["interval"]
        bounds = f"[{number(interval['lower'])}, {number(interval['upper'])}]" if interval else ""
        word = Text(result["verdict"], style=COLOURS[result["verdict"]])
        if result["severity"] == "advisory":
            word.append(" (advisory)", style="dim")
        table.add_row(criterion["id"], criterion["slice"], number(m["value"]) if m else "–", bounds, demand(criterion), str(m["n"]) if m else "–",
                      str(m["events"]) if m and m["events"] is not None else "–", word)  # fmt: skip
    return table


def show_verdict(client: Client, run: str, console: Console) -> str:
    """Print a run's verdict; return the set's verdict."""
    found = client.get(f"/v1/runs/{run}")["run"]
    answer = client.get(f"/v1/runs/{run}/verdict")
    sandbox = client.get(f"/v1/sandboxes/{found['sandbox']}")["document"]["spec"]
    public = " · demonstration on public data: it proves the method, not the pilot" if sandbox["data"]["visibility"] == "demonstration" else ""
    console.print(verdict_table(answer["verdict"], sandbox["criteria"], f"{sandbox['title']}{public}"))
    if answer["values_withheld"]:
        console.print("Values are withheld from this role by the sandbox's disclosure rules.", style="dim")
    overall = str(answer["verdict"]["verdict"])
    console.print(Text.assemble("Verdict of the gates: ", (overall, f"bold {COLOURS[overall]}")))
    return overall


def follow(client: Client, run: str, console: Console) -> dict[str, Any]:
    """Show a run's steps until it is over; return the run."""
    steps = [step for steps in PHASES.values() for step in steps]
    phase_of = {step: phase for phase, members in PHASES.items() for step in members}
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, transient=False) as progress:
        task = progress.add_task("queued", total=len(steps))
        for _id, kind, event in client.events(run):
            data = event["data"]
            if kind == "step-begun":
                step = Step(data["step"])
                progress.update(task, description=f"{phase_of[step]}: {step}", completed=steps.index(step))
                if not console.is_terminal:
                    console.print(f"  {phase_of[step]}: {step}")
            elif kind in ("attempt-failing", "attempt-ended") and data.get("sentence"):
                console.print(Text(str(data["sentence"]), style="red"))
        found: dict[str, Any] = client.get(f"/v1/runs/{run}")["run"]
        progress.update(task, description=str(found["state"]), completed=len(steps))
    return found
