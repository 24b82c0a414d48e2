"""A worker process for tests: carries what is queued, and kills itself at the place it is told.

python -m tests.carry HOME SITE [PLACE]: PLACE is the name of a boundary of the engine; the process sends itself SIGKILL there.
Every boundary that was passed is appended to HOME/boundaries.
"""

import os
import signal
import sys
from pathlib import Path

from livinglab.bootstrap import open_lab, open_supervisor
from livinglab.dispatch.inline import carry_inline
from livinglab.settings import Settings


def main() -> None:
    home, site, place = Path(sys.argv[1]), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None

    def boundary(name: str) -> None:
        with (home / "boundaries").open("a") as file:
            file.write(f"{name}\n")
        if name == place:
            os.kill(os.getpid(), signal.SIGKILL)

    supervisor = open_supervisor(open_lab(Settings(home=home)), site, slots=1, boundary=boundary)
    supervisor.serve(lambda attempt: carry_inline(supervisor, attempt), until_idle=True)


if __name__ == "__main__":
    main()
