"""The demonstration: for each domain two parties and the lab, from the sandbox's registration to a dossier that holds.

Everything between "register" and "dossier" goes through the public API alone, with each party's own token and key.
"""

import io
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console
from rich.progress import Progress, TaskID
from rich.text import Text

from livinglab.cli.client import Client, connect
from livinglab.cli.show import STEPS, follow_on, progress_on, show_verdict
from livinglab.domain.errors import Conflict, LivingLabError, NotFound
from livinglab.domain.plan import PlanBody
from livinglab.domain.sandbox import Role
from livinglab.evidence.agreement import sign_plan
from livinglab.evidence.keys import KeySigner, new_key
from livinglab.evidence.policy import TrustedKey, TrustPolicy
from livinglab.evidence.verify import verify

ROOT = Path(__file__).resolve().parent.parent
HOME = Path(os.environ["LIVINGLAB_HOME"])
STATE = HOME / "demo"
API = f"http://127.0.0.1:{os.environ.get('LIVINGLAB_API_PORT', '8420')}"


PICTURE = os.environ.get("LIVINGLAB_DEMO_PICTURE")
"""Where to keep what was shown as an SVG: the picture in the README is made by this."""

console = Console(width=None if sys.stdout.isatty() else 150, record=bool(PICTURE))


@dataclass(frozen=True)
class Domain:
    """A sandbox and its reference pilot (folders of this name), who brings which, what they agree on, and what is shown of it."""

    name: str
    harness: str
    pilot: str
    authority: str
    startup: str
    objective: str
    safeguard: str
    evidence: dict[str, str]
    """Required document → file in the pilot's folder."""
    console: Console

    @classmethod
    def read(cls, name: str, harness: str, pilot: str) -> "Domain":
        """From its folder's demo.yaml; harness and pilot are the archives of their images."""
        about = yaml.safe_load((ROOT / "sandboxes" / name / "demo.yaml").read_text())
        del about["sure"]  # the tests' affair
        about.setdefault("evidence", {})
        shown = Console(file=io.StringIO(), width=console.width, force_terminal=console.is_terminal, record=True)
        return cls(name, harness, pilot, **about, console=shown)

    @property
    def spec(self) -> dict[str, Any]:
        """Its specification."""
        return dict(yaml.safe_load((ROOT / "sandboxes" / self.name / "sandbox.yaml").read_text()))


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
    return remembered(f"{name}-{Path(archive).stem}.digest", lambda: client.upload(Path(archive)))


def register_sandbox(domain: Domain, authority: Client) -> None:
    """Draw the secret and split the data on the site's side; register what may be known of it."""
    folder, bindings, spec = ROOT / "sandboxes" / domain.name, STATE / f"bindings-{domain.name}.json", domain.spec
    if not bindings.exists():
        livinglab("sandbox", "prepare", str(folder), "--out", str(bindings))
    digest = uploaded(authority, "harness", domain.harness)
    release = {"spec": spec, "harness_image": digest, **json.loads(bindings.read_text())}
    with suppress(NotFound):
        spec["version"] = authority.get(f"/v1/sandboxes/{spec['id']}")["document"]["spec"]["version"]
    try:
        answer = authority.post("/v1/sandboxes", release)
    except Conflict:  # a version never changes: where harness, data or specification did since the last demonstration, this is the next one
        spec["version"] += 1
        answer = authority.post("/v1/sandboxes", release)
    domain.console.print(
        f"[bold]Sandbox[/] {answer['id']} version {answer['version']}: criteria {answer['criteria'][:19]}…, fixed before anyone has run"
    )


