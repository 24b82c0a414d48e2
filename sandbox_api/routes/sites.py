"""Sites: where runs can be asked for."""

from fastapi import APIRouter

from sandbox_api import examples
from sandbox_api.auth import TheCaller, TheLab
from sandbox_api.schemas import SiteView

router = APIRouter(prefix="/sites", tags=["sites"])


@router.get("", responses=examples.answers([examples.SITE]))
def list_sites(lab: TheLab, _caller: TheCaller) -> list[SiteView]:
    """The sites, what each offers to a container, whether it begins runs, and when it is away. How the lab reaches them is nobody's."""
    return [SiteView.of(site) for site in lab.sites.listed()]
