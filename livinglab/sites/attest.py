"""The launcher's side of isolation: what it is told to demand, and what its report, with the site's own view, comes to."""

import hashlib
import hmac
from collections.abc import Iterable

from pydantic import ValidationError

from livinglab.domain.canonical import digest_of
from livinglab.domain.isolation import Attestation, Finding, IsolationProfile, ProbeReport, Property
from livinglab.ports import ContainerSpec, JobSpec

LAUNCHER = "/.livinglab/launcher"
MARK = b"livinglab-launcher/1 "
REPORT_LIMIT = 16 << 10
REFUSED, MISUSED, NOT_EXECUTED = 97, 98, 99
"""The launcher's own exit codes. They mean something only where its report says the same."""

SCRATCH = ("/tmp", "/dev/shm")  # noqa: S108 - mount points inside the container
RUNTIMES_SCRATCH: tuple[tuple[str, ...], ...] = ((), ("/dev",))
"""What runtimes let a container write to besides: Apptainer's `/dev` is the container's own, in memory and small."""
DEMANDED: tuple[Property, ...] = (
    "network", "root", "mounts", "user", "capabilities", "no_new_privileges", "seccomp", "memory", "cpu", "pids", "environment",
    "gpus")  # fmt: skip


def launcher_command(
    spec: JobSpec, container: ContainerSpec, *, scratch: tuple[str, ...] = (), wait: bool = False, begin: str | None = None
) -> list[str]:
    """Argv of the container's first process: the demands of profile and limits, the nonce, then the command.

    Args:
        scratch: what the runtime lets a container write to besides `SCRATCH`; one of `RUNTIMES_SCRATCH`.
        wait: standard input must end before the command is executed, so that the site can look from outside meanwhile.
        begin: a named pipe that somebody must read before the command is executed, who sees its end when the container is over.
    """
    command = [LAUNCHER, "--nonce", spec.nonce]
    for name, value in _demands(spec, container, scratch).items():
        command += ["--expect", f"{name}={value}"]
    for name, witnesses in sorted(spec.profile.witnesses.items()):
        if "engine" in witnesses:
            command += ["--hidden", name]
    if "rlimit" in spec.profile.witnesses.get("pids", ()):
        command += ["--rlimit", "pids"]
    if wait:
        command.append("--wait")
    if begin:
        command += ["--begin", begin]
    return [*command, "--", *container.argv]


def _demands(spec: JobSpec, container: ContainerSpec, scratch: tuple[str, ...] = ()) -> dict[str, int | str]:
    resources, profile = container.resources, spec.profile
    writable = [*(m.target for m in container.mounts if not m.read_only), *SCRATCH, *scratch]
    return {"uid": profile.uid, "gid": profile.gid, "memory": resources.memory, "cpu": round(resources.cpus * 1000), "pids": resources.pids,
            "gpus": resources.gpus, "writable": ":".join(writable),
            "readable": ":".join(m.target for m in container.mounts if m.read_only)}  # fmt: skip


def parse_report(line: bytes | None, nonce: str) -> tuple[ProbeReport | None, str | None]:
    """The report in a launcher's line, or None and why it is not to be believed."""
    if not line or not line.startswith(MARK):
        return None, "the launcher left no report"
    if len(line) > REPORT_LIMIT:
        return None, "the launcher's report is longer than any that it writes"
    body, _, mac = line.removeprefix(MARK).rstrip(b"\n").rpartition(b" ")
    expected = hmac.new(bytes.fromhex(nonce), body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(mac, expected.encode()):
        return None, "the launcher's report is not authenticated by this job's nonce"
    try:
        report = ProbeReport.model_validate_json(body)
    except ValidationError as error:
        return None, f"the launcher's report is not of its schema ({error.error_count()} faults)"
    if report.nonce != nonce:
        return None, "the launcher's report is of another job"
    return report, None


def attest(profile: IsolationProfile, spec: JobSpec, line: bytes | None, site_view: Iterable[Finding], exit_code: int) -> Attestation:
    """Judge the report beside the site's own view. Anything missing, in doubt or in disagreement does not hold.

    A pilot that ends with the launcher's exit code after a report that holds was executed: that end is its own.
    """
    view = tuple(site_view)
    report, doubt = parse_report(line, spec.nonce)
    reasons = [doubt] if doubt else []
    seen_outside = {f.property: f for f in view}
    reasons += [f"the site sees {f.property}: {f.seen} (demanded: {f.demanded})" for f in view if not f.holds]
    reasons += [f"the site does not say how it enforces {name}" for name in DEMANDED if name not in seen_outside]
    if report:
        reasons += _judge_report(profile, report, seen_outside)
        reasons += _compare_demands(spec, report)
    elif exit_code == MISUSED:
        reasons.append("the launcher refused its own arguments")
    return Attestation(profile_digest=digest_of(profile), nonce=spec.nonce, report=report, site_view=view, holds=not reasons, reasons=tuple(reasons))


def _compare_demands(spec: JobSpec, report: ProbeReport) -> list[str]:
    """The probe must have been asked for what this job demands, not for less. In a job of several containers, for one of theirs."""
    asked = {f.property: f.demanded for f in report.findings}
    possible = [_demands(spec, c, scratch) for c in spec.containers for scratch in RUNTIMES_SCRATCH]
    mine = [{"user": f"{spec.profile.uid}:{spec.profile.gid}", **{name: str(demands[name]) for name in ("memory", "cpu", "pids", "gpus")},
             "mounts": "writable {writable}, readable {readable}".format_map(demands)} for demands in possible]  # fmt: skip
    if any(all(asked.get(name) == value for name, value in demands.items()) for demands in mine):  # type: ignore[call-overload]
        return []
    return ["the probe was asked for something else than this job demands"]


def _judge_report(profile: IsolationProfile, report: ProbeReport, outside: dict[Property, Finding]) -> list[str]:
    reasons = []
    inside: dict[Property, list[Finding]] = {}
    for finding in report.findings:
        inside.setdefault(finding.property, []).append(finding)
    for name in DEMANDED:
        found = inside.get(name, [])
        if len(found) != 1:
            reasons.append(f"the probe reports {name} {len(found)} times")
        elif found[0].witness != "probe" and found[0].witness not in profile.witnesses.get(name, ()):
            reasons.append(f"{name} is witnessed by {found[0].witness} only, which the profile does not accept")
        elif not found[0].holds:
            witness = outside.get(name)
            hidden = found[0].seen == "not visible"
            if not (hidden and witness and witness.holds and witness.witness in profile.witnesses.get(name, ())):
                reasons.append(f"the probe sees {name}: {found[0].seen} (demanded: {found[0].demanded})")
    return reasons
