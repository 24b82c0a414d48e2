"""What a cluster says of itself is compared with what the lab needs: each thing that is not so is told, with what to do."""

import subprocess

import pytest

from livinglab.sites.slurm.demands import HELLO, of_login, of_profile, of_scheduler

CONFIG = """\
Configuration data as of 2030-01-01T00:00:00
AccountingStorageType   = accounting_storage/slurmdbd
JobAcctGatherType       = jobacct_gather/cgroup
MinJobAge               = 300 sec
PriorityType            = priority/multifactor
PriorityWeightAge       = 1000
PriorityWeightQOS       = 1000
PriorityWeightTRES      = (null)
PrivateData             = jobs,usage
ProctrackType           = proctrack/cgroup
SLURM_VERSION           = 26.05.5
TaskPlugin              = task/cgroup,task/affinity

Cgroup Support Configuration:
ConstrainCores          = yes
ConstrainDevices        = yes
ConstrainRAMSpace       = yes
"""


def test_a_cluster_that_has_all() -> None:
    assert [demand.what for demand in of_scheduler(CONFIG) if not demand.holds] == []


@pytest.mark.parametrize(("old", "new", "what", "needed"), [
    ("26.05.5", "23.11.4", "Slurm's version", True),
    ("26.05.5", "24.11.0", "", True),
    ("proctrack/cgroup", "proctrack/linuxproc", "ProctrackType", True),
    ("task/cgroup,task/affinity", "task/affinity", "TaskPlugin", True),
    ("ConstrainRAMSpace       = yes", "ConstrainRAMSpace       = no", "ConstrainRAMSpace", True),
    ("ConstrainCores          = yes", "", "ConstrainCores", True),
    ("ConstrainDevices        = yes", "ConstrainDevices        = no", "ConstrainDevices", False),
    ("accounting_storage/slurmdbd", "(null)", "AccountingStorageType", True),
    ("jobs,usage", "usage", "PrivateData", False),
    ("jobacct_gather/cgroup", "jobacct_gather/none", "JobAcctGatherType", False),
    ("300 sec", "2 sec", "MinJobAge", False),
    ("PriorityWeightQOS       = 1000", "PriorityWeightQOS       = 999", "PriorityWeight…", False),
])  # fmt: skip
def test_what_is_missing_is_told(old: str, new: str, what: str, needed: bool) -> None:
    assert CONFIG.count(old) == 1
    missing = [demand for demand in of_scheduler(CONFIG.replace(old, new)) if not demand.holds]
    assert [(demand.what, demand.needed) for demand in missing] == ([(what, needed)] if what else [])
    assert all(demand.hint and demand.demanded != demand.seen for demand in missing)


@pytest.mark.parametrize("answer", ["", "slurm_load_conf error: Unable to contact slurm controller", "= = =\n===\n"])
def test_a_cluster_that_says_nothing_has_nothing(answer: str) -> None:
    assert not any(demand.holds for demand in of_scheduler(answer))


def test_a_profile_that_prints_is_told() -> None:
    said = subprocess.run(["bash", "-c", HELLO], capture_output=True, text=True, check=True).stdout
    assert of_profile(said).holds
    for noisy in ("Welcome!\n" + said, said + "bye\n", "", "Welcome!\n"):
        assert not of_profile(noisy).holds
    assert of_profile("Welcome!\n" + said).seen == "it says 'Welcome!'"


def test_the_login_nodes_lines() -> None:
    (demand,) = of_login("room on the scratch\t10 GiB or more\t3 GiB\tno\tImages lie there.\n")
    assert (demand.what, demand.seen, demand.holds, demand.hint) == ("room on the scratch", "3 GiB", False, "Images lie there.")
    assert not any(demand.holds for demand in of_login("half a line\nanother\tone"))
