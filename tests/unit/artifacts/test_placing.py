"""A sandbox's data on their way into the vault: what its script does wrong is said with the place."""

import json
from pathlib import Path

import pytest

from livinglab.artifacts.placing import place_data
from livinglab.artifacts.vault import FileVault
from livinglab.domain.errors import Invalid
from tests.labs import SECRET, TINY

HEAD = "from pathlib import Path\n\n\ndef make(out, secret):\n"


def test_what_the_script_wrote_is_in_the_vault_under_the_secret_that_was_drawn(tmp_path: Path) -> None:
    vault = FileVault(tmp_path / "vault")
    first, second, again = (place_data(vault, TINY / "data" / "make.py", secret) for secret in (SECRET, None, SECRET))
    for name in ("participant_data", "hidden_data"):
        assert first[name] == again[name] != second[name]
        assert (vault.root / first[name]["digest"].removeprefix("sha256:")).is_dir()
    assert vault.secret(first["commitment"]) == SECRET
    assert first["hidden_data"]["files"] == ["reference.parquet"]
    assert json.loads(json.dumps(first)) == first
    assert not list(vault.root.glob("tmp*")), "what was made is kept once"


@pytest.mark.parametrize(("script", "says"), [
    (HEAD + "    raise KeyError('age')\n", "make.py, line 5: make() failed: KeyError: 'age'"),
    (HEAD + "    (out / 'hidden').joinpath('a').write_text('')\n", "make.py, line 5: make() failed: FileNotFoundError"),
    (HEAD + "    pass\n", "make() wrote no folder participant and no folder hidden. It writes participant/ and hidden/."),
    (HEAD + "    (out / 'participant').mkdir()\n    (out / 'hidden').mkdir()\n", "holds no files"),
    ("import no_such_library\n", "make.py, line 1: make() failed: ModuleNotFoundError: No module named 'no_such_library'"),
    ("made = 1\n", "make() failed: AttributeError"),
    ("def make(:\n", "line 1: invalid syntax"),
])  # fmt: skip
def test_a_script_that_fails_is_named_with_the_line(tmp_path: Path, script: str, says: str) -> None:
    (tmp_path / "make.py").write_text(script)
    with pytest.raises(Invalid) as caught:
        place_data(FileVault(tmp_path / "vault"), tmp_path / "make.py")
    assert says in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_folder_without_a_script_is_none(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match=r"there is no .*make\.py\. It defines make"):
        place_data(FileVault(tmp_path / "vault"), tmp_path / "make.py")
