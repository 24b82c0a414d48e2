"""Where a client learns how to come in."""

from fastapi import APIRouter

from livinglab.domain.errors import NotFound
from sandbox_api import examples
from sandbox_api.auth import TheCaller, TheLab
from sandbox_api.schemas import Me, ProtectedResource

router = APIRouter(tags=["identity"])


@router.get("/.well-known/oauth-protected-resource", responses=examples.answers(examples.PROTECTED_RESOURCE))
def protected_resource(lab: TheLab) -> ProtectedResource:
    """Which identity provider the lab trusts, and what an access token must be meant for (RFC 9728). 404: it takes its own tokens only."""
    own = lab.settings
    if not own.oidc_issuer:
        msg = "this lab trusts no identity provider: it takes tokens of its own only."
        raise NotFound(msg, hint="Its operator issues one: livinglab token issue.")
    return ProtectedResource(resource=own.oidc_audience, authorization_servers=[own.oidc_issuer], scopes_supported=own.oidc_scopes.split(),
                             livinglab_client=own.oidc_client or None)  # fmt: skip


@router.get("/v1/me", responses=examples.answers(examples.ME))
def who_am_i(caller: TheCaller) -> Me:
    """As whom the lab knows whoever asks."""
    return Me(organisation=caller.organisation, roles=caller.roles, identity=caller.token)
