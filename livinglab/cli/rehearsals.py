"""`livinglab try`: everything on this machine, before anything is submitted."""

import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from livinglab.cli import FAILED, echo_json
from livinglab.cli.checkout import BUILD, checkout_of
from livinglab.cli.client import as_json
from livinglab.cli.pilots import load_yaml
from livinglab.domain.errors import Invalid
from livinglab.domain.run import JobRole

if TYPE_CHECKING:
    from types import FrameType

    from rich.console import Console

    from livinglab.rehearsal.rehearsal import Play, Rehearsal

BEFORE = "This is a rehearsal: split and seeds are drawn here and are not the authority's, so it counts for nothing. Nothing is sent anywhere."
AFTER = "That was a rehearsal: split and seeds were not the authority's, so it counts for nothing. Nothing was sent anywhere."
EXIT_CODES = {"PASS": 0, "FAIL": FAILED, "INCONCLUSIVE": 3, "NOT_EVALUABLE": 4}
"""Of the gates. A run without a verdict is `FAILED` too: the sentence says why."""
_ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HARNESS: tuple[JobRole, ...] = ("prepare", "drive", "decode", "measure")
_TAIL = 20  # lines
_LIBRARIES = ("alembic", "docker", "sqlalchemy")

folder = click.Path(exists=True, file_okay=False, path_type=Path)
archive = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(name="try")
@click.argument("pilot", type=folder)
@click.option("--sandbox", required=True, type=folder, help="The sandbox's folder: sandbox.yaml, data/make.py, harness/.")
@click.option("--pilot-image", type=archive, help="The pilot's image (`docker save IMAGE > pilot.tar`) [default: built from PILOT].")
@click.option("--harness-image", type=archive, help="The harness's image [default: built from the sandbox's harness/].")
@click.option("--logs", is_flag=True, help="Print what the pilot writes, as it writes it.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Keep measurements, outputs, logs and dossier in this new folder.")
@as_json
def try_(pilot: Path, sandbox: Path, pilot_image: Path | None, harness_image: Path | None, keep: Path | None, *, logs: bool, as_json: bool) -> None:
    """Rehearse a run of PILOT (a folder) in a sandbox (a folder), on this machine's Docker Engine, as root.

    The same engine, isolation, decoder, harness and verdict as at a lab, on data that the sandbox's own data/make.py draws here,
    with your rights. It counts for nothing, and nothing is sent anywhere. Exit code 0 if the gates PASS, 1 if they FAIL or there is no
    verdict, 3 if they are INCONCLUSIVE, 4 if they are NOT_EVALUABLE.
    """
    from rich.console import Console

    _need_libraries()
    from livinglab.rehearsal.rehearsal import empty_folder

    console = Console(stderr=as_json)
    with _ended_in_order():
        console.print(BEFORE, style="yellow", soft_wrap=True)
        place = empty_folder(keep) if keep else None
        play = _read(pilot, sandbox, pilot_image, harness_image, console)
        sys.exit(_perform(play, console, place, logs=logs, as_json=as_json))


def _need_libraries() -> None:
    """`Invalid`, before anything has begun, where the extras of a lab are not installed."""
    missing = [name for name in _LIBRARIES if find_spec(name) is None]
    if missing:
        raise Invalid(
            f"a lab needs {', '.join(missing)}, which this installation is without.", hint="pip install 'livinglab[server,worker,measuring]'"
        )


def _perform(play: "Play", console: "Console", keep: Path | None, *, logs: bool, as_json: bool) -> int:
    """Rehearse, show, and return the exit code."""
    from livinglab.rehearsal.home import throwaway_lab
    from livinglab.rehearsal.parties import Parties
    from livinglab.rehearsal.rehearsal import Rehearsal
    from livinglab.settings import read_settings

    _say_what_waits()
    with throwaway_lab(read_settings()) as lab:
        console.print("The data are made, and a plan is agreed on …")
        rehearsal = Rehearsal.begin(Parties.meet(lab, play.spec.id), play)
        _follow(rehearsal, console, logs=logs)
        if keep:
            rehearsal.keep(keep)
        code = _show(rehearsal, play, console, as_json=as_json)
    if keep:
        console.print(f"{keep} has what the run left. livinglab verify {keep}/dossier.zip --keys {keep}/trust.json", soft_wrap=True)
    console.print(AFTER, style="yellow", soft_wrap=True)
    return code


