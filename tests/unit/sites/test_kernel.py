"""What the kernel knows of a container: whether it was killed for want of memory, and how long it has run."""

import os
from pathlib import Path

import pytest

from livinglab.sites.kernel import age_of, killed_for_memory

OURS, OTHER = "3f65" * 16, "0a1b" * 16
LINE = (
    "6,{n},20669421329,-;oom-kill:constraint={constraint},nodemask=(null),cpuset={group},mems_allowed=0,oom_memcg=/docker/{group},"
    "task_memcg=/docker/{group},task={name},pid=12811,uid=0\n"
)


def log(path: Path, group: str, constraint: str = "CONSTRAINT_MEMCG", name: str = "python3") -> Path:
    path.write_text("4,1,1,-;python3 invoked oom-killer\n" + LINE.format(n=2, constraint=constraint, group=group, name=name))
    return path


def test_a_kill_is_of_the_group_that_had_reached_its_limit(tmp_path: Path) -> None:
    assert killed_for_memory(OURS, log(tmp_path / "kmsg", OURS))
    assert not killed_for_memory(OTHER, log(tmp_path / "kmsg", OURS))


def test_a_machine_without_memory_is_not_the_containers_fault(tmp_path: Path) -> None:
    assert not killed_for_memory(OURS, log(tmp_path / "kmsg", OURS, constraint="CONSTRAINT_NONE"))


@pytest.mark.parametrize("name", [f",oom_memcg=/{OURS},", f"\noom-kill:constraint=CONSTRAINT_MEMCG,x,oom_memcg={OURS}"[:15]])
def test_a_process_cannot_say_it_by_its_name(tmp_path: Path, name: str) -> None:
    assert not killed_for_memory(OURS, log(tmp_path / "kmsg", OTHER, name=name))


def test_a_log_that_may_not_be_read_says_nothing(tmp_path: Path) -> None:
    assert not killed_for_memory(OURS, tmp_path / "nothing")


def test_an_age_is_the_kernels_and_of_the_containers_own_process(tmp_path: Path) -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    (tmp_path / "uptime").write_text("1000.50 1900.00\n")
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "cgroup").write_text(f"5:memory:/docker/{OURS}\n")
    fields = ["S", *["0"] * 18, str(990 * ticks), "0"]
    (tmp_path / "7" / "stat").write_text(f"7 (a) b) ({' '.join(fields)}".replace("(a) b) (", "(a) b) "))
    assert age_of(7, OURS, tmp_path) == pytest.approx(10.5)
    assert age_of(7, OTHER, tmp_path) is None, "another's process has that number"
    assert age_of(8, OURS, tmp_path) is None
    assert age_of(os.getpid(), "") is not None, "as it really looks"
