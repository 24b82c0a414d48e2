"""The vault: datasets by the digest of their listing, and secrets by their commitment. On the site's side only."""

import hashlib
import json
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from livinglab.domain.canonical import digest_of, sha256
from livinglab.domain.errors import EvidenceBroken, Invalid, NotFound
from livinglab.domain.sandbox import DatasetRef

_MIN_SECRET = 16  # bytes: 128 bits


@dataclass(frozen=True)
class FileVault:
    """The `Vault` port over a folder that only the worker's user reads."""

    root: Path

    def secret(self, commitment: str) -> bytes:
        """See the port."""
        path = self.root / "secrets" / f"{commitment.removeprefix('sha256:')}.json"
        try:
            document = json.loads(path.read_bytes())
        except OSError as error:
            msg = f"the secret behind {commitment} is not in this vault."
            raise NotFound(msg) from error
        secret, salt = bytes.fromhex(document["secret"]), bytes.fromhex(document["salt"])
        if commit(secret, salt) != commitment:
            msg = "the secret does not fit its commitment"
            raise EvidenceBroken(msg, where=str(path))
        return secret

    def new_secret(self, secret: bytes | None = None) -> tuple[bytes, str]:
        """Keep a secret (a fresh one unless given) and return it with its commitment."""
        secret = secret or secrets.token_bytes(32)
        if len(secret) < _MIN_SECRET:
            msg = f"a secret has at least {_MIN_SECRET} bytes."
            raise Invalid(msg)
        salt = secrets.token_bytes(32)
        commitment = commit(secret, salt)
        folder = self.root / "secrets"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / f"{commitment.removeprefix('sha256:')}.json"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"secret": secret.hex(), "salt": salt.hex()}, file)
        return secret, commitment

    def add(self, folder: Path) -> DatasetRef:
        """Copy a dataset in; the same files give the same digest, and are kept once."""
        listing = [{"name": p.name, "size": p.stat().st_size, "sha256": sha256(p.read_bytes())} for p in sorted(folder.iterdir()) if p.is_file()]
        if not listing:
            msg = f"{folder} holds no files."
            raise Invalid(msg)
        digest = digest_of(listing)
        place = self.root / digest.removeprefix("sha256:")
        if not place.is_dir():
            fresh = self.root / f"incoming-{secrets.token_hex(8)}"
            fresh.mkdir(parents=True, mode=0o755)
            for entry in listing:
                shutil.copyfile(folder / str(entry["name"]), fresh / str(entry["name"]))
                (fresh / str(entry["name"])).chmod(0o444)
            fresh.rename(place)
        return DatasetRef(digest=digest, files=tuple(str(entry["name"]) for entry in listing))


def commit(secret: bytes, salt: bytes) -> str:
    """sha256 of salt ‖ secret."""
    return "sha256:" + hashlib.sha256(salt + secret).hexdigest()
