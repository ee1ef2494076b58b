"""The command that shows how jobs depend on one another: graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Optional

import typer

from lunasched.cli import render
from lunasched.cli.app import JSON_OPTION, MODE_OPTION, app, chosen_mode
from lunasched.cli.session import Session
from lunasched.errors import InvalidInput
from lunasched.history import jsonview

if TYPE_CHECKING:
    from lunasched.history.run import Run
    from lunasched.jobs.dependencies import Dependencies, Node
    from lunasched.jobs.model import Job

_COLORS = {"success": "palegreen", "running": "lightblue", "never": "white"}


@app.command()
def graph(
    ctx: typer.Context,
    name: Optional[str] = typer.Argument(
        None, help="Name of the job.  [default: all jobs with dependencies]", show_default=False
    ),
    as_dot: bool = typer.Option(False, "--dot", help="Print a graph for dot(1)."),
    as_json: bool = JSON_OPTION,
    system: Optional[bool] = MODE_OPTION,
) -> None:
    """Show the dependencies of jobs, as trees. Below each job are those that must succeed first."""
    if as_dot and as_json:
        raise InvalidInput("--dot and --json exclude each other; leave one out")
    session = Session.choose(chosen_mode(ctx, system))
    jobs = {job.name: job for job in session.jobs()}
    if name is not None:
        session.job(name)
    latest = session.store.runs.latest_of(jobs)
    roots = _roots(jobs) if name is None else [name]

    def of(job: str) -> Sequence[str]:
        return jobs[job].dependencies if job in jobs else ()

    if as_dot:
        print(_dot(_below(roots, of), of, latest))
    elif as_json:
        names = _below(roots, of)
        hooks = session.store.hooks.of(run.execution_id for run in latest.values())
        retries = session.retries()
        runs = {
            job: jsonview.run_json(
                run, hooks.get(run.execution_id, ()), retries.get(run.execution_id)
            )
            for job, run in latest.items()
        }
        render.print_json(
            [
                {"job": job, "dependencies": list(of(job)), "last_run": runs.get(job)}
                for job in names
            ]
        )
    else:
        _print_trees(roots, of, latest)
    session.note_supervisor()


def _roots(jobs: dict[str, Job]) -> list[str]:
    """The jobs that have dependencies and that no other depends on."""
    needed = {dependency for job in jobs.values() for dependency in job.dependencies}
    return [name for name, job in jobs.items() if job.dependencies and name not in needed]


def _below(roots: Sequence[str], of: Dependencies) -> list[str]:
    """Each job of the trees once."""
    from lunasched.jobs.dependencies import tree

    return list(dict.fromkeys(node.name for node in tree(roots, of)))


def _print_trees(roots: Sequence[str], of: Dependencies, latest: dict[str, Run]) -> None:
    from lunasched.jobs.dependencies import tree

    for node in tree(roots, of):
        again = " (see above)" if node.again else ""
        name = render.one_line(node.name, len(node.name))
        print(f"{_branch(node)}{name}  {_state(latest.get(node.name))}{again}")


def _branch(node: Node) -> str:
    """The lines from the job's ancestors down to it."""
    if not node.depth:
        return ""
    above = "".join("   " if last else "│  " for last in node.depth[:-1])
    return above + ("└─ " if node.depth[-1] else "├─ ")


def _state(run: Run | None) -> str:
    return "never ran" if run is None else render.run_ended(run)


def _dot(names: Sequence[str], of: Dependencies, latest: dict[str, Run]) -> str:
    lines = ["digraph lunasched {", "    rankdir=LR;", "    node [shape=box, style=filled];"]
    for name in names:
        run = latest.get(name)
        state = "never" if run is None else "running" if run.result is None else run.result.value
        label = f'{_quoted(name)[:-1]}\\n{_state(run)}"'
        color = _COLORS.get(state, "lightpink")
        lines.append(f"    {_quoted(name)} [label={label}, fillcolor={color}];")
    for name in names:
        # An arrow goes as time does: from what comes first.
        lines += [f"    {_quoted(dependency)} -> {_quoted(name)};" for dependency in of(name)]
    return "\n".join([*lines, "}"])


def _quoted(text: str) -> str:
    """A name as a quoted string of DOT that is also shown as it is (escString)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{render.one_line(escaped, len(escaped))}"'
