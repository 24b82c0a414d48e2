"""Submitting jobs. Those that several threads submit at a time travel together, and where they are alike they are one job array.

A job's folder at the cluster carries its name, and Slurm has no other key: so a job is looked for by every name that it ever had there
before it is submitted again. Should it be submitted twice all the same, it runs once: `job.sh` has the second one end at once.
"""

import secrets
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from livinglab.domain.errors import Conflict, LivingLabError, PlatformFault
from livinglab.sites.scratch import JOB_NAME
from livinglab.sites.shell import Failed, Shell
from livinglab.sites.slurm.control import Control, Line, Request, task_name
from livinglab.sites.slurm.observing import NOT_OURS
from livinglab.sites.slurm.sharing import Patience
from livinglab.sites.transfer import packed

_PLACE = r"""
umask 077
cd "$1/jobs" || exit
new="$1/jobs/new.$2"
trap 'rm -rf "$new"' EXIT
mkdir "$new" && tar --extract --no-same-owner --directory "$new" || exit
mv "$new/these" "$new.these" && exec <"$new.these" && rm -f "$new.these" || exit
fresh=() old=() jobs=()
while IFS='|' read -r job needed partners; do
    for source in $needed; do [ -e "$source" ] || { printf '%s\tmissing\t%s\n' "$job" "$source"; continue 2; }; done
    jobs+=("$job|$partners")
    if [ -d "$job" ]; then old+=("$job"); else fresh+=("$new/$job"); fi
done
# One command for all of them, since starting it takes longer than what it does. Another that came between is left as it is.
[ "${#fresh[@]}" = 0 ] || mv --no-clobber --target-directory=. "${fresh[@]}" 2>/dev/null
[ "${#old[@]}" = 0 ] || touch "${old[@]}" # they are about to be submitted again, and young
word() { line=; [ ! -f "$1" ] || read -r line <"$1"; }
for entry in "${jobs[@]}"; do
    job="${entry%%|*}" made=0 names=()
    if [[ " ${fresh[*]} " == *" $new/$job "* ]] && [ ! -e "$new/$job" ]; then made=1; fi
    for partner in ${entry#*|}; do [ -L "$partner" ] || ln -sfn "$job" "$partner"; done
    [ ! -f "$job/slurm" ] || mapfile -t names <"$job/slurm"
    word "$job/spec"; spec="$line"
    word "$job/claim"
    printf '%s\t%s\t%s\t%s\t%s\n' "$job" "$made" "$spec" "$line" "${names[*]-}"
done
"""
_ENROL = 'cd "$1/jobs" || exit; while read -r job name; do [ -d "$job" ] && printf "%s\\n" "$name" >>"$job/slurm"; done; true'
_SCRIPT = "#!/bin/bash -p\nexec /bin/bash -p '{tools}/job.sh' '{job}'\n"
_ARRAY = "#!/bin/bash -p\njobs=({jobs})\nexec /bin/bash -p '{tools}/job.sh' \"{root}/jobs/${{jobs[$SLURM_ARRAY_TASK_ID]}}\"\n"
_AT_ONCE = 200
"""Jobs that travel together at most."""


class MissingError(Exception):
    """What a job needs is not at the cluster: `path`."""

    def __init__(self, path: PurePosixPath) -> None:
        super().__init__(str(path))
        self.path = path


@dataclass(frozen=True)
class Job:
    """A job that is to be there.

    Attributes:
        request: what the scheduler is asked for, under the name of the job's folder; its script is made here.
        files: what the folder holds; `spec` is the digest by which two of one name are told apart.
        needed: what must lie at the cluster.
        partners: the names of its other containers.
        tools: where `job.sh` lies.
    """

    request: Request
    files: Mapping[str, bytes]
    needed: tuple[PurePosixPath, ...]
    partners: tuple[str, ...]
    tools: PurePosixPath

    @property
    def name(self) -> str:
        """Its folder's."""
        return self.request.name


@dataclass(frozen=True)
class Submitted:
    """A job's id at the scheduler; `created` where it was not there before."""

    id: str
    created: bool


@dataclass(frozen=True)
class _Waiting:
    job: Job
    answer: Future[Submitted] = field(default_factory=Future)


