"""Required evidence in a dossier: what the specification demands, the plan froze, and the archive holds or withholds are one and the same."""

from collections.abc import Iterator, Mapping
from typing import Any

from livinglab.domain.canonical import sha256
from livinglab.domain.documents import FrozenDocument, RequiredDocument
from livinglab.evidence import dossier as names
from livinglab.evidence.ledger import Problem


def check_required(plan: dict[str, Any], spec: dict[str, Any], files: Mapping[str, bytes], withheld: Mapping[str, str]) -> Iterator[Problem]:
    """Whatever is demanded, frozen or there, and is not all three. Who signed the plan signed the digests, so nobody else need vouch for the bytes.

    Args:
        files: of the whole archive, by name; `withheld`: name → digest.
    """
    frozen = [FrozenDocument.model_validate(d) for d in plan.get("documents", ())]
    demanded = {d.name: d for d in map(RequiredDocument.model_validate, spec.get("required_evidence", ()))}
    yield from _check_frozen(frozen, demanded)
    digests = {f"{names.REQUIRED}{d.file}": d.digest for d in frozen}
    for name in sorted(name for name in files if name.startswith(names.REQUIRED)):
        if name not in digests:
            yield Problem(name, "the plan froze no such document")
        elif sha256(files[name]) != digests[name]:
            yield Problem(name, f"its contents are not those that the plan froze ({digests[name]})")
    for name in sorted(name for name in withheld if name.startswith(names.REQUIRED)):
        if name not in digests:
            yield Problem(names.WITHHELD, f"it lists {name}, which the plan did not freeze")
        elif withheld[name] != digests[name]:
            yield Problem(names.WITHHELD, f"the digest that it gives for {name} is not the one that the plan froze")
    for name in sorted(set(digests) - set(files) - set(withheld)):
        yield Problem(name, "it is missing: the plan froze it, and it is not listed as withheld")


def _check_frozen(frozen: list[FrozenDocument], demanded: dict[str, RequiredDocument]) -> Iterator[Problem]:
    listed = [d.name for d in frozen]
    for name in sorted(set(demanded) - set(listed)):
        yield Problem(names.PLAN, f"it froze no document {name!r}, which the specification requires")
    for document in frozen:
        if document.name not in demanded:
            yield Problem(names.PLAN, f"it froze a document {document.name!r}, which the specification does not know")
        elif document.media_type not in demanded[document.name].media_types:
            yield Problem(names.PLAN, f"it froze {document.name!r} as {document.media_type}, which the specification does not take")
    for name in sorted({name for name in listed if listed.count(name) > 1}):
        yield Problem(names.PLAN, f"it froze {name!r} more than once")
