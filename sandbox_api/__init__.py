"""The lab's door over HTTP: a thin layer over the services, without a key, a Docker socket or hidden data."""
