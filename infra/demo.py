"""The demonstration: for each domain two parties and the lab, from the sandbox's registration to a dossier that holds.

Everything between "register" and "dossier" goes through the public API alone, with each party's own token and key.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from livinglab.cli.client import Client, connect
from livinglab.cli.show import follow, show_verdict
from livinglab.domain.canonical import sha256
from livinglab.domain.errors import NotFound
from livinglab.domain.sandbox import SandboxSpec
from livinglab.evidence import dsse, statements
from livinglab.evidence.keys import KeySigner, new_key
from livinglab.evidence.policy import TrustedKey, TrustPolicy
from livinglab.evidence.verify import verify

ROOT = Path(__file__).resolve().parent.parent
HOME = Path(os.environ["LIVINGLAB_HOME"])
STATE = HOME / "demo"
API = f"http://127.0.0.1:{os.environ.get('LIVINGLAB_API_PORT', '8420')}"


@dataclass(frozen=True)
class Domain:
    """A sandbox and its reference pilot (folders of this name), who brings which, and what they agree on."""

    name: str
    sandbox: str
    authority: str
    startup: str
    objective: str
    safeguard: str


DOMAINS = (
    Domain("medicine", "medicine-flchain", "health-authority", "flchain-startup",
           "Show that individual ten-year risks are discriminating, calibrated and fair by sex.",
           "Public data only; nothing is decided about any person."),
    Domain("fintech", "fintech-credit", "financial-supervisor", "scorecard-startup",
           "Show that credit scores are discriminating, calibrated by grade, fair by age, and explained.",
           "Public and generated data only; nothing is decided about any person."),
)  # fmt: skip

PICTURE = os.environ.get("LIVINGLAB_DEMO_PICTURE")
"""Where to keep what was shown as an SVG: the picture in the README is made by this."""

console = Console(width=None if sys.stdout.isatty() else 150, record=bool(PICTURE))


def livinglab(*arguments: str) -> str:
    """The command line, as an operator uses it."""
    return subprocess.run([ROOT / ".venv" / "bin" / "livinglab", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def remembered(name: str, make: Any) -> str:
    """A value of an earlier demonstration, or a new one. Secrets among them are readable by their owner only."""
    path = STATE / name
    if not path.exists():
        value = make()
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            file.write(value)
    return path.read_text()


def party(name: str, role: str, sandbox: str) -> tuple[Client, KeySigner]:
    """A party: its token from the operator, its key from its own hands, registered with the lab."""
    token = remembered(f"{name}.token", lambda: livinglab("token", "issue", name, "--role", f"{sandbox}={role}", "--label", "demo"))
    client = connect(API, token)
    path = STATE / f"{name}.pem"
    signer = KeySigner.load(path) if path.exists() else new_key(path)
    client.send("PUT", "/v1/keys", signer.public_pem, "application/x-pem-file")
    return client, signer


def uploaded(client: Client, name: str, archive: str) -> str:
    """The digest of an image: uploaded now, or by an earlier demonstration."""
    known = f"{name}-{Path(archive).stem}.digest"
    with console.status(f"uploading {Path(archive).name}"):
        return remembered(known, lambda: client.upload(Path(archive)))


def register_sandbox(domain: Domain, authority: Client, harness: str) -> None:
    """Draw the secret and split the data on the site's side; register what may be known of it."""
    folder, bindings = ROOT / "sandboxes" / domain.name, STATE / f"bindings-{domain.name}.json"
    if not bindings.exists():
        livinglab("sandbox", "prepare", str(folder), "--out", str(bindings))
    spec = yaml.safe_load((folder / "sandbox.yaml").read_text())
    digest = uploaded(authority, "harness", harness)
    release = {"spec": spec, "harness_image": digest, **json.loads(bindings.read_text())}
    try:
        # A version never changes: where harness, data or specification did since the last demonstration, this is the next one.
        known = authority.get(f"/v1/sandboxes/{spec['id']}")["document"]
        same = SandboxSpec.model_validate({**spec, "version": known["spec"]["version"]}).digest == SandboxSpec.model_validate(known["spec"]).digest
        spec["version"] = known["spec"]["version"] + (
            0 if same and all(known[part] == release[part] for part in ("harness_image", "commitment")) else 1
        )
    except NotFound:
        pass
    answer = authority.post("/v1/sandboxes", release)
    console.print(f"[bold]Sandbox[/] {answer['id']} version {answer['version']}: criteria {answer['criteria'][:19]}…, fixed before anyone has run")


