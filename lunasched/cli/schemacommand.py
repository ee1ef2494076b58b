"""Command schema."""

from __future__ import annotations

from lunasched.cli import render
from lunasched.cli.app import app


@app.command()
def schema() -> None:
    """Print the JSON Schema of job files and of the configuration, for editors."""
    from lunasched.files import jsonschema

    render.print_json(jsonschema.job_schema())
