"""The application."""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

import livinglab
from livinglab.bootstrap import Lab, open_lab
from livinglab.domain.documents import MOST_BYTES
from livinglab.monitoring.metrics import new_registry, serving
from sandbox_api import document, errors, tags
from sandbox_api.auth import Door
from sandbox_api.beside import mlflow, prefect
from sandbox_api.beside.upstream import Upstream
from sandbox_api.limits import BodyLimit
from sandbox_api.metrics import Requests
from sandbox_api.routes import content, discovery, documents, plans, runs, sites, uploads

DESCRIPTION = """
Pilots come in here; verdicts and evidence go out. Every error is a problem document (RFC 9457), lists of sandboxes, pilots,
plans and runs are paged by cursor, and what belongs to another organisation does not exist.
"""


def create_app(lab: Lab | None = None) -> FastAPI:
    """The API over a lab (None: the one of the environment's settings)."""
    lab = lab or open_lab()

    @asynccontextmanager
    async def telling(app: FastAPI) -> AsyncIterator[None]:
        own = lab.settings
        with serving(registry, own.metrics_host, own.metrics_port) if own.metrics_port else nullcontext():
            yield
        for upstream in (app.state.mlflow, app.state.prefect):
            await upstream.close()
        if app.state.traces:
            app.state.traces.shutdown()  # which sends what it still has

    app = FastAPIOffline(  # its pages come with it: a lab has no way to a CDN
        title="livinglab", version=livinglab.__version__, description=DESCRIPTION, openapi_url="/openapi.json", docs_url="/docs", redoc_url=None,
        lifespan=telling, generate_unique_id_function=lambda route: route.name,
        responses=errors.RESPONSES)  # fmt: skip
    app.state.lab, app.state.door, app.state.traces = lab, Door(lab), None
    app.state.mlflow, app.state.mlflow_known = Upstream("MLflow", lab.settings.mlflow_url), mlflow.Known()
    app.state.prefect = Upstream("Prefect", lab.settings.prefect_url.removesuffix("/api"))
    app.state.metrics = registry = new_registry(lab.store, lab.clock)
    larger = {"/v1/images": lab.settings.upload_limit, "/v1/uploads/[^/]+": lab.settings.upload_limit, "/v1/pilots/[^/]+/documents/[^/]+": MOST_BYTES}
    app.add_middleware(BodyLimit, limit=lab.settings.body_limit, larger=larger)
    app.add_middleware(Requests, registry=registry)
    if lab.settings.otlp_url:
        from sandbox_api.traces import Traces, provider_to

        app.state.traces = provider_to(lab.settings.otlp_url)
        app.add_middleware(Traces, provider=app.state.traces)
    errors.install(app)
    tags.install(app)
    document.install(app)
    for router in (content.router, documents.router, plans.router, runs.router, sites.router, uploads.router):
        app.include_router(router, prefix="/v1")

    for beside in (discovery, mlflow, prefect):
        app.include_router(beside.router)

    @app.get("/healthz", tags=["health"])
    def health() -> dict[str, str]:
        """Is the API up, and does its database answer?"""
        lab.store.ask(lambda tx: tx.cursor("health"))
        return {"status": "ok"}

    return app


def serving_app() -> FastAPI:
    """The API of a process that does nothing else.

    What was loaded so far is looked through for garbage once, and never again: that finds nothing, and each time no request was answered for a
    tenth of a second.
    """
    app = create_app()
    gc.collect()
    gc.freeze()
    return app
