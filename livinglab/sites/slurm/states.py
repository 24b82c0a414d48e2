"""Slurm's states and reasons: what each means for the lab, and what a person is told."""

from enum import StrEnum


class Phase(StrEnum):
    """What a scheduler's state comes to."""

    WAITING = "waiting"
    """In the queue, or on its way back into it: a requeue and a preemption are waiting, not failing."""
    RUNNING = "running"
    DONE = "done"
    """The script came to its end: what it wrote down counts."""
    OUT_OF_TIME = "out of time"
    OUT_OF_MEMORY = "out of memory"
    CANCELLED = "cancelled"
    LOST = "lost"
    """The cluster's fault: a node failed, or the job could not be started."""


STATES: dict[str, Phase] = {
    "PENDING": Phase.WAITING, "CONFIGURING": Phase.WAITING, "REQUEUED": Phase.WAITING, "REQUEUE_FED": Phase.WAITING, "REQUEUE_HOLD": Phase.WAITING,
    "SPECIAL_EXIT": Phase.WAITING, "RESV_DEL_HOLD": Phase.WAITING, "POWER_UP_NODE": Phase.WAITING, "RECONFIG_FAIL": Phase.LOST,
    "RUNNING": Phase.RUNNING, "COMPLETING": Phase.RUNNING, "SIGNALING": Phase.RUNNING, "STAGE_OUT": Phase.RUNNING, "SUSPENDED": Phase.RUNNING,
    "STOPPED": Phase.RUNNING, "RESIZING": Phase.RUNNING, "UPDATE_DB": Phase.RUNNING, "EXPEDITING": Phase.WAITING,
    "COMPLETED": Phase.DONE, "FAILED": Phase.DONE,
    "TIMEOUT": Phase.OUT_OF_TIME, "DEADLINE": Phase.OUT_OF_TIME, "OUT_OF_MEMORY": Phase.OUT_OF_MEMORY, "CANCELLED": Phase.CANCELLED,
    "NODE_FAIL": Phase.LOST, "BOOT_FAIL": Phase.LOST, "LAUNCH_FAILED": Phase.LOST, "REVOKED": Phase.LOST, "PREEMPTED": Phase.LOST,
}  # fmt: skip
"""Every state and flag of Slurm 24.11 to 26.05 (`squeue(1)`, `sacct(1)`, JOB STATE CODES). PREEMPTED is final
only where the site does not requeue."""

_ADVICE: dict[str, str] = {
    "None": "",
    "Priority": "Jobs with a higher priority are ahead of it; it starts when its turn comes.",
    "Resources": "It is next, and waits for nodes or memory to become free.",
    "Dependency": "It waits for another job, which the lab never asks for: somebody changed it at the cluster.",
    "BeginTime": "It was put back into the queue and may start again in a moment.",
    "JobHeldUser": "It is held; `livinglab run release` lets it go.",
    "JobHeldAdmin": "The cluster's administrators hold it, and only they can let it go.",
    "launch failed requeued held": "Its start failed on a node and the cluster holds it: the lab cancels it, and tries again.",
    "Reservation": "It waits for the reservation that this site names to begin.",
    "ReservationDeleted": "The reservation that this site names is over, and the cluster holds what still waited in it: cancel the run, or ask the"
    " cluster's administrators to move the job to another one.",
    "ReqNodeNotAvail": "Nodes that it could run on are down, drained or reserved for maintenance; it starts when they are back.",
    "PartitionDown": "The partition is down; ask the cluster's administrators.",
    "PartitionInactive": "The partition takes no jobs at the moment; ask the cluster's administrators.",
    "PartitionTimeLimit": "It asks for more time than the partition allows: lower `wall_seconds`, or name another partition for this site.",
    "PartitionNodeLimit": "It asks for more nodes than the partition has.",
    "NodeDown": "A node that it needs is down.",
    "BadConstraints": "No node satisfies the constraint that this site names: correct the site's settings.",
    "InvalidAccount": "The account that this site names does not exist at the cluster: correct the site's settings.",
    "InvalidQOS": "The QOS that this site names does not exist at the cluster, or the account may not use it: correct the site's settings.",
    "AccountNotAllowed": "The account may not use this partition: correct the site's settings.",
    "QOSNotAllowed": "The QOS may not be used with this account or partition: correct the site's settings.",
    "Licenses": "It waits for a licence.",
    "Cleaning": "It is being put back into the queue.",
    "NonZeroExitCode": "Its script ended with an error.",
    "JobLaunchFailure": "It could not be started on its node.",
    "NodeFail": "Its node failed.",
    "OutOfMemory": "It went over its memory.",
    "TimeLimit": "It went over its time.",
    "SystemFailure": "Slurm itself failed.",
    "Prolog": "The node is being prepared for it.",
    "DeadLine": "It could not end in time.",
    "JobHoldMaxRequeue": "It was put back into the queue too often and the cluster holds it: the lab cancels it, and tries again.",
    "InactiveLimit": "It was inactive for too long.",
}

_GIVEN_UP = ("launch failed requeued held", "JobHoldMaxRequeue")
"""Reasons for which Slurm itself holds a job; nothing but a person would let it go."""


def phase_of(state: str) -> Phase | None:
    """What a state comes to; None for one that is not known, which is never a success. `CANCELLED by 2000` is `CANCELLED`."""
    first, *_ = state.split() or [""]
    return STATES.get(first.upper().rstrip("+"))


def lives(state: str) -> bool:
    """Does a job in that state wait or run?"""
    return phase_of(state) in (Phase.WAITING, Phase.RUNNING)


def given_up(state: str, reason: str) -> bool:
    """Does a job stand in the queue that Slurm will not start (again) of its own accord?"""
    return phase_of(state) is Phase.WAITING and _plain(reason) in _GIVEN_UP


def advice(state: str, reason: str) -> str:
    """A sentence on what a job that waits waits for, and what to do about it. Empty where there is nothing to say."""
    reason = _plain(reason)
    if state.startswith("RESV_DEL_HOLD"):
        reason = "ReservationDeleted"
    known = _ADVICE.get(reason)
    if known is not None:
        return known
    if reason.startswith("ReqNodeNotAvail"):
        return _ADVICE["ReqNodeNotAvail"]
    if "Max" in reason or "Grp" in reason or reason.endswith(("Limit", "NotSatisfied")):
        return _limit_advice(reason)
    return f"The cluster says {reason}." if reason and phase_of(state) is Phase.WAITING else ""


def _plain(reason: str) -> str:
    """As squeue says it without brackets, the first of several."""
    return reason.strip("() ").replace("_", " ") if "requeued" in reason else reason.strip("() ").split(",")[0]


def _limit_advice(reason: str) -> str:
    """A limit that stands between a job and its start: of what it asks for itself, or of what those that share it use at once."""
    whose = "QOS" if reason.startswith("QOS") else "account" if reason.startswith("Assoc") else "cluster"
    of_one = ("PerJob", "PerNode", "PerLimit", "NotSatisfied", "ResourceLimit", "TimeLimit")
    if "Grp" not in reason and any(word in reason for word in of_one):
        return f"It asks for more, or less, than the {whose} allows a job: it never starts unless its limits here or there are changed."
    what = "for all that share it" if "Grp" in reason else "per user"
    return f"A limit of the {whose} is reached ({what}): it starts when other jobs have ended; its administrators can raise the limit."
