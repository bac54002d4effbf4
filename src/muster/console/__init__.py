"""The console: server-rendered pages at `/`, over the same service functions as the REST API."""
