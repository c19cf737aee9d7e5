"""What checks of a machine or a config find, and how it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

GIB = 1024**3
Status = Literal["ok", "warn", "fail"]
_NAME_WIDTH = 21


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


def print_findings(findings: Sequence[Finding], console: Console | None = None, subject: str = "this machine") -> None:
    """A paragraph for each, which has room in a terminal of 80 columns, and a closing line with the verdict.

    Args:
        subject: what the verdict is about.
    """
    console = console or Console()
    styles = {"ok": "green", "warn": "yellow", "fail": "bold red"}
    table = Table.grid(padding=(0, 2))
    table.add_column()
    table.add_column(max_width=_NAME_WIDTH)
    table.add_column(overflow="fold")
    for finding in findings:
        style = styles[finding.status]
        # Escaped: rich would take the brackets of pip's extras for its own markup.
        told = [finding.detail, *([f"→ {finding.advice}"] if finding.advice else [])]
        table.add_row(f"[{style}]{finding.status}[/]", escape(finding.name), escape("\n".join(told)))
    console.print(table)
    num_failed = sum(finding.status == "fail" for finding in findings)
    num_warned = sum(finding.status == "warn" for finding in findings)
    verdict = f"{subject} is ready" if not num_failed else f"{subject} is not ready yet"
    console.print(f"\n{verdict}: {num_failed} problem(s), {num_warned} warning(s)")
