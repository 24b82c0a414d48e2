"""Every word that Slurm has for a job's state, and for why it waits, means something; and one that it will have tomorrow is no success."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livinglab.sites.slurm.states import STATES, Phase, advice, phase_of

BASE = ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PENDING", "PREEMPTED", "RUNNING",
        "SUSPENDED", "TIMEOUT")  # fmt: skip
"""JOB STATES of squeue(1), 24.11 to 26.05."""
FLAGS = ("COMPLETING", "CONFIGURING", "EXPEDITING", "LAUNCH_FAILED", "POWER_UP_NODE", "RECONFIG_FAIL", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD",
         "RESIZING",
         "RESV_DEL_HOLD", "REVOKED", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED", "UPDATE_DB")  # fmt: skip
"""JOB FLAGS, which squeue gives in a state's place."""


@pytest.mark.parametrize("state", BASE + FLAGS)
def test_every_state_is_known(state: str) -> None:
    assert phase_of(state) is not None


@pytest.mark.parametrize(("phase", "states"), [
    (Phase.DONE, {"COMPLETED", "FAILED"}),
    (Phase.OUT_OF_TIME, {"TIMEOUT", "DEADLINE"}),
    (Phase.OUT_OF_MEMORY, {"OUT_OF_MEMORY"}),
    (Phase.CANCELLED, {"CANCELLED"}),
    (Phase.LOST, {"NODE_FAIL", "BOOT_FAIL", "LAUNCH_FAILED", "RECONFIG_FAIL", "REVOKED", "PREEMPTED"}),
])  # fmt: skip
def test_what_is_final(phase: Phase, states: set[str]) -> None:
    assert {state for state, of in STATES.items() if of is phase} == states


@pytest.mark.parametrize(("text", "phase"), [
    ("CANCELLED by 2000", Phase.CANCELLED), ("CANCELLED+", Phase.CANCELLED), ("completed", Phase.DONE), (" RUNNING ", Phase.RUNNING),
])  # fmt: skip
def test_a_state_as_accounting_writes_it(text: str, phase: Phase) -> None:
    assert phase_of(text) is phase


@given(st.text(max_size=20))
def test_a_word_that_is_not_known_is_nothing(text: str) -> None:
    words = text.split()
    if not words or words[0].upper().rstrip("+") not in STATES:
        assert phase_of(text) is None


@pytest.mark.parametrize(("reason", "said"), [
    ("Priority", "its turn"),
    ("Resources", "memory to become free"),
    ("(Resources)", "memory to become free"),
    ("JobHeldUser", "release"),
    ("JobHeldAdmin", "only they"),
    ("BeginTime", "back into the queue"),
    ("Dependency", "another job"),
    ("ReqNodeNotAvail", "down, drained"),
    ("ReqNodeNotAvail, UnavailableNodes:c[1-2]", "down, drained"),
    ("ReqNodeNotAvail(Unavailable:c1)", "down, drained"),
    ("launch failed requeued held", "cancels it, and tries again"),
    ("launch_failed_requeued_held", "cancels it, and tries again"),
    ("JobHoldMaxRequeue", "too often"),
    ("PartitionTimeLimit", "wall_seconds"),
    ("InvalidQOS", "site's settings"),
    ("QOSMaxJobsPerUserLimit", "limit of the QOS is reached (per user): it starts when other jobs have ended"),
    ("QOSMaxCpuPerUserLimit", "limit of the QOS is reached (per user)"),
    ("QOSGrpCpuLimit", "limit of the QOS is reached (for all that share it)"),
    ("QOSGrpCPUMinutesLimit", "limit of the QOS is reached (for all that share it)"),
    ("AssocGrpCpuLimit", "limit of the account is reached (for all that share it)"),
    ("AssocGrpGRES", "limit of the account is reached (for all that share it)"),
    ("AssocMaxJobsLimit", "limit of the account is reached (per user)"),
    ("AssociationJobLimit", "limit of the account is reached"),
    ("AssocMaxWallDurationPerJobLimit", "more, or less, than the account allows a job: it never starts"),
    ("QOSMaxCpuPerJobLimit", "more, or less, than the QOS allows a job: it never starts"),
    ("QOSMaxMemoryPerNode", "more, or less, than the QOS allows a job: it never starts"),
    ("QOSMinCpuNotSatisfied", "more, or less, than the QOS allows a job: it never starts"),
    ("MaxMemPerLimit", "more, or less, than the cluster allows a job: it never starts"),
    ("SomethingNew", "The cluster says SomethingNew."),
    ("None", ""),
    ("", ""),
])  # fmt: skip
def test_who_waits_is_told_why_and_what_to_do(reason: str, said: str) -> None:
    sentence = advice("PENDING", reason)
    assert said in sentence
    assert bool(sentence) == bool(said)


def test_nothing_is_said_of_new_reasons_of_what_does_not_wait() -> None:
    assert advice("RUNNING", "SomethingNew") == ""
