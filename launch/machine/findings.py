"""What checks of a machine or a config find, and how it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

GIB = 1024**3
Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """What one check says, such as Finding("memory", "warn", "9.8 GiB free", "close other programs")."""

    name: str
    status: Status
    detail: str
    advice: str = ""  # what to do; empty if nothing

    def __post_init__(self) -> None:
        if self.status != "ok" and not self.advice:
            raise ValueError(f"the finding {self.name!r} is not ok and gives no advice")


def exit_status(findings: Sequence[Finding]) -> int:
    """1 if anything fails, else 0; a warning does not stop a run."""
    return int(any(finding.status == "fail" for finding in findings))


def print_findings(findings: Sequence[Finding], console: Console | None = None) -> None:
    """A table, and a closing line with the verdict."""
    console = console or Console()
    styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    table = Table(show_edge=False, pad_edge=False)
    for title in ("", "what", "found", "what to do"):
        table.add_column(title)
    for finding in findings:
        style = styles[finding.status]
        # Escaped: rich would take the brackets of pip's extras for its own markup.
        cells = [escape(text) for text in (finding.name, finding.detail, finding.advice)]
        table.add_row(f"[{style}]{finding.status}[/]", *cells)
    console.print(table)
    num_failed = sum(finding.status == "fail" for finding in findings)
    num_warned = sum(finding.status == "warn" for finding in findings)
    verdict = "this machine is ready" if not num_failed else "this machine is not ready yet"
    console.print(f"\n{verdict}: {num_failed} problem(s), {num_warned} warning(s)")
