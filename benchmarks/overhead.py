"""What the lab adds to a run, over bare `docker run` of the same two containers, in one process and one sitting.

    .venv/bin/python benchmarks/overhead.py [RUNS]

Printed: the wall time of bare runs (pilot, then harness) and of runs in the lab (request → sealed), alternating; the
difference; where it goes; accepted → container started; and RUNS runs at once against the same containers by hand, as many
at a time as there are cores. A run of the lab has three containers, since a decoder stands between the pilot and the
harness; given are the ratios to all three by hand, and to two.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from livinglab.bootstrap import open_supervisor
from livinglab.dispatch.inline import carry_inline
from livinglab.dispatch.supervisor import Supervisor
from livinglab.domain.run import RunState, Step
from livinglab.services.jobs import context
from livinglab.services.journal import Journal
from tests.labs import SECRET, Parties

CORES = os.cpu_count() or 1


def quantiles(values: list[float]) -> str:
    ordered = sorted(values)
    return f"p50 {statistics.median(ordered):.3f} s, p99 {ordered[min(len(ordered) - 1, round(0.99 * len(ordered)))]:.3f} s (n = {len(ordered)})"


class Bare:
    """The same pilot and harness containers, started by hand with the same limits."""

    def __init__(self, parties: Parties, folder: Path) -> None:
        run = parties.request(parties.plan())
        supervisor = open_supervisor(parties.lab, "docker", slots=1)
        supervisor.serve(lambda a: carry_inline(supervisor, a), until_idle=True)
        s = Journal(parties.lab.store, supervisor.engine.recorder).situation(f"{run.id}.1")
        decoded = s.done(Step.DECODE)
        assert decoded
        collected = s.done(Step.COLLECT)
        assert collected
        places = {"decoded/table.parquet": decoded["outputs"]["table.parquet"]}
        places |= {f"sealed/{name}": digest for name, digest in collected["outputs"].items()}
        for place, digest in places.items():
            (folder / place).parent.mkdir(exist_ok=True)
            shutil.copy(parties.lab.artifacts.path(digest), folder / place)
        for role in ("decode", "measure"):
            (folder / role).mkdir()
            (folder / role / "context.json").write_bytes(context(s, role, SECRET if role == "measure" else None))
        vault = parties.lab.settings.vault_path
        self.hidden, self.participant = (vault / d.digest.removeprefix("sha256:") for d in (s.release.hidden_data, s.release.participant_data))
        self.folder = folder
        images = json.loads(
            subprocess.run(["docker", "images", "--format", "{{json .}}"], check=True, capture_output=True, text=True)
            .stdout.replace("}\n{", "},\n{")
            .join("[]")
        )
        tags = {i["Tag"]: f"{i['Repository']}:{i['Tag']}" for i in images if i["Repository"] == "livinglab/image"}
        self.pilot, self.harness = (tags[digest.removeprefix("sha256:")[:32]] for digest in (s.pilot.image, s.release.harness_image))

    def _docker(self, image: str, mounts: dict[str, Path], *argv: str) -> None:
        out = Path(tempfile.mkdtemp(dir=self.folder))
        out.chmod(0o777)
        binds = [f"-v={source}:{target}:ro" for target, source in mounts.items()]
        subprocess.run(["docker", "run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges",
                        "--user=65532:65532",
                        "--memory=512m", "--memory-swap=512m", "--cpus=1", "--pids-limit=64", "--tmpfs=/tmp", "-e=PYTHONPATH=/opt/lib:/app",
                        "-e=PYTHONDONTWRITEBYTECODE=1", *binds, f"-v={out}:/out", image, *argv], check=True, capture_output=True)  # fmt: skip

    def run(self, *, decoder: bool = False) -> float:
        begun = time.perf_counter()
        self._docker(self.pilot, {"/in": self.participant}, "python3", "/app/tiny.py")
        if decoder:
            mounts = {"/outputs": self.folder / "sealed", "/context": self.folder / "decode"}
            self._docker(self.harness, mounts, "python3", "-m", "harness", "decode")
        mounts = {"/hidden": self.hidden, "/participant": self.participant, "/decoded": self.folder / "decoded", "/context": self.folder / "measure"}
        self._docker(self.harness, mounts, "python3", "-m", "harness", "measure")
        return time.perf_counter() - begun


class Measured:
    """Runs in the lab, with the time of every boundary."""

    def __init__(self, parties: Parties) -> None:
        self.parties = parties
        self.marks: list[tuple[str, float]] = []

    def supervisor(self, slots: int) -> Supervisor:
        return open_supervisor(self.parties.lab, "docker", slots=slots, boundary=lambda place: self.marks.append((place, time.perf_counter())))

    def run(self, supervisor: Supervisor) -> tuple[float, float, dict[str, float]]:
        """(request → sealed, request → pilot started, seconds per step)."""
        plan = self.parties.plan()
        self.marks.clear()
        begun = time.perf_counter()
        run = self.parties.request(plan)
        supervisor.serve(lambda a: carry_inline(supervisor, a), until_idle=True)
        ended = self.marks[-1][1]
        assert self.parties.state(run).state is RunState.COMPLETED
        steps: dict[str, float] = defaultdict(float)
        before = begun
        for place, at in self.marks:
            steps[place] += at - before
            before = at
        return ended - begun, dict(self.marks)["execute:submitted"] - begun, steps


def by_hand(bare: Bare, runs: int, *, decoder: bool) -> float:
    """Wall time of so many runs by hand, CORES at a time."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(lambda _: bare.run(decoder=decoder), range(runs)))
    return time.perf_counter() - begun


def at_once(parties: Parties, runs: int) -> float:
    """Wall time of so many runs in the lab, submitted at once."""
    plans = [parties.plan() for _ in range(runs)]
    supervisor = open_supervisor(parties.lab, "docker", slots=CORES)
    begun = time.perf_counter()
    for plan in plans:
        parties.request(plan)
    supervisor.serve(lambda a: carry_inline(supervisor, a), until_idle=True)
    return time.perf_counter() - begun


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as scratch:
        parties = Parties.gather(Path(scratch) / "lab")
        bare, measured = Bare(parties, Path(scratch)), Measured(parties)
        supervisor = measured.supervisor(1)
        pairs = [(bare.run(), measured.run(supervisor)) for _ in range(runs)]
        walls = [wall for _, (wall, _, _) in pairs]
        print(f"bare, two containers     {quantiles([b for b, _ in pairs])}")
        print(f"in the lab, three        {quantiles(walls)}")
        print(f"added                    {quantiles([wall - b for b, (wall, _, _) in pairs])}")
        print(f"ratio                    {statistics.median(wall / b for b, (wall, _, _) in pairs):.2f}")
        print(f"accepted → started       {quantiles([started for _, (_, started, _) in pairs])}")
        print("where a median run goes (seconds up to each boundary from the one before):")
        for place in pairs[0][1][2]:
            print(f"  {place:20s} {statistics.median(steps[place] for _, (_, _, steps) in pairs):.3f}")
        two, three, lab = by_hand(bare, runs, decoder=False), by_hand(bare, runs, decoder=True), at_once(parties, runs)
        print(f"{runs} at once, {CORES} at a time: {lab:.2f} s; the same three containers by hand {three:.2f} s, ratio {lab / three:.2f}; "
              f"without the decoder {two:.2f} s, ratio {lab / two:.2f}")  # fmt: skip


if __name__ == "__main__":
    main()
