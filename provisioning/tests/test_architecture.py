"""Architecture rules that import contracts cannot express."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from provisioning.var import BASE

PACKAGES = (
    "accounts",
    "benchmarks",
    "certificates",
    "core",
    "devices",
    "events",
    "provisioning",
    "tenants",
)
SOURCES = [
    path.relative_to(BASE)
    for package in PACKAGES
    for path in sorted((BASE / package).rglob("*.py"))
    if not {"migrations", "tests"} & set(path.relative_to(BASE).parts)
]
ENTRY_POINTS = {"admin", "api", "commands", "push", "templatetags"}  # folders
ENTRY_POINT_FILES = {"middleware.py", "signals.py", "tasks.py"}
WIRING = {"provisioning", "benchmarks"}
HOST_CLOCK = {"timezone.now", "datetime.now", "datetime.utcnow", "time.time", "date.today"}
READ_HOST_CLOCK = {  # and no device's `last_seen`
    "provisioning/beat.py",  # schedules tasks without the database
    "provisioning/management/commands/demo.py",  # devices have their own clocks
    "provisioning/management/commands/simulate_fleet.py",
}


def is_entry_point(source: Path) -> bool:
    return (
        source.parts[0] in WIRING
        or source.name in ENTRY_POINT_FILES
        or bool(ENTRY_POINTS & set(source.parts))
    )


def calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node


@cache
def parsed(source: Path) -> ast.Module:
    return ast.parse((BASE / source).read_text(encoding="utf-8"))


def test_only_entry_points_read_the_clock() -> None:
    assert [
        f"{source} calls {name}"
        for source in SOURCES
        if not is_entry_point(source)
        for name in calls(parsed(source))
        if name == "clock.now"
    ] == []


def test_nothing_reads_the_clock_of_the_host() -> None:
    assert [
        f"{source} uses {ast.unparse(node)}"
        for source in SOURCES
        if source.parts[0] != "benchmarks" and str(source) not in READ_HOST_CLOCK
        for node in ast.walk(parsed(source))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in HOST_CLOCK
    ] == []


def test_only_one_module_writes_the_next_steps_of_devices() -> None:
    """Only `devices.registry.next_steps` may contain SQL that writes `devices_nextsteps`."""
    statements = ("INSERT INTO devices_nextsteps", "UPDATE devices_nextsteps")
    assert [
        str(source)
        for source in SOURCES
        if str(source) != "devices/registry/next_steps.py"
        and any(sql in (BASE / source).read_text(encoding="utf-8") for sql in statements)
    ] == []


def test_no_code_filters_by_tenant_explicitly() -> None:
    violations = []
    for source in SOURCES:
        if source.parts[0] in ("accounts", "tenants", "benchmarks"):
            continue
        for node in ast.walk(parsed(source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".filter"):
                violations += [
                    f"{source}:{node.lineno}"
                    for keyword in node.keywords
                    if keyword.arg in {"tenant", "tenant_id"}
                ]
    assert violations == []


def test_no_file_is_longer_than_400_lines() -> None:
    lines = {
        str(source): len((BASE / source).read_text(encoding="utf-8").splitlines())
        for source in SOURCES
    }
    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_every_module_has_a_docstring() -> None:
    missing = [
        str(source)
        for source in SOURCES
        if source.name not in {"__init__.py", "urls.py", "apps.py"}
        and "commands" not in source.parts
        and not ast.get_docstring(parsed(source))
    ]
    assert missing == []


def test_no_function_imports_project_code() -> None:
    assert [
        f"{source}:{inner.lineno}"
        for source in SOURCES
        for function in functions(parsed(source))
        for inner in ast.walk(function)
        if isinstance(inner, ast.ImportFrom) and (inner.module or "").split(".")[0] in PACKAGES
    ] == []


def test_no_model_overrides_save_or_delete() -> None:
    assert [
        f"{source}:{function.lineno}"
        for source in SOURCES
        if source.name == "models.py" or "models" in source.parts
        for function in functions(parsed(source))
        if function.name in {"save", "delete"}
    ] == []
