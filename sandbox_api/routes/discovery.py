"""Where a client learns how to come in."""

from fastapi import APIRouter

from livinglab.domain.errors import NotFound
from sandbox_api.auth import TheLab
from sandbox_api.schemas import ProtectedResource

router = APIRouter(tags=["identity"])


@router.get("/.well-known/oauth-protected-resource")
def protected_resource(lab: TheLab) -> ProtectedResource:
    """Which identity provider the lab trusts, and what an access token must be meant for (RFC 9728). 404: it takes its own tokens only."""
    own = lab.settings
    if not own.oidc_issuer:
        msg = "this lab trusts no identity provider: it takes tokens of its own only."
        raise NotFound(msg, hint="Its operator issues one: livinglab token issue.")
    return ProtectedResource(resource=own.oidc_audience, authorization_servers=[own.oidc_issuer], scopes_supported=own.oidc_scopes.split(),
                             livinglab_client=own.oidc_client or None)  # fmt: skip
