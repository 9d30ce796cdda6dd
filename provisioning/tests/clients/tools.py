"""Generate, compile and run API clients with other programs."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from provisioning.api import document
from provisioning.var import BASE

REQUIRED = os.environ.get("CLIENTS") == "required"  # set by `./run test --clients`
FOLDER = Path(__file__).parent
PROGRAMS, STAND_INS = FOLDER / "programs", FOLDER / "stand_ins"
SCRIPTS = Path(sys.executable).parent
NODE_MODULES = BASE / "var" / "clients" / "node_modules"
JARS = Path("/usr/share/java")
TOOLS = ("java", "javac", "kotlinc", "npm", "openapi-generator-cli", "openapi-python-client")
MARKS = [
    pytest.mark.client,
    pytest.mark.skipif(
        not REQUIRED and not all(shutil.which(tool) or (SCRIPTS / tool).exists() for tool in TOOLS),
        reason="no generators or compilers here",
    ),
]
# Debian has Kotlin 1.3, in which these names of the standard library are older.
KOTLIN_NAMES = {".lowercase()": ".toLowerCase()", " entries.": " values()."}

Command = list[str | Path]


def run(*command: str | Path, cwd: Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a program that must succeed. Return its output."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def generate(folder: Path, generator: str, *, parts: str = "", **properties: Any) -> None:
    """Write a client with openapi-generator.

    Args:
        parts: only these parts, such as `models`.
    """
    parts += ",apiTests=false,modelTests=false,apiDocs=false,modelDocs=false"
    parts = parts.strip(",")
    joined = ",".join(f"{name}={value}" for name, value in properties.items())
    command: Command = ["generate", "-i", document.PATH, "-g", generator, "-o", folder]
    command += ["--global-property", parts, "--additional-properties", joined]
    run(SCRIPTS / "openapi-generator-cli", *command, cwd=folder.parent)


def install_node_modules() -> None:
    """Install the packages of package-lock.json, unless they are installed."""
    NODE_MODULES.parent.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json"):
        source, target = FOLDER / name, NODE_MODULES.parent / name
        if not target.exists() or target.read_bytes() != source.read_bytes():
            shutil.rmtree(NODE_MODULES, ignore_errors=True)
            shutil.copy(source, target)
    if not (NODE_MODULES / ".package-lock.json").exists():
        run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=NODE_MODULES.parent)


def node_program(name: str) -> Path:
    return NODE_MODULES / ".bin" / name


def class_path(*folders: Path) -> str:
    names = ("gson", "jackson-annotations", "jackson-core", "jackson-databind")
    jars = [JARS / f"{name}.jar" for name in (*names, "jakarta-annotation-api", "kotlin-stdlib")]
    return os.pathsep.join(str(path) for path in (*folders, *jars))


KOTLIN_OPTIONS = {
    "library": "jvm-okhttp4",
    "serializationLibrary": "gson",
    "dateLibrary": "string",
    "packageName": "provisioning.client",
    "sourceFolder": "src",
    "enumPropertyNaming": "UPPERCASE",
}


def use_old_names(sources: Path) -> None:
    """Adapt generated models to the Kotlin that Debian has."""
    for model in (sources / "provisioning" / "client" / "models").glob("*.kt"):
        text = model.read_text()
        for new, old in KOTLIN_NAMES.items():
            text = text.replace(new, old)
        model.write_text(text)


def kotlin_agent(folder: Path) -> Command:
    """Generate the models and compile them with the Kotlin agent. Return the agent's command."""
    generate(folder / "models", "kotlin", parts="models", **KOTLIN_OPTIONS)
    sources = folder / "models" / "src"
    use_old_names(sources)
    command: Command = ["kotlinc", "-nowarn", "-cp", class_path(), "-d", "classes", sources]
    run(*command, BASE / "agent" / "kotlin" / "src", cwd=folder)
    return ["java", "-cp", class_path(folder / "classes"), "provisioning.agent.MainKt"]


