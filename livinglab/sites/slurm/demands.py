"""What a cluster must be set up like, read from what it says of itself. Pure."""

import re
from collections.abc import Mapping

from livinglab.ports import Demand
from livinglab.sites.slurm import commands

OLDEST = (24, 11)
"""The oldest Slurm whose states, options and web API (v0.0.42) are those that the lab speaks."""


def of_scheduler(config: str) -> tuple[Demand, ...]:
    """Every demand on Slurm's configuration.

    Args:
        config: what `scontrol show config` says.
    """
    said = {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in config.splitlines())}
    version = tuple(int(n) for n in re.findall(r"\d+", said.get("SLURM_VERSION", ""))[:2])
    return (
        Demand(what="Slurm's version", demanded="24.11 or newer", seen=said.get("SLURM_VERSION", "not told"), holds=version >= OLDEST,
               hint="Older ones name states and options differently."),
        _word(said, "ProctrackType", "proctrack/cgroup", "Nothing of a job may outlive it: set ProctrackType=proctrack/cgroup."),
        _word(said, "TaskPlugin", "task/cgroup", "A job's limits must be those of a control group: add task/cgroup to TaskPlugin."),
        _word(said, "ConstrainRAMSpace", "yes", "Without it a container's memory is not limited: set ConstrainRAMSpace=yes in cgroup.conf."),
        _word(said, "ConstrainCores", "yes", "Without it a container takes what cores it likes: set ConstrainCores=yes in cgroup.conf."),
        _word(said, "ConstrainDevices", "yes", "A container could open the GPUs of others: set ConstrainDevices=yes in cgroup.conf.",
              needed=False),
        _priorities(said),
        _word(said, "PrivateData", "jobs", "Others see the lab's jobs: add jobs (and usage) to PrivateData.", needed=False),
        _word(said, "AccountingStorageType", "accounting_storage/slurmdbd", "Usage is not kept, and a job that slurmctld has forgotten is lost."),
        _word(said, "JobAcctGatherType", "jobacct_gather/cgroup", "Memory peaks are not measured: set JobAcctGatherType=jobacct_gather/cgroup.",
              needed=False),
        _enough_memory_of_jobs(said),
    )  # fmt: skip


def _word(said: Mapping[str, str], name: str, word: str, hint: str, *, needed: bool = True) -> Demand:
    value = said.get(name, "not told")
    return Demand(what=name, demanded=word, seen=value, holds=word in re.split(r"[,\s]+", value.lower()), hint=hint, needed=needed)


def _priorities(said: Mapping[str, str]) -> Demand:
    """Do a hundred points of the lab's show among the priorities that the scheduler computes? It cuts them at 1."""
    weights = {
        name.removeprefix("PriorityWeight"): int(value) for name, value in said.items() if name.startswith("PriorityWeight") and value.isdigit()
    }
    span = 2 * commands.nice(0)
    hint = f"What the lab's operators put first is not seen there: let PriorityWeight… come to {span:,} or more."
    seen = ", ".join(f"{name} {value:,}" for name, value in weights.items() if value) or said.get("PriorityType", "not told")
    return Demand(
        what="PriorityWeight…", demanded=f"{span:,} or more together", seen=seen, holds=sum(weights.values()) >= span, hint=hint, needed=False
    )


def _enough_memory_of_jobs(said: Mapping[str, str]) -> Demand:
    """Slurmctld must remember an ended job for longer than the lab may be away for a moment."""
    value = said.get("MinJobAge", "not told")
    seconds = int(found[0]) if (found := re.findall(r"\d+", value)) else 0
    hint = "Jobs are forgotten so soon that accounting must be asked for each: set MinJobAge=300."
    return Demand(what="MinJobAge", demanded="60 seconds or more", seen=value, holds=seconds >= 60, hint=hint, needed=False)  # noqa: PLR2004 - a minute


HELLO = "echo livinglab"
"""Bash for the login node, before anything else."""


def of_profile(answer: str) -> Demand:
    """What the login node says in answer to `HELLO`, and what the account's profile says besides."""
    seen = "silent" if answer == "livinglab\n" else f"it says {answer.removesuffix('livinglab' + chr(10)).strip()[:80]!r}"
    return Demand(what="the account's profile", demanded="silent", seen=seen, holds=seen == "silent",
                  hint="What a .bashrc prints there spoils every answer: let it print nothing where no terminal is.")  # fmt: skip


def of_login(answer: str) -> tuple[Demand, ...]:
    """What the login node says in answer to `LOOK`: a line per demand, fields separated by tabs."""
    demands = []
    for line in answer.splitlines():
        what, demanded, seen, holds, hint = (line.split("\t") + [""] * 5)[:5]
        demands.append(Demand(what=what, demanded=demanded, seen=seen, holds=holds == "yes", hint=hint))
    return tuple(demands)


LOOK = r"""
say() { printf '%s\t%s\t%s\t%s\t%s\n' "$@"; }
yes() { if "$@" >/dev/null 2>&1; then echo yes; else echo no; fi; }
root="$1" apptainer="$2"
say "bash at the login node" "4.3 or newer" "$BASH_VERSION" "$(yes test "${BASH_VERSINFO[0]}${BASH_VERSINFO[1]}" -ge 43)" "Install it."
for tool in tar sha256sum find stat dd; do
    say "$tool at the login node" "there" "$(command -v "$tool" || echo none)" "$(yes command -v "$tool")" "Install it."
done
say "the lab's folder on the scratch" "closed to others" "$(stat -c '%A %U' "$root" 2>&1)" "$(yes test "$(stat -c %a "$root")" = 700)" \
    "Give the lab's account a folder that it may write to."
say "Apptainer at the login node" "there" "$("$apptainer" --version 2>&1 | head -n 1)" "$(yes test -x "$apptainer")" \
    "Images are built there; where that is not wanted, set build: job."
space="$(($(stat -f -c '%a * %S' "$root" 2>/dev/null || echo 0) >> 30))"
say "room on the scratch" "10 GiB or more" "$space GiB" "$(yes test "$space" -ge 10)" "Images and outputs lie there for a while."
"""
"""Bash for the login node."""