class Submissions:
    """Submits to one cluster.

    Args:
        root: the lab's folder there.
        lines: what the scheduler knows at that moment of jobs, by the names that it may have them under.
        patience: shared by all that ask the same controller.
    """

    def __init__(self, shell: Shell, control: Control, root: PurePosixPath, lines: Callable[[Mapping[str, set[str]]], dict[str, list[Line]]],
                 patience: Patience) -> None:  # fmt: skip
        self._shell, self._control, self._root, self._lines, self._patience = shell, control, root, lines, patience
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._busy = False

    def submit(self, job: Job) -> Submitted:
        """Find or create. Whoever comes while others are being submitted is in the next lot, which one of those in it carries.

        Raises:
            MissingError: what the job needs is not there.
            Conflict: a job of that name is there, with another specification.
            Unreachable: nothing is known; whoever tries again finds it, if it is there.
        """
        mine = _Waiting(job)
        with self._changed:
            self._waiting.append(mine)
            while not mine.answer.done():
                if self._busy:
                    self._changed.wait()
                else:
                    self._carry_a_lot()
        return mine.answer.result()

    def _carry_a_lot(self) -> None:
        """Of those that wait, while others may come to wait."""
        lot = [self._waiting.popleft() for _ in range(min(_AT_ONCE, len(self._waiting)))]
        self._busy = True
        self._changed.release()
        try:
            self._submit_lot(lot)
        finally:
            self._changed.acquire()
            self._busy = False
            self._changed.notify_all()

    def _submit_lot(self, lot: list[_Waiting]) -> None:
        """Whatever happens, everybody gets an answer."""
        try:
            for alike in _alike(self._place(lot), self._control.array_size):
                self._send(alike)
        except BaseException as error:
            for waiting in lot:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            if not isinstance(error, Exception):
                raise

    # --- folders -------------------------------------------------------------------------------------------------------

    def _place(self, lot: list[_Waiting]) -> list[_Waiting]:
        """Make the folders that are not there; those whose job is not at the scheduler yet."""
        these = "".join(f"{w.job.name}|{' '.join(self._below(path) for path in w.job.needed)}|{' '.join(w.job.partners)}\n" for w in lot)
        files = {f"{w.job.name}/{name}": data for w in lot for name, data in w.job.files.items()}
        answer = self._shell.run(_PLACE, str(self._root), secrets.token_hex(8), stdin=packed(files | {"these": these.encode()})).decode()
        found = {name: [field.strip() for field in fields] for name, *fields in (line.split("\t") for line in answer.splitlines())}
        left = [waiting for waiting in lot if self._is_to_be_sent(waiting, found.get(waiting.job.name, []))]
        names = {w.job.name: {w.job.name, *found[w.job.name][3].split()} for w in left if found[w.job.name][0] == "0"}
        there = self._lines(names) if names else {}
        for waiting in list(left):
            ours = [line for line in there.get(waiting.job.name, ()) if line.exit_code != NOT_OURS]
            if ours:
                waiting.answer.set_result(Submitted(ours[0].id, created=False))
                left.remove(waiting)
        return left

    def _below(self, path: PurePosixPath) -> str:
        return f"../{path.relative_to(self._root)}"

    def _is_to_be_sent(self, waiting: _Waiting, fields: list[str]) -> bool:
        """Not one whose folder could not be made, one that is another's, or one that has begun."""
        job, answer = waiting.job, waiting.answer
        match fields:
            case ["missing", source]:
                answer.set_exception(MissingError(self._root / source.removeprefix("../")))
            case [_, digest, claim, _] if digest.encode() == job.files["spec"]:
                if not claim:
                    return True
                answer.set_result(Submitted(claim, created=False))
            case [_, digest, _, _] if digest:
                answer.set_exception(Conflict("the job exists with another specification."))
            case _:
                answer.set_exception(PlatformFault(f"the folder of job {job.name} could not be made at the cluster."))
        return False

    # --- the scheduler --------------------------------------------------------------------------------------------------

    def _send(self, alike: list[_Waiting]) -> None:
        if len(alike) > 1:
            try:
                return self._send_array(alike)
            except Failed:
                pass  # an array may be refused where single jobs are not, and of those some may be taken
        for waiting in alike:
            try:
                waiting.answer.set_result(Submitted(self._ask(self.request(waiting.job)), created=True))
            except LivingLabError as error:
                waiting.answer.set_exception(error)
        return None

    def request(self, job: Job) -> Request:
        """A job of its own, as the scheduler is asked for it."""
        return replace(job.request, script=_SCRIPT.format(tools=job.tools, job=self._root / "jobs" / job.name))

    def _send_array(self, alike: list[_Waiting]) -> None:
        """Under which names they are to be found is written down before."""
        array = JOB_NAME + secrets.token_hex(10)
        names = "".join(f"{waiting.job.name} {task_name(array, task)}\n" for task, waiting in enumerate(alike))
        self._shell.run(_ENROL, str(self._root), stdin=names.encode())
        script = _ARRAY.format(tools=alike[0].job.tools, root=self._root, jobs=" ".join(waiting.job.name for waiting in alike))
        id_ = self._ask(replace(alike[0].job.request, name=array, script=script, tasks=len(alike)))
        for task, waiting in enumerate(alike):
            waiting.answer.set_result(Submitted(f"{id_}_{task}", created=True))

    def _ask(self, request: Request) -> str:
        with self._patience.asking():
            return self._control.submit(request)


def _alike(waiting: Iterable[_Waiting], most: int) -> list[list[_Waiting]]:
    """Those that ask for the same, in lots of so many at most, in the order in which they came."""
    lots: dict[Request, list[list[_Waiting]]] = {}
    for one in waiting:
        of_its_kind = lots.setdefault(replace(one.job.request, name="", script=""), [[]])
        if len(of_its_kind[-1]) == most:
            of_its_kind.append([])
        of_its_kind[-1].append(one)
    return [lot for of_its_kind in lots.values() for lot in of_its_kind]
