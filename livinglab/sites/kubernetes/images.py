"""Images at the registry that a cluster pulls from: pushed once, under the digest that the lab made itself."""

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from livinglab.domain.canonical import Digest
from livinglab.domain.errors import NotFound, PlatformFault, Unreachable
from livinglab.ports import Artifacts
from livinglab.sites.kubernetes.config import Registry, image_reference
from livinglab.sites.staging import Staging

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

_TIMEOUT = 60.0
_MISSING = 404
_ACCEPTED = {"Accept": "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.manifest.v1+json"}


class RegistryImages:
    """The lab's images at one registry."""

    def __init__(self, registry: Registry, artifacts: Artifacts, staging: Staging) -> None:
        self._registry, self._artifacts, self._staging = registry, artifacts, staging
        self._known: set[str] = set()

    def ensure(self, digest: Digest) -> str:
        """What a pod calls the image, once it is there. `NotFound` where the lab has none of that digest."""
        if digest not in self._known:
            with self._staging.locked(f"image-{digest.removeprefix('sha256:')}"), self._client() as client:
                if client.head(self._manifest(digest), headers=_ACCEPTED).status_code == _MISSING:
                    self._push(client, digest)
            self._known.add(digest)
        return image_reference(self._registry, digest)

    def _push(self, client: "httpx.Client", digest: Digest) -> None:
        manifest = json.loads(self._artifacts.read(digest))
        if "layers" not in manifest or "config" not in manifest:
            msg = f"{digest} is not an image."
            raise NotFound(msg)
        for blob in sorted({part["digest"] for part in (manifest["config"], *manifest["layers"])}):
            if client.head(f"/v2/{self._registry.repository}/blobs/{blob}").status_code == _MISSING:
                where = client.post(f"/v2/{self._registry.repository}/blobs/uploads/").raise_for_status().headers["Location"]
                with self._artifacts.open(blob) as stream:
                    separator = "&" if "?" in where else "?"
                    client.put(
                        f"{where}{separator}digest={blob}", content=stream, headers={"Content-Type": "application/octet-stream"}
                    ).raise_for_status()
        kind = {"Content-Type": manifest["mediaType"]}
        client.put(self._manifest(digest), content=self._artifacts.read(digest), headers=kind).raise_for_status()

    def _manifest(self, digest: Digest) -> str:
        return f"/v2/{self._registry.repository}/manifests/{digest}"

    @contextmanager
    def _client(self) -> "Iterator[httpx.Client]":
        import ssl

        import httpx

        own, password = self._registry, self._registry.password
        try:
            auth = (own.user, password.read_text().strip()) if own.user and password else None
        except OSError as error:
            msg = f"the registry's password cannot be read from {password}: {error.strerror}."
            raise PlatformFault(msg) from error
        verify = ssl.create_default_context(cafile=str(own.ca)) if own.ca else True
        try:
            with httpx.Client(base_url=own.url, auth=auth, verify=verify, trust_env=False, timeout=_TIMEOUT) as client:
                yield client
        except httpx.HTTPStatusError as error:
            msg = f"the registry {own.url} answered {error.response.status_code}: {error.response.text[:300]}"
            raise PlatformFault(msg) from error
        except httpx.HTTPError as error:
            msg = f"the registry {own.url} does not answer: {error}"
            raise Unreachable(msg) from error
