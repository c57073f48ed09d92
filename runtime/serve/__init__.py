"""``foveate serve``: masks over HTTP. Starlette, uvicorn and prometheus_client, the extra serve."""
