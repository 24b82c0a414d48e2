"""Attestation fails closed: anything missing, altered, in doubt or in disagreement does not hold."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livinglab.domain.isolation import Finding, IsolationProfile, Mount, Property, Resources
from livinglab.ports import ContainerSpec, JobSpec
from livinglab.sites.attest import REPORT_LIMIT, attest, parse_report
from livinglab.testing.fakes import fake_report

NONCE = "5a" * 16
CONTAINER = ContainerSpec(role="pilot", image="sha256:" + "0" * 64, argv=("true",), mounts=(Mount(area="outputs", target="/out", read_only=False),),
                          resources=Resources())  # fmt: skip
PROPERTIES: tuple[Property, ...] = get_args(Property)
VIEW = tuple(Finding(property=name, demanded="so", seen="so", witness="engine", holds=True) for name in PROPERTIES)


def job(profile: IsolationProfile | None = None, **limits: float) -> JobSpec:
    container = CONTAINER.model_copy(update={"resources": Resources.model_validate(limits)})
    return JobSpec(attempt="a.1", containers=(container,), profile=profile or IsolationProfile(), nonce=NONCE)


SPEC = job()
LINE = fake_report(SPEC, CONTAINER)


def reported(changes: dict[Property, Finding | None], spec: JobSpec = SPEC) -> bytes:
    report, _ = parse_report(fake_report(spec, spec.containers[0]), spec.nonce)
    assert report is not None
    findings = (changes.get(f.property, f) for f in report.findings)
    return fake_report(spec, spec.containers[0], tuple(f for f in findings if f))


def judge(spec: JobSpec = SPEC, line: bytes | None = LINE, view: tuple[Finding, ...] = VIEW, code: int = 0) -> tuple[bool, str]:
    attestation = attest(spec.profile, spec, line, view, code)
    assert attestation.holds != bool(attestation.reasons)
    return attestation.holds, "; ".join(attestation.reasons)


@pytest.mark.parametrize("code", [0, 1, 97, 98, 99, 137])
def test_what_holds_holds_however_the_pilot_ended(code: int) -> None:
    """A pilot that ends with the launcher's codes after a report that holds was executed: that end is its own."""
    assert judge(code=code) == (True, "")


@pytest.mark.parametrize(("line", "reason"), [
    (None, "no report"),
    (b"", "no report"),
    (b"hello\n", "no report"),
    (b"livinglab-launcher/2 {} 00\n", "no report"),
    (b"livinglab-launcher/1 \n", "not authenticated"),
    (b"livinglab-launcher/1 {} 00\n", "not authenticated"),
    (LINE[:-2] + b"\n", "not authenticated"),
    (LINE.replace(b"true", b"null", 1), "not authenticated"),
    (LINE[:30] + b" " * REPORT_LIMIT + LINE[30:], "longer"),
    (fake_report(SPEC.model_copy(update={"nonce": "00" * 16}), CONTAINER), "not authenticated"),
])  # fmt: skip
def test_a_report_that_is_not_ours_is_not_believed(line: bytes | None, reason: str) -> None:
    holds, reasons = judge(line=line)
    assert not holds
    assert reason in reasons


@given(st.binary(max_size=200))
def test_noise_is_not_believed(noise: bytes) -> None:
    assert not judge(line=noise)[0]
    assert not judge(line=b"livinglab-launcher/1 " + noise)[0]


@given(at=st.integers(0, len(LINE) - 2), byte=st.integers(0, 255))
def test_an_altered_byte_is_noticed(at: int, byte: int) -> None:
    altered = LINE[:at] + bytes([byte]) + LINE[at + 1 :]
    assert judge(line=altered)[0] == (altered == LINE)


@pytest.mark.parametrize("name", PROPERTIES)
def test_each_property_counts_inside_and_outside(name: Property) -> None:
    broken = Finding(property=name, demanded="so", seen="otherwise", witness="probe", holds=False)
    for line, view in (
        (reported({name: broken}), VIEW),
        (reported({name: None}), VIEW),
        (LINE, tuple(broken if f.property == name else f for f in VIEW)),
        (LINE, tuple(f for f in VIEW if f.property != name)),
    ):
        holds, reasons = judge(line=line, view=view)
        assert not holds
        assert name in reasons


def test_a_property_that_is_reported_twice_is_in_doubt() -> None:
    report, _ = parse_report(LINE, NONCE)
    assert report is not None
    twice = fake_report(SPEC, CONTAINER, (*report.findings, report.findings[0]))
    assert "2 times" in judge(line=twice)[1]


@pytest.mark.parametrize(("witnesses", "seen", "outside", "holds"), [
    ({"memory": ("engine",)}, "not visible", True, True),
    ({"memory": ("engine",)}, "not visible", False, False),
    ({"memory": ("engine",)}, "9223372036854771712 bytes", True, False),
    ({"memory": ("cgroup",)}, "not visible", True, False),
    ({"cpu": ("engine",)}, "not visible", True, False),
    ({}, "not visible", True, False),
])  # fmt: skip
def test_a_weaker_witness_is_taken_only_where_the_profile_names_it(
    witnesses: dict[Property, tuple[str, ...]], seen: str, outside: bool, holds: bool
) -> None:
    spec = job(IsolationProfile.model_validate({"witnesses": witnesses}))
    hidden = Finding(property="memory", demanded=str(Resources().memory), seen=seen, witness="probe", holds=False)
    view = tuple(f.model_copy(update={"holds": outside}) if f.property == "memory" else f for f in VIEW)
    assert judge(spec, reported({"memory": hidden}, spec), view)[0] == holds


@pytest.mark.parametrize("limits", [{"memory": 64 << 20}, {"cpus": 0.5}, {"pids": 16}])
def test_the_probe_must_have_been_asked_for_this_jobs_limits(limits: dict[str, float]) -> None:
    assert "something else" in judge(job(None, **limits), LINE)[1]


def test_a_report_of_another_schema_is_not_believed() -> None:
    extra = LINE  # the same authentication over another document
    assert parse_report(extra, NONCE)[1] is None
    import hashlib
    import hmac

    for body in (b"{}", b"[]", b"null", b'{"launcher":"1"}', b"{" * 1000, LINE.split(b" ")[1][:-1] + b',"more":1}'):
        mac = hmac.new(bytes.fromhex(NONCE), body, hashlib.sha256).hexdigest().encode()
        assert "schema" in judge(line=b"livinglab-launcher/1 " + body + b" " + mac + b"\n")[1]
