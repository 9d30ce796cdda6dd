"""Hooks are functions, or executables in a folder."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from provisioning_agent.hooks import HookResult, Hooks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def run(hooks: Hooks, name: str = "x", values: dict[str, Any] | None = None) -> HookResult:
    return asyncio.run(hooks.run(name, values or {}))


def test_an_executable_gets_json_and_returns_json(folder: Path) -> None:
    write(folder, "x", "cat")

    assert run(Hooks(folder), values={"a": 1}) == HookResult(values={"a": 1})


def test_the_last_line_of_standard_error_is_the_reason_of_a_failure(folder: Path) -> None:
    write(folder, "x", "echo first >&2; echo 'The disk is full.' >&2; exit 3")

    assert run(Hooks(folder)) == HookResult(ok=False, reason="The disk is full.")


def test_a_failed_executable_can_return_values(folder: Path) -> None:
    write(folder, "x", """echo '{"error_code": "no_space"}'; exit 1""")

    assert run(Hooks(folder)).values == {"error_code": "no_space"}


def test_an_executable_that_takes_too_long_is_ended_with_its_children(folder: Path) -> None:
    write(folder, "x", f"(sleep 2; touch {folder}/late) & sleep 60")

    result = run(Hooks(folder, timeout=0.3))

    assert (result.ok, result.reason) == (False, "x took longer than 0.3 s.")


def test_a_file_that_is_not_executable_is_no_hook(folder: Path) -> None:
    (folder / "x").write_text("#!/bin/sh\n")

    assert not Hooks(folder).exists("x")
    assert run(Hooks(folder)).reason == "This device has no hook x."


def test_a_name_cannot_leave_the_folder(folder: Path) -> None:
    write(folder, "x", "true")
    (folder / "hooks").mkdir()

    assert not Hooks(folder / "hooks").exists("../x")


def test_a_function_may_be_asynchronous(folder: Path) -> None:
    async def double(values: dict[str, Any]) -> dict[str, Any]:
        return {"b": 2 * values["a"]}

    hooks = Hooks()
    hooks.add("x", double)

    assert run(hooks, values={"a": 2}) == HookResult(values={"b": 4})


def test_an_exception_of_a_function_is_the_reason_of_the_failure() -> None:
    def fail(values: dict[str, Any]) -> None:
        raise RuntimeError("The panel is off.")

    hooks = Hooks()
    hooks.add("x", fail)

    assert run(hooks) == HookResult(ok=False, reason="The panel is off.")
