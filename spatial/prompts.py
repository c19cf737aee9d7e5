"""The instruction for each path. The texts are this project's own; the path of the sample decides which one is used."""

from typing import Literal

from spatial.sample import ReasoningPath

_FULL = {
    ReasoningPath.LOR: (
        "Work it out step by step in words, then give the answer. Reply with exactly "
        "<think>your reasoning</think><answer>your answer</answer> and nothing else."
    ),
    ReasoningPath.DTR: (
        "First locate every marked region in 3D, then reason from the coordinates. Centres are in metres in the camera "
        "frame: x to the right, y down, z forward. Reply with exactly\n"
        "<detect>Find N relevant objects:\n"
        '<3d_box center="x,y,z">name (colour point)</3d_box>\n'
        "one line for each marked region</detect><think>your reasoning</think><answer>your answer</answer>\n"
        "and nothing else. Write coordinates with two decimals."
    ),
    ReasoningPath.DIRECT: "Reply with exactly <answer>your answer</answer> and nothing else.",
}
_SHORT = {ReasoningPath.LOR: "think", ReasoningPath.DTR: "detect", ReasoningPath.DIRECT: "answer"}


def instruction(path: ReasoningPath, style: Literal["short", "full"]) -> str:
    """The instruction that asks for `path`'s grammar."""
    return (_FULL if style == "full" else _SHORT)[path]
