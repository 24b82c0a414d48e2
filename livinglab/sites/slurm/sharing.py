"""What the threads of one worker share, so that a cluster is asked as often whether they carry one run or a thousand."""

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from livinglab.domain.errors import LivingLabError, Unreachable
from livinglab.sites.shell import Shell
from livinglab.sites.slurm.control import Line

_REST = 10
"""A look is not repeated before this many times as long as it took, from its begin."""


class Patience:
    """Leaves a scheduler alone for a while when it did not answer, for twice as long each time. Threads share one.

    Meanwhile whoever asks is told at once that it is not reached, so that a thousand runs are no burden to a busy controller either.
    """

    _FIRST, _MOST = 0.5, 15.0  # seconds

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failures = 0
        self._until = float("-inf")
        self._said = ""

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Around one question. `Unreachable` at once where it is left alone."""
        left = self._until - time.monotonic()
        if left > 0:
            msg = f"{self._said} It is asked again in {left:.1f} seconds."
            raise Unreachable(msg)
        try:
            yield
        except Unreachable as error:
            with self._lock:
                self._failures += 1
                self._until = time.monotonic() + min(self._MOST, self._FIRST * 2 ** (self._failures - 1))
                self._said = error.message
            raise
        self._failures = 0


class Snapshot:
    """One look at the queue for all who ask within `seconds`; whoever comes while one is under way waits for that one.

    A controller that takes long to answer is asked less often: at most a tenth of its time is taken, or a half where somebody must know.

    Args:
        ask: the query.
        seconds: how old an answer may be.
        patience: shared by all that ask the same controller.
    """

    def __init__(self, ask: Callable[[], tuple[Line, ...]], seconds: float, patience: Patience | None = None) -> None:
        self._ask, self._seconds, self._patience = ask, seconds, patience or Patience()
        self._took = 0.0
        self._lock = threading.Lock()
        self._taken = float("-inf")
        self._lines: dict[str, list[Line]] = {}

    def look(self, *, fresh: bool = False) -> dict[str, list[Line]]:
        """Lines by name. `fresh`: taken after this call, for whoever is about to decide something by what is *not* there."""
        called = time.monotonic()
        with self._lock:
            if self._taken < (called if fresh else called - max(self._seconds, _REST * self._took)):
                time.sleep(max(0.0, min(self._took, self._taken + 2 * self._took - time.monotonic())))
                begun = time.monotonic()
                lines: dict[str, list[Line]] = {}
                with self._patience.asking():
                    for line in self._ask():
                        lines.setdefault(line.name, []).append(line)
                self._lines, self._taken, self._took = lines, begun, time.monotonic() - begun
            return self._lines


_LISTEN = r"""
cd "$1/ended" || exit
declare -A known
while read -r name; do known[$name]=1; done
end="$(($(date +%s) + $2))"
while [ "$(date +%s)" -lt "$end" ]; do
    new=()
    for name in *; do [ -n "${known[$name]:-}" ] || [ "$name" = '*' ] || new+=("$name"); done
    if [ "${#new[@]}" != 0 ]; then printf '%s\n' "${new[@]}"; exit; fi
    sleep 0.05
done
"""


class Ends:
    """Hears that jobs have ended, from the marks that `job.sh` leaves: one command at the cluster, however many wait.

    It is a hint. A job that cannot leave its mark is found out by observing.
    """

    _LISTEN_SECONDS, _IDLE_SECONDS, _BACK_OFF = 10, 30.0, 1.0

    def __init__(self, shell: Shell, root: PurePosixPath) -> None:
        self._shell, self._root = shell, root
        self._changed = threading.Condition()
        self._ended: set[str] = set()
        self._asked = float("-inf")
        self._thread: threading.Thread | None = None

    def wait(self, names: Collection[str], seconds: float) -> bool:
        """Has one of them left its mark within that time?"""
        with self._changed:
            self._asked = time.monotonic()
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="slurm-ends", daemon=True)
                self._thread.start()
            return self._changed.wait_for(lambda: not self._ended.isdisjoint(names), timeout=seconds)

    def forget(self, names: Collection[str]) -> None:
        """Jobs that were released."""
        with self._changed:
            self._ended.difference_update(names)

    def _listen(self) -> None:
        while True:
            with self._changed:
                if time.monotonic() - self._asked > self._IDLE_SECONDS:
                    self._thread = None
                    return
                known = "".join(f"{name}\n" for name in self._ended).encode()
            try:
                said = self._shell.run(_LISTEN, str(self._root), str(self._LISTEN_SECONDS), stdin=known, timeout=self._LISTEN_SECONDS + 30)
            except LivingLabError:
                time.sleep(self._BACK_OFF)  # whoever waits observes meanwhile, and hears of it there
                continue
            with self._changed:
                self._ended.update(said.decode().split())
                self._changed.notify_all()
