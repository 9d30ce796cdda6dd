"""What import contracts cannot say of the house, executable."""

import ast
from collections.abc import Iterator
from pathlib import Path

from provisioning.var import BASE

ROOMS = ("provisioning", "tenants", "events", "devices", "certificates", "benchmarks")
SOURCES = [
    path.relative_to(BASE)
    for room in ROOMS
    for path in sorted((BASE / room).rglob("*.py"))
    if not {"migrations", "tests"} & set(path.relative_to(BASE).parts)
]
DOORS = {
    "admin.py",
    "token_admin.py",
    "doubt_admin.py",
    "authority_admin.py",
    "channel_admin.py",
    "alert_admin.py",
    "tasks.py",
    "forms.py",
    "authentication.py",
    "portal.py",
    "bulk_portal.py",
    "package_portal.py",
    "rollout_portal.py",
    "editor.py",
    "sign_in.py",
    "views.py",
}
# From the ground up; what stands within another room is a room of its own.
ORDER = (
    "tenants",
    "events",
    "devices",
    "certificates",
    "devices.metrics",
    "devices.monitoring",
    "devices.configurations",
    "devices.preferences",
    "devices.remote_control",
    "devices.updates",
    "provisioning.portal",
)
CLOCK = {"timezone.now", "datetime.now", "datetime.utcnow", "time.time", "date.today"}
OUTSIDE = ("provisioning", "benchmarks")  # the wiring runs processes


def calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            yield node


def parsed(source: Path) -> ast.Module:
    return ast.parse((BASE / source).read_text(encoding="utf-8"))


def room(module: str) -> str:
    """The innermost room of `ORDER` that a module stands in; none for what is shared."""
    inside = [name for name in ORDER if f"{module}.".startswith(f"{name}.")]
    return max(inside, key=len, default="")


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_rooms_import_from_themselves_and_from_the_rooms_below() -> None:
    upward = []
    for source in SOURCES:
        own = room(".".join(source.with_suffix("").parts))
        for name in imported(parsed(source)) if own else ():
            theirs = room(name)
            if theirs and ORDER.index(theirs) > ORDER.index(own):
                upward.append(f"{source} imports {name}")
    assert upward == []


def test_only_doors_read_the_clock() -> None:
    assert [
        f"{source} calls {name}"
        for source in SOURCES
        if source.parts[0] not in OUTSIDE
        and not {"commands", "api", "templatetags"} & set(source.parts)
        and source.name not in DOORS
        for name in calls(parsed(source))
        if name in CLOCK
    ] == []


def test_nobody_filters_by_tenant_by_hand() -> None:
    found = []
    for source in SOURCES:
        if source.parts[0] in ("tenants", "benchmarks"):
            continue
        for node in ast.walk(parsed(source)):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ".filter"
            ):
                found += [
                    f"{source}:{node.lineno}"
                    for keyword in node.keywords
                    if keyword.arg in {"tenant", "tenant_id"}
                ]
    assert found == []


def test_every_file_is_one_room() -> None:
    lines = {
        str(source): len((BASE / source).read_text(encoding="utf-8").splitlines())
        for source in SOURCES
    }
    assert {name: count for name, count in lines.items() if count > 400} == {}


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(source)
        for source in SOURCES
        if source.name not in {"__init__.py", "urls.py", "apps.py"}
        and "commands" not in source.parts
        and not ast.get_docstring(parsed(source))
    ]
    assert silent == []


def test_nothing_of_ours_is_imported_inside_a_function() -> None:
    assert [
        f"{source}:{inner.lineno}"
        for source in SOURCES
        for function in functions(parsed(source))
        for inner in ast.walk(function)
        if isinstance(inner, ast.ImportFrom)
        and (inner.module or "").split(".")[0] in ROOMS
    ] == []


def test_no_model_overrides_save_or_hears_signals() -> None:
    assert [
        f"{source}:{function.lineno}"
        for source in SOURCES
        if source.name == "models.py" or "models" in source.parts
        for function in functions(parsed(source))
        if function.name in {"save", "delete"}
    ] == []