def agree(domain: Domain, startup: Client, authority: Client, keys: dict[str, KeySigner], image: str) -> dict[str, Any]:
    """Submit the pilot, freeze the plan, sign it on both sides."""
    pilot = startup.post("/v1/pilots", {"manifest": yaml.safe_load((ROOT / "pilots" / domain.name / "pilot.yaml").read_text()), "image": image})
    today = date.today()  # noqa: DTZ011 - the parties' own calendar
    plan = startup.post("/v1/plans", {
        "pilot": pilot["id"], "objectives": [domain.objective], "safeguards": [domain.safeguard],
        "valid_from": today.isoformat(), "valid_until": (today + timedelta(days=180)).isoformat(),
    })  # fmt: skip
    body = plan["body"]
    for client, role, organisation in ((startup, "participant", domain.startup), (authority, "authority", domain.authority)):
        data = client.read(f"/v1/plans/{body['id']}/body").content
        statement = statements.plan_signature(plan=body["id"], version=body["version"], digest=sha256(data), role=role, organisation=organisation)
        plan = client.send("POST", f"/v1/plans/{body['id']}/signatures", keys[role].sign(statement, dsse.IN_TOTO), "application/vnd.dsse+json")
    console.print(f"[bold]Plan[/] {body['id']} is {plan['state']}: digest {plan['digest'][:19]}…, signed by {domain.startup} and {domain.authority}")
    return dict(plan)


def check_dossier(domain: Domain, authority: Client, plan: str, keys: dict[str, KeySigner]) -> bool:
    """Download the evidence, and check it with public keys alone."""
    dossier = STATE / f"{plan}.zip"
    dossier.write_bytes(authority.read(f"/v1/plans/{plan}/dossier").content)
    lab = KeySigner.load(HOME / "keys" / "lab.pem").public_pem
    policy = TrustPolicy.of([TrustedKey(lab, "lab", "livinglab"), TrustedKey(keys["authority"].public_pem, "authority", domain.authority),
                             TrustedKey(keys["participant"].public_pem, "participant", domain.startup)])  # fmt: skip
    trust = STATE / f"trust-{domain.name}.json"
    trust.write_text(policy.dump())
    report = verify(dossier, policy)
    for problem in report.problems:
        console.print(f"[red]✗[/] {problem}")
    word = "[green]✓ holds[/]" if report.ok else "[red]✗ does not hold[/]"
    console.print(f"[bold]Dossier[/] {word}: {report.facts['entries']} entries checked offline, verdict judged again")
    console.print(f"  check it yourself: .venv/bin/livinglab verify {dossier} --keys {trust}")
    return report.ok


def show(domain: Domain, harness: str, pilot_archive: str) -> bool:
    """One domain, from registration to a dossier; whether the run completed and its dossier holds."""
    console.rule(domain.name)
    authority, authority_key = party(domain.authority, "authority", domain.sandbox)
    startup, startup_key = party(domain.startup, "participant", domain.sandbox)
    keys = {"authority": authority_key, "participant": startup_key}
    register_sandbox(domain, authority, harness)
    plan = agree(domain, startup, authority, keys, uploaded(startup, "pilot", pilot_archive))
    run = startup.post("/v1/runs", {"plan": plan["body"]["id"], "site": "docker"}, Idempotency_Key=f"demo-{time.time_ns()}")
    console.print(f"[bold]Run[/] {run['id']} (measured run {run['ordinal']} of {plan['body']['measured_runs']})")
    ended = follow(startup, run["id"], console)
    if ended["state"] != "completed":
        console.print(startup.get(f"/v1/runs/{run['id']}/why")["sentence"], style="red")
        return False
    show_verdict(authority, run["id"], console)
    holds = check_dossier(domain, authority, plan["body"]["id"], keys)
    console.print(f"      MLflow http://127.0.0.1:{os.environ.get('MLFLOW_PORT', '5500')} (experiment {plan['body']['id']})")
    return holds


def main() -> int:
    """Run it; 0 if every run completed and its dossier holds. Arguments: for each domain the archives of harness and pilot."""
    begun = time.monotonic()
    archives = sys.argv[1:]
    STATE.mkdir(parents=True, exist_ok=True, mode=0o700)
    held = [show(domain, *pair) for domain, pair in zip(DOMAINS, zip(archives[::2], archives[1::2], strict=True), strict=True)]
    console.rule()
    console.print(f"[bold]Look[/]  API {API}/docs   Prefect http://127.0.0.1:{os.environ.get('PREFECT_PORT', '4250')}   stop: make down")
    if PICTURE:
        console.save_svg(PICTURE, title="make demo")
    console.print(f"The parties were done in {time.monotonic() - begun:.1f} s.", style="dim")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
