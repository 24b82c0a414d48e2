"""`livinglab doctor`: it names what is missing, says how to mend it, and changes nothing."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from livinglab.bootstrap import open_lab
from livinglab.cli.doctor import doctor, examine
from livinglab.evidence.keys import new_key
from livinglab.settings import Settings
from tests.fixtures.servers import free_port


def found(settings: Settings) -> dict[str, tuple[bool | None, str, str]]:
    return {finding.what: (finding.well, finding.said, finding.hint) for finding in examine(settings)}


def test_a_machine_on_which_nothing_was_done_yet(tmp_path: Path) -> None:
    told = found(Settings(home=tmp_path / "home"))
    assert told["home"][0] is not False
    assert told["database"][:2] == (None, "none yet")
    assert told["the lab's key"][0] is None
    assert told["identity provider"][0] is None
    assert not (tmp_path / "home").exists()  # it looked, and touched nothing


def test_a_lab_as_it_should_be(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    open_lab(settings)
    key = new_key(settings.lab_key_path)
    told = found(settings)
    assert (told["database"][0], told["the launcher"][0]) == (True, True)
    assert told["the lab's key"][0] is True
    assert key.key_id[:16] in told["the lab's key"][1]
    assert "site docker (docker)" in told


def test_what_is_missing_is_named_with_what_to_do(tmp_path: Path) -> None:
    away, database = f"http://127.0.0.1:{free_port()}", tmp_path / "other.db"
    database.write_bytes(b"no database" * 500)
    settings = Settings(home=tmp_path / "home", launcher=tmp_path / "launcher", mlflow_url=away, oidc_issuer=away, oidc_audience="lab",
                        database=f"sqlite:///{database}")  # fmt: skip
    told = found(settings)
    missing = {what for what, (well, _, _) in told.items() if well is False}
    assert missing == {"database", "the launcher", "MLflow", "identity provider"}
    assert all(said and hint for well, said, hint in told.values() if well is False)
    assert "infra/launcher/build.sh" in told["the launcher"][2]
    assert "does not answer" in told["MLflow"][1]


def test_a_database_of_another_version_is_not_touched(tmp_path: Path) -> None:
    import sqlalchemy as sa

    settings = Settings(home=tmp_path / "home")
    store = open_lab(settings).store
    with store.engine.begin() as connection:  # type: ignore[attr-defined]
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0003'"))
    well, said, hint = found(settings)["database"]
    assert well is None
    assert "at revision 0003" in said
    assert "back it up" in hint
    with store.engine.begin() as connection:  # type: ignore[attr-defined]
        assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == "0003"


def test_a_key_that_others_can_read(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    new_key(settings.lab_key_path)
    settings.lab_key_path.chmod(0o644)
    well, said, hint = found(settings)["the lab's key"]
    assert (well, "can be read by others" in said, hint) == (False, True, f"chmod 600 {settings.lab_key_path}")


def test_an_engine_that_is_away_or_lacks_a_runtime(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    open_lab(settings)
    well, said, hint = found(settings.model_copy(update={"docker_url": f"tcp://127.0.0.1:{free_port()}"}))["site docker (docker)"]
    assert (well, "no Docker Engine answers" in said, bool(hint)) == (False, True, True)


def test_an_issuer_without_an_audience(tmp_path: Path) -> None:
    well, said, hint = found(Settings(home=tmp_path / "home", oidc_issuer="https://id.example"))["identity provider"]
    assert (well, hint) == (False, "LIVINGLAB_OIDC_AUDIENCE.")
    assert "no audience" in said


def test_the_command_fails_where_something_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVINGLAB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LIVINGLAB_LAUNCHER", str(tmp_path / "launcher"))
    done = CliRunner().invoke(doctor)
    assert (done.exit_code, "MISSING  the launcher" in done.output) == (1, True)
    document = json.loads(CliRunner().invoke(doctor, ["--json"]).output)
    assert document["well"] is False
    assert {"what", "well", "said", "hint"} == set(document["findings"][0])
