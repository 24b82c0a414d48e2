"""What every `Site` must keep to, as tests.

Subclass `SiteConformance` and give it a fixture `bench`::

    class TestMySite(SiteConformance):
        @pytest.fixture
        def bench(self, tmp_path): ...

A bench (`livinglab.testing.bench`) is a site on a backend that nobody else uses, and the few things that the suite must do
behind the site's back. Each test asserts one clause of the port's contract and depends on the bench alone.
"""

import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import get_args

import pytest

from livinglab.domain.errors import Conflict, LivingLabError, NotFound, Unreachable
from livinglab.domain.isolation import Mount, Property
from livinglab.domain.run import JobKey
from livinglab.ports import JobSpec, Seen
from livinglab.testing.bench import NONCE, OUT, SOCKET, Bench, begin, collected, container_of, ended, key_of, push, running, spec_of, until

SOON = timedelta(seconds=60)
UNKNOWN = "sha256:" + "0" * 64


class SiteConformance:
    """The clauses. An implementation's own tests subclass this."""

    # --- find or create ------------------------------------------------------------------------------------------------

    def test_a_job_runs_and_what_it_left_is_collected(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "greet")
        seen, outcome = ended(bench, key), collected(bench, key)
        assert (seen.exit_code, outcome.exit_code, seen.limit, outcome.limit) == (0, 0, None, None)
        assert [(f.path, f.size, f.digest) for f in outcome.outputs] == [("a.txt", 4, "sha256:" + hashlib.sha256(b"data").hexdigest())]
        assert (outcome.outputs_dir / "a.txt").read_bytes() == b"data"
        assert outcome.log_path.read_bytes() == b"hello\n"
        assert outcome.started_at <= outcome.ended_at
        assert outcome.output_problem is None

    def test_the_same_key_never_runs_twice(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "greet")
        first = ended(bench, key)
        for site in (bench.site, bench.again()):
            handle = site.submit(spec_of(bench, "run-a.1", "greet"), key)
            assert not handle.created
            assert site.observe([key])[key].started_at == first.started_at
        assert bench.times_started(key) in (1, None)

    def test_two_processes_that_submit_at_once_start_one_job(self, bench: Bench) -> None:
        bench.site.ensure_image(bench.image)
        push(bench, "run-a.1", b"data")
        sites = [bench.again() for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            handles = list(pool.map(lambda site: site.submit(spec_of(bench, "run-a.1", "linger"), key_of("run-a.1")), sites))
        assert sorted(handle.created for handle in handles) == [False, False, False, True]
        assert len({handle.id for handle in handles}) == 1
        assert bench.times_started(key_of("run-a.1")) in (1, None)

    def test_a_key_that_names_another_specification_is_a_conflict(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "linger")
        with pytest.raises(Conflict):
            bench.site.submit(spec_of(bench, "run-a.1", "linger", memory=256 << 20), key)

    def test_after_a_crash_a_job_is_found_again(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "greet")
        site = bench.again()
        assert site.owned() == {key}
        assert ended(bench, key, site).exit_code == 0
        assert [f.path for f in collected(bench, key, site).outputs] == ["a.txt"]

    # --- what is seen --------------------------------------------------------------------------------------------------

    def test_absent_is_told_from_unreachable(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "linger")
        nobody = key_of("run-nobody.1")
        assert bench.site.observe([key, nobody])[nobody].seen is Seen.ABSENT
        with bench.away() as site:
            assert {o.seen for o in site.observe([key, nobody]).values()} == {Seen.UNREACHABLE}
            with pytest.raises(Unreachable):
                site.submit(spec_of(bench, "run-b.1", "greet", mounts=(OUT,)), key_of("run-b.1"))
            with pytest.raises(Unreachable):
                site.owned()

    def test_many_are_observed_at_once(self, bench: Bench) -> None:
        keys = [begin(bench, f"run-{n}.1", "greet" if n % 2 else "linger") for n in range(3)]
        ended(bench, keys[1])
        running(bench, keys[0])
        running(bench, keys[2])
        seen = bench.site.observe(keys)
        assert [seen[key].seen for key in keys] == [Seen.RUNNING, Seen.EXITED, Seen.RUNNING]
        assert all(o.raw for o in seen.values())

    def test_a_job_that_was_lost_is_absent(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "linger")
        bench.lose(key)
        assert bench.site.observe([key])[key].seen is Seen.ABSENT
        with pytest.raises(NotFound):
            collected(bench, key)

    def test_waiting_ends_with_the_job_or_with_the_time(self, bench: Bench) -> None:
        lingering, short = begin(bench, "run-a.1", "linger"), begin(bench, "run-b.1", "greet")
        running(bench, lingering)
        bench.site.wait([lingering], timedelta(seconds=0.2))
        assert bench.site.observe([lingering])[lingering].seen is Seen.RUNNING
        bench.site.wait([short], SOON)
        assert bench.site.observe([short])[short].seen is Seen.EXITED
        bench.site.wait([lingering, short], SOON)  # one of them has changed long ago
        assert bench.site.observe([lingering])[lingering].seen is Seen.RUNNING

    def test_what_lives_cannot_be_collected(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "linger")
        with pytest.raises(Conflict):
            collected(bench, key)

    def test_an_exit_code_is_kept(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "fail")
        assert (ended(bench, key).exit_code, collected(bench, key).exit_code) == (3, 3)

    # --- ending --------------------------------------------------------------------------------------------------------

    def test_cancelling_is_a_request_that_can_be_made_twice(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "linger")
        for _ in range(2):
            bench.site.cancel(key, timedelta(seconds=1))
        assert ended(bench, key).exit_code != 0
        bench.site.cancel(key, timedelta(seconds=1))
        bench.site.cancel(key_of("run-nobody.1"), timedelta(seconds=1))
        assert collected(bench, key).limit is None

    def test_a_job_that_takes_too_long_is_ended(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "linger", wall_seconds=1)
        bench.pass_time(1.2)
        assert ended(bench, key).limit == "wall_seconds"
        assert collected(bench, key, bench.again()).limit == "wall_seconds"

    def test_a_job_that_talks_too_much_is_ended(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "chatter", log_bytes=2 << 10)
        assert ended(bench, key).limit == "log_bytes"
        outcome = collected(bench, key, bench.again())
        assert (outcome.limit, outcome.log_truncated, outcome.log_bytes) == ("log_bytes", True, 2 << 10)
        assert outcome.log_path.stat().st_size == 2 << 10
        assert outcome.log_path.read_bytes().startswith(b"x" * 99 + b"\n")

    def test_outputs_are_bounded_while_they_are_written(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "gorge", output_bytes=1 << 18)
        assert ended(bench, key).limit == "output_bytes"
        outcome = collected(bench, key, bench.again())
        assert outcome.limit == "output_bytes"
        assert sum(f.size for f in outcome.outputs) <= 1 << 18

    # --- what is left --------------------------------------------------------------------------------------------------

    def test_the_log_is_read_from_any_offset(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "greet")
        ended(bench, key)
        assert [bench.site.logs(key, offset, 3) for offset in (0, 3, 6, 99)] == [b"hel", b"lo\n", b"", b""]
        assert bench.site.logs(key_of("run-nobody.1"), 0, 10) == b""

    def test_the_log_of_a_living_job_can_be_followed(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "linger")
        until(bench.site, key, lambda _: bench.site.logs(key, 0, 100) == b"here\n")
        running(bench, key)  # still, after its log was read; a cluster may say so a moment later than the log does

    def test_collecting_twice_gives_the_same(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "greet")
        ended(bench, key)
        first, second = collected(bench, key), collected(bench, key, bench.again())
        places = {"log_path", "outputs_dir"}
        assert first.model_dump(exclude=places) == second.model_dump(exclude=places)
        assert len(first.outputs) == 1

    def test_a_link_among_the_outputs_makes_them_unusable(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "link")
        ended(bench, key)
        outcome = collected(bench, key)
        assert outcome.outputs == ()
        assert "link" in (outcome.output_problem or "")

    def test_releasing_removes_an_attempt_and_no_other(self, bench: Bench) -> None:
        gone, kept = begin(bench, "run-a.1", "greet"), begin(bench, "run-a.10", "linger")
        ended(bench, gone)
        for _ in range(2):
            bench.site.release("run-a.1")
        bench.site.release("run-nobody.1")
        assert bench.site.owned() == {kept}
        assert bench.site.observe([gone, kept])[gone].seen is Seen.ABSENT
        with pytest.raises(NotFound):
            collected(bench, gone)
        bench.site.release("run-a.10")  # even while it lives
        assert bench.site.owned() == set()

    def test_only_what_is_ours_is_owned(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "linger")
        running(bench, key)
        stranger = bench.stranger()
        assert stranger.owned() == set()
        assert stranger.observe([key])[key].seen is Seen.ABSENT
        stranger.cancel(key, timedelta(0))
        stranger.release("run-a.1")
        assert bench.site.observe([key])[key].seen is Seen.RUNNING

    # --- what a container is given -------------------------------------------------------------------------------------

    def test_pushing_again_replaces_an_area(self, bench: Bench) -> None:
        bench.site.ensure_image(bench.image)
        push(bench, "run-a.1", b"old")
        begin(bench, "run-a.1", "greet")
        ended(bench, key_of("run-a.1"))
        assert (collected(bench, key_of("run-a.1")).outputs_dir / "a.txt").read_bytes() == b"data"

    @pytest.mark.parametrize("name", ["../a.txt", "/a.txt", "x/../../a.txt"])
    def test_a_pushed_file_stays_in_its_area(self, bench: Bench, name: str) -> None:
        source = bench.folder / "source.txt"
        source.write_bytes(b"data")
        with pytest.raises(LivingLabError):
            bench.site.push("run-a.1", "inputs", {name: source})

    def test_inputs_cannot_be_written(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "scribble")
        assert ended(bench, key).exit_code == 0

    def test_a_dataset_is_mounted_by_its_digest(self, bench: Bench) -> None:
        assert bench.site.has_dataset(bench.dataset)
        assert not bench.site.has_dataset(UNKNOWN)
        bench.site.ensure_image(bench.image)
        mount = Mount(area="participant", target="/in", dataset=bench.dataset)
        bench.site.submit(spec_of(bench, "run-a.1", "greet", mounts=(mount, OUT)), key_of("run-a.1"))
        ended(bench, key_of("run-a.1"))
        assert (collected(bench, key_of("run-a.1")).outputs_dir / "a.txt").read_bytes() == b"data"

    def test_an_area_that_is_not_there_starts_nothing(self, bench: Bench) -> None:
        bench.site.ensure_image(bench.image)
        with pytest.raises(LivingLabError):
            bench.site.submit(spec_of(bench, "run-a.1", "greet"), key_of("run-a.1"))
        assert bench.site.observe([key_of("run-a.1")])[key_of("run-a.1")].seen is Seen.ABSENT

    def test_an_image_is_built_once(self, bench: Bench) -> None:
        with ThreadPoolExecutor(4) as pool:
            ids = set(pool.map(lambda site: site.ensure_image(bench.image), [bench.again() for _ in range(4)]))
        assert len(ids) == 1
        with pytest.raises(NotFound):
            bench.site.ensure_image(UNKNOWN)

    # --- what is proven ------------------------------------------------------------------------------------------------

    def test_the_report_is_bound_to_the_job(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "mimic")
        assert ended(bench, key).exit_code == 97
        mark, _, rest = (collected(bench, key).report or b"").partition(b" ")
        body, _, mac = rest.strip().rpartition(b" ")
        assert mark == b"livinglab-launcher/1"
        assert mac.decode() == hmac.new(bytes.fromhex(NONCE), body, hashlib.sha256).hexdigest()
        assert collected(bench, key).log_path.read_bytes().startswith(b"livinglab-launcher/1 {} 00\n")  # its imitation is but log

    def test_the_site_says_how_it_enforces_each_property(self, bench: Bench) -> None:
        key = begin(bench, "run-a.1", "greet")
        ended(bench, key)
        view = collected(bench, key).site_view
        assert sorted(f.property for f in view) == sorted(get_args(Property))
        assert all(f.holds for f in view), [f for f in view if not f.holds]

    # --- several containers --------------------------------------------------------------------------------------------

    def test_two_containers_share_a_socket_and_an_end(self, bench: Bench) -> None:
        bench.site.ensure_image(bench.image)
        pair = (container_of(bench, "pilot", "serve", (SOCKET,)), container_of(bench, "measure", "call", (SOCKET, OUT)))
        spec = JobSpec(attempt="run-a.1", containers=pair, profile=bench.profile, nonce=NONCE)
        server, caller = key_of("run-a.1"), key_of("run-a.1", "measure")
        assert bench.site.submit(spec, server).created
        assert not bench.again().submit(spec, server).created
        assert bench.site.owned() == {server, caller}
        assert ended(bench, caller).exit_code == 0
        assert (collected(bench, caller).outputs_dir / "answer").read_bytes() == b"pong"
        assert ended(bench, server).exit_code != 0  # it would have gone on
        assert collected(bench, server).report

    def test_two_containers_are_cancelled_together(self, bench: Bench) -> None:
        bench.site.ensure_image(bench.image)
        pair = (container_of(bench, "pilot", "linger", (OUT,)), container_of(bench, "measure", "linger", (OUT,)))
        bench.site.submit(JobSpec(attempt="run-a.1", containers=pair, profile=bench.profile, nonce=NONCE), key_of("run-a.1"))
        bench.site.cancel(key_of("run-a.1"), timedelta(0))
        for role in ("pilot", "measure"):
            assert ended(bench, JobKey(attempt="run-a.1", role=role)).exit_code != 0