def agree(domain: Domain, startup: Client, authority: Client, keys: dict[str, KeySigner], image: str) -> dict[str, Any]:
    """Submit the pilot, freeze the plan, sign it on both sides."""
    pilot = startup.post("/v1/pilots", {"manifest": yaml.safe_load((ROOT / "pilots" / domain.name / "pilot.yaml").read_text()), "image": image})
    for name, file in domain.evidence.items():
        data = (ROOT / "pilots" / domain.name / file).read_bytes()
        startup.send("PUT", f"/v1/pilots/{pilot['id']}/documents/{name}", data, "text/markdown")
    today = date.today()  # noqa: DTZ011 - the parties' own calendar
    plan = startup.post("/v1/plans", {
        "pilot": pilot["id"], "objectives": [domain.objective], "safeguards": [domain.safeguard],
        "valid_from": today.isoformat(), "valid_until": (today + timedelta(days=180)).isoformat(),
    })  # fmt: skip
    body = plan["body"]
    for client, role in ((startup, "participant"), (authority, "authority")):
        read = PlanBody.model_validate_json(client.read(f"/v1/plans/{body['id']}/body").content)
        plan = client.send("POST", f"/v1/plans/{body['id']}/signatures", sign_plan(read, Role(role), keys[role]), "application/vnd.dsse+json")
    domain.console.print(
        f"[bold]Plan[/] {body['id']} is {plan['state']}: digest {plan['digest'][:19]}…, signed by {domain.startup} and {domain.authority}"
    )
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
        domain.console.print(f"[red]✗[/] {problem}")
    word = "[green]✓ holds[/]" if report.ok else "[red]✗ does not hold[/]"
    domain.console.print(f"[bold]Dossier[/] {word}: {report.facts['entries']} entries checked offline, verdict judged again")
    domain.console.print(f"  check it yourself: .venv/bin/livinglab verify {dossier} --keys {trust}")
    return report.ok


def show(domain: Domain, progress: Progress, task: TaskID) -> bool:
    """One domain, from registration to a dossier; whether the run completed and its dossier holds."""
    name, sandbox, out = f"{domain.name}  ", domain.spec["id"], domain.console
    progress.update(task, description=f"{name}registering", total=len(STEPS))
    authority, authority_key = party(domain.authority, "authority", sandbox)
    startup, startup_key = party(domain.startup, "participant", sandbox)
    keys = {"authority": authority_key, "participant": startup_key}
    register_sandbox(domain, authority)
    progress.update(task, description=f"{name}agreeing on a plan")
    plan = agree(domain, startup, authority, keys, uploaded(startup, "pilot", domain.pilot))
    run = startup.post("/v1/runs", {"plan": plan["body"]["id"], "site": "docker"}, Idempotency_Key=f"demo-{domain.name}-{time.time_ns()}")
    out.print(f"[bold]Run[/] {run['id']} (measured run {run['ordinal']} of {plan['body']['measured_runs']})")
    ended = follow_on(startup, run["id"], progress, task, name)
    if ended["state"] != "completed":
        out.print(startup.get(f"/v1/runs/{run['id']}/why")["sentence"], style="red")
        return False
    show_verdict(authority, run["id"], out)
    holds = check_dossier(domain, authority, plan["body"]["id"], keys)
    out.print(f"      MLflow http://127.0.0.1:{os.environ.get('MLFLOW_PORT', '5500')} (experiment {plan['body']['id']})")
    return holds


def shown(domain: Domain, progress: Progress, task: TaskID) -> bool:
    """As `show`; what one domain is refused keeps the others from nothing."""
    try:
        return show(domain, progress, task)
    except LivingLabError as error:
        progress.update(task, description=f"{domain.name}  failed")
        domain.console.print(str(error), style="red", markup=False)
        return False


def main() -> int:
    """Run all domains side by side; 0 if every run completed and its dossier holds. Input: a line per domain, with the archives of its images."""
    begun = time.monotonic()
    STATE.mkdir(parents=True, exist_ok=True, mode=0o700)
    domains = [Domain.read(*line.rstrip("\n").split("\t")) for line in sys.stdin]
    with progress_on(console) as progress, ThreadPoolExecutor(len(domains)) as parties:
        tasks = [progress.add_task(domain.name, total=None) for domain in domains]
        held = list(parties.map(shown, domains, [progress] * len(domains), tasks))
    for domain in domains:
        console.rule(domain.name)
        console.print(Text.from_ansi(domain.console.export_text(styles=True).rstrip()))
    console.rule()
    console.print(f"[bold]Look[/]  API {API}/docs   Prefect http://127.0.0.1:{os.environ.get('PREFECT_PORT', '4250')}   stop: make down")
    if PICTURE:
        console.save_svg(PICTURE, title="make demo")
    console.print(f"The parties were done in {time.monotonic() - begun:.1f} s.", style="dim")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
