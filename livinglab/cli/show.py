"""Tables and progress for people."""

from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from livinglab.cli.client import Client, address
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


_RIGHT = {"value", "interval", "demand", "n", "events"}
_FOLDED = ("criterion, slice · n/events", "measured, demand", "verdict")


def _row(result: dict[str, Any], criterion: dict[str, Any]) -> dict[str, Text]:
    """A criterion's cells by column; a column of nothing but empty cells is not shown."""
    m = result["measurement"]
    interval = m and m["interval"]
    cells = {"criterion": criterion["id"], "slice": criterion["slice"], "value": number(m["value"]) if m else "",
             "interval": f"[{number(interval['lower'])}, {number(interval['upper'])}]" if interval else "", "demand": demand(criterion),
             "n": str(m["n"]) if m else "", "events": str(m["events"]) if m and m["events"] is not None else ""}  # fmt: skip
    word = Text(result["verdict"], style=COLOURS[result["verdict"]])
    if result["severity"] == "advisory":
        word.append(" (advisory)", style="dim")
    return {**{name: Text(cell) for name, cell in cells.items()}, "verdict": word}


def verdict_table(verdict: dict[str, Any], criteria: list[dict[str, Any]], title: str, width: int) -> Table:
    """Criterion, slice, measured value with its interval, demand, counts and verdict; on a narrow terminal, two lines for each."""
    by_id = {c["id"]: c for c in criteria}
    rows = [_row(result, by_id[result["criterion"]]) for result in verdict["results"]]
    shown = [name for name in rows[0] if any(row[name].plain for row in rows)] if rows else []
    natural = sum(max(len(name), *(row[name].cell_len for row in rows)) + 3 for name in shown) + 1
    if natural > width:
        rows, shown = [_folded(row) for row in rows], list(_FOLDED)
    table = Table(title=title, title_justify="left", header_style="bold")
    for name in shown:
        table.add_column(name, justify="right" if name in _RIGHT else "left", overflow="fold")
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    return table


def _folded(row: dict[str, Text]) -> dict[str, Text]:
    counts = f" · {row['n']}/{row['events'].plain or '–'}" if row["n"].plain else ""
    measured = " ".join(row[name].plain for name in ("value", "interval") if row[name].plain)
    return {_FOLDED[0]: Text.assemble(row["criterion"], "\n", (f"  {row['slice']}{counts}", "dim")),
            _FOLDED[1]: Text(f"{measured or '–'}\n{row['demand']}"),
            _FOLDED[2]: Text("\n").join(row["verdict"].split(" "))}  # fmt: skip


def show_verdict(client: Client, run: str, console: Console) -> str:
    """Print a run's verdict; return the set's verdict."""
    found = client.get(address("runs", run))["run"]
    answer = client.get(address("runs", run, "verdict"))
    sandbox = client.get(f"/v1/sandboxes/{found['sandbox']}")["document"]["spec"]
    return print_verdict(answer["verdict"], sandbox, console, withheld=answer["values_withheld"])


def print_verdict(verdict: dict[str, Any], spec: dict[str, Any], console: Console, *, withheld: bool = False) -> str:
    """Print a verdict under a sandbox's specification; return the set's verdict."""
    public = " · demonstration on public data: it proves the method, not the pilot" if spec["data"]["visibility"] == "demonstration" else ""
    console.print(verdict_table(verdict, spec["criteria"], f"{spec['title']}{public}", console.width))
    if withheld:
        console.print("Values are withheld from this role by the sandbox's disclosure rules.", style="dim")
    overall = str(verdict["verdict"])
    console.print(Text.assemble("Verdict of the gates: ", (overall, f"bold {COLOURS[overall]}")))
    return overall


def harmless(text: str) -> str:
    """A pilot's bytes must not move the cursor of whoever reads them."""
    return "".join(c if c.isprintable() or c in "\n\t" else repr(c)[1:-1] for c in text)


STEPS = tuple(step for steps in PHASES.values() for step in steps)
"""Of a run, in order."""


def progress_on(console: Console) -> Progress:
    """A line per run: what it is at, how far it is, how long it took."""
    return Progress(SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, transient=False)


def follow(client: Client, run: str, console: Console) -> dict[str, Any]:
    """Show a run's steps until it is over; return the run."""
    with progress_on(console) as progress:
        return follow_on(client, run, progress, progress.add_task("queued", total=len(STEPS)))


def follow_on(client: Client, run: str, progress: Progress, task: TaskID, name: str = "") -> dict[str, Any]:
    """Show a run's steps on one line among others, after `name`, until it is over; return the run."""
    show_steps(((kind, event["data"]) for _id, kind, event in client.events(run)), progress, task, name)
    found: dict[str, Any] = client.get(address("runs", run))["run"]
    progress.update(task, description=f"{name}{found['state']}", completed=len(STEPS))
    return found


def show_steps(events: Iterable[tuple[str, dict[str, Any]]], progress: Progress, task: TaskID, name: str = "") -> None:
    """Show the steps that a run's events (kind, data) tell of, on one line after `name`."""
    console, phase_of = progress.console, {step: phase for phase, members in PHASES.items() for step in members}
    for kind, data in events:
        if kind == "step-begun":
            step = Step(data["step"])
            progress.update(task, description=f"{name}{phase_of[step]}: {step}", completed=STEPS.index(step))
            if not console.is_terminal:
                console.print(f"  {name}{phase_of[step]}: {step}")
        elif kind in ("attempt-failing", "attempt-ended") and data.get("sentence"):
            console.print(Text.assemble(name, (str(data["sentence"]), "red")))