def _read(pilot: Path, sandbox: Path, pilot_image: Path | None, harness_image: Path | None, console: "Console") -> "Play":
    """The folders' documents, which must fit each other, and the images."""
    from livinglab.rehearsal.rehearsal import Play, find_evidence, read_documents

    spec, manifest = read_documents(load_yaml(_there(sandbox / "sandbox.yaml")), load_yaml(_there(pilot / "pilot.yaml")))
    evidence, missing = find_evidence(spec, pilot)
    for name in missing:
        console.print(f"{name} is not in {pilot}: at the authority, no plan is proposed without it. Here something stands in for it.", style="yellow")
    harness = harness_image or _built(f"harness-{sandbox.resolve().name}", sandbox / "harness", "--harness-image", console)
    image = pilot_image or _built(f"pilot-{pilot.resolve().name}", pilot, "--pilot-image", console)
    return Play(spec=spec, manifest=manifest, evidence=evidence, script=sandbox / "data" / "make.py", harness=harness, pilot=image)


def _there(file: Path) -> Path:
    if not file.is_file():
        raise Invalid(f"there is no {file}.", hint="PILOT is a folder with a pilot.yaml, --sandbox one with a sandbox.yaml.")
    return file


def _built(name: str, context: Path, option: str, console: "Console") -> Path:
    """The archive of an image that the checkout in which the folder lies builds from it."""
    context, root = context.resolve(), checkout_of(context)
    if root is None:
        raise Invalid(f"{context} lies in no checkout of livinglab that could build its image.",
                      hint=f"Build it yourself: docker build -t {name} …; docker save {name} > {name}.tar; then {option} {name}.tar.")  # fmt: skip
    console.print(f"Image {name} …")
    command = [str(root / BUILD), name, str(context.relative_to(root))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as build:  # noqa: S603 - the checkout's own script
        try:
            told, complaints = build.communicate()
        except BaseException:
            build.terminate()  # it cleans up behind itself, and is waited for
            raise
    if build.returncode:
        raise Invalid(f"the image could not be built: {_tail(complaints)}", where=str(context))
    return Path(told.strip())


def _tail(text: str) -> str:
    from livinglab.cli.show import harmless

    return harmless("\n".join(text.strip().splitlines()[-_TAIL:]))


def _follow(rehearsal: "Rehearsal", console: "Console", *, logs: bool) -> None:
    """Show steps, and what the pilot writes, until the run is over."""
    from rich.text import Text

    from livinglab.cli.show import STEPS, harmless, progress_on, show_steps

    kept = bytearray()

    def hear(data: bytes) -> None:
        kept.extend(data)
        whole, newline, rest = bytes(kept).rpartition(b"\n")
        kept[:] = rest
        if newline:
            console.print(Text(harmless(whole.decode(errors="replace")), style="dim"))

    with progress_on(console) as progress, closing(rehearsal.follow(hear if logs else lambda _data: None)) as events:
        task = progress.add_task("queued", total=len(STEPS))
        show_steps(((event.kind, event.data) for event in events), progress, task)
        progress.update(task, description=rehearsal.now().state, completed=len(STEPS))
        hear(b"\n" if kept else b"")


def _show(rehearsal: "Rehearsal", play: "Play", console: "Console", *, as_json: bool) -> int:
    """Print the verdict, or why there is none; the exit code."""
    from livinglab.cli.show import print_verdict

    run, verdict = rehearsal.ended(), rehearsal.verdict()
    if as_json:
        failure = run.failure.model_dump(mode="json") if run.failure else None
        echo_json({"notice": AFTER, "state": run.state, "failure": failure, "verdict": verdict.model_dump(mode="json") if verdict else None})
    elif verdict:
        print_verdict(verdict.model_dump(mode="json"), play.spec.model_dump(mode="json"), console)
    if run.failure:
        console.print(f"The run is {run.state}: {run.failure.sentence}", markup=False, highlight=False)
        for role in _HARNESS:
            said = _tail(rehearsal.log(role).decode(errors="replace"))
            if said:
                console.print(f"What the harness wrote at {role}:\n{said}", markup=False, highlight=False)
    return EXIT_CODES[verdict.verdict] if verdict else FAILED


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Whoever ends it ends it in order, once: whatever has begun is removed, and a second Ctrl-C does not stop that."""

    def end(number: int, _frame: "FrameType | None") -> None:
        for ending in _ENDINGS:
            signal.signal(ending, signal.SIG_IGN)
        click.echo("livinglab: stopped; what had begun is removed …", err=True)
        sys.exit(128 + number)

    before = {ending: signal.signal(ending, end) for ending in _ENDINGS}
    try:
        yield
    finally:
        for ending, handler in before.items():
            signal.signal(ending, handler)


def _say_what_waits() -> None:
    """What is waited for is said; how a step failed is said with the run's end, in a sentence."""
    logging.basicConfig(level=logging.WARNING, format="livinglab: %(message)s")
    logging.getLogger("livinglab.services.engine").setLevel(logging.CRITICAL)