def kotlin(folder: Path) -> Command:
    """Generate and compile the Kotlin client with its program. Return the program's command."""
    generate(folder / "kotlin", "kotlin", **KOTLIN_OPTIONS)
    sources = folder / "kotlin" / "src"
    infrastructure = sources / "provisioning" / "client" / "infrastructure"
    (infrastructure / "ResponseExtensions.kt").unlink()  # of okhttp's responses
    for stand_in in (STAND_INS / "kotlin").glob("*.kt"):
        shutil.copy(stand_in, infrastructure)
    use_old_names(sources)
    shutil.copy(PROGRAMS / "TwelveCalls.kt", sources)
    command = ["kotlinc", "-nowarn", "-cp", class_path(), "-d", "classes", "src"]
    run(*command, cwd=folder / "kotlin")
    return ["java", "-cp", class_path(folder / "kotlin" / "classes"), "TwelveCallsKt"]


def java(folder: Path) -> Command:
    """Generate and compile the Java client with its program. Return the program's command."""
    generate(
        folder / "java",
        "java",
        library="native",
        invokerPackage="provisioning.client",
        apiPackage="provisioning.client.api",
        modelPackage="provisioning.client.model",
        openApiNullable="false",
        useJakartaEe="true",
    )
    sources = folder / "java" / "src" / "main" / "java"
    client = sources / "provisioning" / "client"
    (client / "RFC3339InstantDeserializer.java").unlink()
    shutil.copy(STAND_INS / "java" / "RFC3339JavaTimeModule.java", client)
    shutil.copy(STAND_INS / "java" / "JavaTimeModule.java", sources)
    shutil.copy(PROGRAMS / "TwelveCalls.java", sources)
    files = [str(path) for path in sources.rglob("*.java")]
    run("javac", "-nowarn", "-cp", class_path(), "-d", "classes", *files, cwd=folder / "java")
    return ["java", "-cp", class_path(folder / "java" / "classes"), "TwelveCalls"]


def typescript(folder: Path) -> Command:
    """Generate and compile the TypeScript client with its program. Return its command."""
    install_node_modules()
    (folder / "typescript").mkdir()
    generate(folder / "typescript" / "client", "typescript-fetch")
    shutil.copy(PROGRAMS / "twelve_calls.ts", folder / "typescript")
    options = ["--strict", "--target", "es2022", "--module", "commonjs", "--lib", "es2022,dom"]
    run(node_program("tsc"), *options, "twelve_calls.ts", cwd=folder / "typescript")
    return ["node", folder / "typescript" / "twelve_calls.js"]


def openapi_generator_python(folder: Path) -> Command:
    """Generate and check the Python client of openapi-generator. Return its command."""
    generate(folder / "python", "python", packageName="provisioning_client")
    return _python(folder / "python", "openapi_generator_calls.py")


def openapi_python_client(folder: Path) -> Command:
    """Generate and check the client of openapi-python-client. Return its command."""
    configuration = folder / "python-client.yaml"
    configuration.write_text("package_name_override: provisioning_client\npost_hooks: []\n")
    command: Command = [
        "generate",
        "--path",
        document.PATH,
        "--meta",
        "none",
        "--config",
        configuration,
    ]
    output = folder / "python-client" / "provisioning_client"
    output.parent.mkdir()
    run(SCRIPTS / "openapi-python-client", *command, "--output-path", output, cwd=folder)
    return _python(output.parent, "openapi_python_client_calls.py", "--strict")


def _python(folder: Path, program: str, *options: str) -> Command:
    """Check a Python client with its program. Return the program's command."""
    shutil.copy(PROGRAMS / program, folder)
    (folder / "mypy.ini").write_text("[mypy]\n")
    paths = [program, "provisioning_client"]
    run(sys.executable, "-m", "mypy", "--ignore-missing-imports", *options, *paths, cwd=folder)
    return [sys.executable, folder / program]
