"""Roles, as the operator's commands take them."""

import click

from livinglab.domain.sandbox import Role

roles_option = click.option("--role", "roles", multiple=True, required=True,
                            help="SANDBOX=ROLE; may be given more than once. Roles: " + ", ".join(Role) + ".")  # fmt: skip


def granted(pairs: tuple[str, ...]) -> dict[str, Role]:
    """By sandbox; `BadParameter` or `Invalid` says which pair cannot be used, and why."""
    from livinglab.domain.errors import unknown_name

    found: dict[str, Role] = {}
    for pair in pairs:
        sandbox, _, role = pair.rpartition("=")
        if not sandbox:
            msg = f"{pair!r} names no sandbox; expected SANDBOX=ROLE (a sandbox's id, or * for all)."
            raise click.BadParameter(msg, param_hint="--role")
        if role not in list(Role):
            raise unknown_name("role", role, list(Role), where="--role")
        found[sandbox] = Role(role)
    return found
