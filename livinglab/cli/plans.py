"""Plans: proposing, signing, and taking the evidence home."""

from datetime import date, timedelta
from pathlib import Path

import click

from livinglab.cli import echo_chances, echo_documents, echo_json
from livinglab.cli.client import Client, address, as_json, remote, save
from livinglab.domain.canonical import parse_json, sha256
from livinglab.domain.errors import EvidenceBroken


@click.group()
def plan() -> None:
    """Plans."""


@plan.command()
@click.argument("pilot")
@click.option("--objective", "objectives", multiple=True, required=True, help="What the pilot is to show; may be given more than once.")
@click.option("--safeguard", "safeguards", multiple=True)
@click.option("--from", "valid_from", type=click.DateTime(["%Y-%m-%d"]), help="First day [default: today].")
@click.option("--until", "valid_until", type=click.DateTime(["%Y-%m-%d"]), help="Last day [default: in 180 days].")
@as_json
@remote
def propose(pilot: str, objectives: tuple[str, ...], safeguards: tuple[str, ...], valid_from: date | None, valid_until: date | None,
            client: Client, *, as_json: bool) -> None:  # fmt: skip
    """Freeze a plan for PILOT: criteria, data, images and isolation by digest."""
    first = valid_from or date.today()  # noqa: DTZ011 - the parties' own calendar
    last = valid_until or first + timedelta(days=180)
    made = client.post("/v1/plans", {"pilot": pilot, "objectives": list(objectives), "safeguards": list(safeguards),
                                     "valid_from": f"{first:%Y-%m-%d}", "valid_until": f"{last:%Y-%m-%d}"})  # fmt: skip
    if as_json:
        echo_json(made)
    else:
        click.echo(f"{made['body']['id']} is {made['state']}; both sides sign {made['digest']}.")
        echo_documents(made["body"].get("documents", []))
        echo_chances(client.get(address("sandboxes", made["body"]["sandbox"]))["document"]["spec"]["chance"])


@plan.command()
@click.argument("plan_id", metavar="PLAN")
@remote
def show(plan_id: str, client: Client) -> None:
    """Print a plan."""
    echo_json(client.get(address("plans", plan_id)))


@plan.command()
@click.argument("plan_id", metavar="PLAN")
@as_json
@remote
def budget(plan_id: str, client: Client, *, as_json: bool) -> None:
    """Show how many measured runs and core-hours PLAN has left."""
    found = client.get(address("plans", plan_id, "budget"))
    if as_json:
        echo_json(found)
        return
    click.echo(f"measured runs: {found['left']} left of {found['measured_runs']} ({found['counted']} counted, {found['under_way']} under way)")
    allowed = "no limit" if found["core_hours"] is None else f"{found['core_hours']:,.6g}"
    reserved, most = found["core_hours_reserved"], found["core_hours_of_a_run"]
    click.echo(f"core-hours: {found['core_hours_used']:,.3g} used, {reserved:,.3g} spoken for, of {allowed}; a run may take {most:,.3g}")


@click.command()
@click.argument("plan_id", metavar="PLAN")
@click.option(
    "--key", "key_file", required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Your private key; it stays here."
)
@click.option("--as", "role", required=True, type=click.Choice(["participant", "authority"]))
@as_json
@remote
def sign(plan_id: str, key_file: Path, role: str, client: Client, *, as_json: bool) -> None:
    """Sign a plan. The plan's own bytes are fetched and digested here: what is signed is what was read, not what the server says of it.

    The digests of the required evidence that the plan freezes are printed: compare them with the documents that you have.
    """
    from livinglab.domain.plan import PlanBody
    from livinglab.domain.sandbox import Role
    from livinglab.evidence.agreement import sign_plan
    from livinglab.evidence.keys import KeySigner

    signer = KeySigner.load(key_file)
    data = client.read(address("plans", plan_id, "body")).content
    body = PlanBody.model_validate(parse_json(data))
    if body.encode()[0] != data or body.id != plan_id:
        raise EvidenceBroken("the plan's bytes are not canonical, or of another plan", where=plan_id)
    organisation = body.participant if role == "participant" else body.authority
    signed = client.send("POST", address("plans", plan_id, "signatures"), sign_plan(body, Role(role), signer), "application/vnd.dsse+json")
    if as_json:
        echo_json(signed)
    else:
        click.echo(f"{organisation} signed {sha256(data)[:19]}… as {role}; {plan_id} is {signed['state']}.")
        echo_documents([d.model_dump() for d in body.documents])


@click.command()
@click.argument("plan_id", metavar="PLAN")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Where to write it [default: PLAN.zip].")
@remote
def dossier(plan_id: str, out: Path | None, client: Client) -> None:
    """Download a plan's dossier, for `livinglab verify`."""
    save(client.read(address("plans", plan_id, "dossier")), out or Path(f"{plan_id}.zip"))
