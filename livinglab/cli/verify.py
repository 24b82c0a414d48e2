"""`livinglab verify`: offline, with public keys only."""

import sys
from pathlib import Path

import click

from livinglab.cli import echo_json


@click.command()
@click.argument("dossier", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--keys",
    "policy_file",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Whom you trust: a policy from `livinglab key trust`.",
)
@click.option("--head", help="The digest of the chain's newest entry, if you have it from elsewhere.")
@click.option(
    "--receipt",
    "receipts",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A receipt from `livinglab receipt`, which the chain must hold; may be given more than once.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(dossier: Path, policy_file: Path, head: str | None, receipts: tuple[Path, ...], *, as_json: bool) -> None:
    """Check DOSSIER: every digest, signature, place in the chain, and the verdict, judged again. Exit code 1 if anything does not hold."""
    from livinglab.evidence.ledger import printable
    from livinglab.evidence.policy import TrustPolicy
    from livinglab.evidence.verify import verify as check

    report = check(dossier, TrustPolicy.load(policy_file), head, [path.read_bytes() for path in receipts])
    if as_json:
        echo_json({"ok": report.ok, "problems": [{"where": p.where, "what": p.what} for p in report.problems], "facts": report.facts})
    else:
        for problem in report.problems:
            click.secho(f"✗ {problem}", fg="red")
        for name, fact in report.facts.items():
            click.echo(printable(f"  {name}: {fact}"))
        if report.ok:
            click.secho(f"✓ {dossier.name} holds.", fg="green")
        else:
            click.secho(f"✗ {dossier.name} does not hold: {len(report.problems)} problems.", fg="red")
    sys.exit(0 if report.ok else 1)
