"""What is needed to deploy fits the project: every package, command, option and variable in it exists."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import click
import pytest
from celery.bin.worker import worker
from django.core.management import get_commands
from uvicorn.main import main as uvicorn

from copilot.files import SIZE_MAX
from tests.deploy.files import DEPLOY, PROGRAMS, ROOT, command, compose, filled, unit, variables, words

UNITS = sorted(path.name for path in DEPLOY.glob("*.service"))
#: Those of the server itself; a bot is an outside program.
SERVER_UNITS = [name for name in UNITS if not name.startswith("holdfast-bot")]
OWN = {name: service for name, service in compose()["services"].items() if service["image"] == "holdfast"}
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
PACKAGES = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["root_packages"])


def documented() -> set[str]:
    """The variables that the settings know."""
    rows = re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", (ROOT / "docs" / "settings.md").read_text(), re.MULTILINE)
    assert len(rows) == len(set(rows)), "a variable has two rows in docs/settings.md"
    return set(rows)


def check_command(words: list[str]) -> None:
    """Refuse a program that is not ours, or an option that it does not know."""
    match words:
        case ["uvicorn", "config.asgi:application", *options]:
            uvicorn.make_parser(click.Context(uvicorn)).parse_args(options)
        case ["celery", "-A", "config", "worker", *options]:
            worker.make_parser(click.Context(worker)).parse_args(options)
        case ["python", "manage.py", name, *_]:
            assert name in get_commands()
        case ["python", "-m", module]:
            assert (ROOT / f"{module.replace('.', '/')}.py").is_file()
        case ["python", "-c", code]:
            compile(code, "health", "exec")
        case _:
            pytest.fail(f"nobody knows {words}")


def test_the_check_of_commands_finds_what_is_wrong() -> None:
    with pytest.raises(click.NoSuchOption):
        check_command(["uvicorn", "config.asgi:application", "--no-such-option"])
    with pytest.raises(click.NoSuchOption):
        check_command(["celery", "-A", "config", "worker", "--without-gosip"])
    with pytest.raises(AssertionError):
        check_command(["python", "manage.py", "migrat"])


# --- the image ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(PACKAGES | {"templates", "manage.py", "requirements.txt", "LICENSE"}))
def test_the_image_gets_all_of_the_project(name: str) -> None:
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE) for word in line.split()
    }
    assert name in copied, f"deploy/Dockerfile does not copy {name}"
    assert f"!{name}" in (ROOT / ".dockerignore").read_text().split(), f".dockerignore keeps {name} out"


def test_no_package_of_the_project_is_forgotten() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages - {"tests", "bench"} == PACKAGES


def test_the_image_runs_as_nobody_in_particular() -> None:
    lines = DOCKERFILE.splitlines()
    assert lines.index("USER holdfast") > max(i for i, line in enumerate(lines) if line.startswith("RUN"))
    assert "--require-hashes" in DOCKERFILE


@pytest.mark.parametrize("instruction", ["CMD", r"HEALTHCHECK .*\n? *CMD"])
def test_the_image_starts_what_exists(instruction: str) -> None:
    joined = DOCKERFILE.replace("\\\n", " ")
    [line] = re.findall(rf"^{instruction} (\[.+\])$", joined, re.MULTILINE)
    check_command(json.loads(line))


# --- compose --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(OWN))
def test_a_service_runs_a_command_that_exists(name: str) -> None:
    service = OWN[name]
    if "command" in service:  # else that of the image
        check_command(words(service["command"]))
    health = service.get("healthcheck", {})
    assert health.get("disable") or health["test"][0] == "CMD"
    if "test" in health:
        check_command(health["test"][1:])


@pytest.mark.parametrize("name", sorted(OWN))
def test_every_variable_reaches_every_service(name: str) -> None:
    service = OWN[name]
    assert service["env_file"] == ".env"
    assert service["environment"].keys() - documented() <= {"FORWARDED_ALLOW_IPS"}
    assert service["environment"]["DATA_DIR"] == "/data"
    assert "data:/data" in service["volumes"]


@pytest.mark.parametrize("name", sorted(OWN))
def test_a_service_can_change_little(name: str) -> None:
    service = OWN[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service["restart"] in ("unless-stopped", "on-failure")


def test_what_services_ask_for_is_there() -> None:
    found = compose()
    services, volumes = found["services"], found["volumes"]
    for name, service in services.items():
        for other, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in services[other], f"{name} waits for the health of {other}"
        for mount in service.get("volumes", []):
            assert mount.partition(":")[0] in volumes
    asked = set(re.findall(r"\$\{([A-Z_]+)", (DEPLOY / "compose.yaml").read_text()))
    assert asked <= variables(DEPLOY / "holdfast.env.example").keys()


def test_a_worker_has_the_time_that_it_needs() -> None:
    """It hands its turns back within ten seconds."""
    assert OWN["worker"]["stop_grace_period"] == "20s"
    assert unit("holdfast-worker@.service")["TimeoutStopSec"] == ["20"]


# --- units ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", UNITS)
def test_a_unit_starts_what_exists(name: str) -> None:
    program, *rest = command(name, instance="telegram")
    assert program.startswith(PROGRAMS)
    check_command([program.removeprefix(PROGRAMS), *rest])
    found = unit(name)
    assert found["WorkingDirectory"] == ["/opt/holdfast"]
    assert found["NoNewPrivileges"] == ["yes"]


@pytest.mark.parametrize("name", SERVER_UNITS)
def test_a_unit_reads_and_writes_what_the_page_makes(name: str) -> None:
    found = unit(name)
    assert found["EnvironmentFile"] == ["/etc/holdfast.env"]
    assert found["ReadWritePaths"] == [filled()["DATA_DIR"]]
    assert found["User"] == ["holdfast"]


@pytest.mark.parametrize("name", SERVER_UNITS)
def test_a_unit_leaves_bubblewrap_its_namespaces(name: str) -> None:
    forbidden = {
        "MemoryDenyWriteExecute",
        "PrivateUsers",
        "ProtectHostname",
        "ProtectKernelLogs",
        "ProtectKernelTunables",
        "RestrictNamespaces",
        "SystemCallFilter",
    }
    assert not forbidden & unit(name).keys()


def test_web_processes_count_together_in_a_folder_that_begins_empty() -> None:
    found = unit("holdfast-web.service")
    [folder] = found["RuntimeDirectory"]  # systemd makes it at the start, and removes it at the end
    assert found["Environment"] == [f"PROMETHEUS_MULTIPROC_DIR=/run/{folder}"]
    assert "RuntimeDirectoryPreserve" not in found


def test_every_worker_tells_its_metrics_at_a_port_of_its_own() -> None:
    [setting] = unit("holdfast-worker@.service")["Environment"]
    name, _, value = setting.partition("=")
    assert name == "METRICS_PORT"
    ports = [int(value.replace("%i", str(instance))) for instance in range(1, 100)]
    assert len(set(ports)) == len(ports)
    assert min(ports) > 1024
    assert max(ports) < 32768, "above are those that any program may be using as its own end"
    page = (ROOT / "docs" / "observability.md").read_text()
    assert f"{ports[0]} for `@1`, {ports[1]} for `@2`, {ports[9]} for `@10`" in page


def test_what_the_units_set_for_themselves_is_not_set_for_all() -> None:
    """A value of the file wins over that of the unit."""
    assert not {"METRICS_PORT", "PROMETHEUS_MULTIPROC_DIR"} & filled().keys()


def test_a_bot_is_given_no_key_of_the_server() -> None:
    found = unit("holdfast-bot@.service")
    assert found["EnvironmentFile"] == ["/etc/holdfast-bots.env"]
    assert found["DynamicUser"] == ["yes"]
    assert found["Environment"] == [f"DATA_DIR=/var/lib/{found['StateDirectory'][0]}"]


def test_web_processes_are_started_alike_everywhere() -> None:
    """Whoever adds an option to one of them thinks of the others."""

    def options(words: list[str]) -> set[str]:
        return {word for word in words if word.startswith("--")} - {"--host", "--port", "--workers"}

    joined = DOCKERFILE.replace("\\\n", " ")
    [image] = re.findall(r"^CMD (\[.+\])$", joined, re.MULTILINE)
    page = (ROOT / "docs" / "deploy.md").read_text().replace("\\\n", " ")
    [by_hand] = re.findall(r"^uvicorn config\.asgi:application.*$", page, re.MULTILINE)
    assert options(command("holdfast-web.service")) == options(json.loads(image)) == options(by_hand.split())


def test_the_proxy_of_the_page_lets_the_largest_upload_through() -> None:
    [size] = re.findall(r"client_max_body_size (\d+)m;", (ROOT / "docs" / "deploy.md").read_text())
    assert int(size) * 1024 * 1024 == SIZE_MAX + 1024 * 1024  # what a form puts around it, as in config/asgi.py


# --- settings -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [ROOT / ".env.example", DEPLOY / "holdfast.env.example"], ids=lambda p: p.name)
def test_an_example_shows_variables_that_exist(path: Path) -> None:
    shown = variables(path, shown=True)
    assert len(shown) > 10
    assert shown.keys() - documented() <= {"POSTGRES_PASSWORD"}


def test_the_example_of_a_deployment_shows_every_variable() -> None:
    missing = documented() - variables(DEPLOY / "holdfast.env.example", shown=True).keys()
    of_commands = {"HOST", "PORT"}  # uvicorn is told by options
    elsewhere = {name for name in missing if name.endswith("_API_URL")}  # for tests, and servers of one's own
    assert missing - of_commands - elsewhere == {"DEBUG", "FAULT_POINTS", "SIGNUP"}


def test_the_defaults_that_the_example_shows_are_the_defaults() -> None:
    rows = dict(
        re.findall(
            r"^\| `([A-Z][A-Z0-9_]+)` \| `([a-z0-9]+)` \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE
        )
    )
    path = DEPLOY / "holdfast.env.example"
    shown = {name: value for name, value in variables(path, shown=True).items() if name not in variables(path)}
    assert {name: value for name, value in shown.items() if name in rows and rows[name] != value} == {}


@pytest.mark.parametrize("name", ["deploy.md", "quickstart.md", "settings.md"])
def test_the_pages_name_commands_and_files_that_exist(name: str) -> None:
    text = (ROOT / "docs" / name).read_text()
    commands = set(re.findall(r"manage\.py ([a-z_]+)", text))
    assert commands
    assert commands <= get_commands().keys()
    for path in re.findall(r"`(deploy/[^` ]+)`", text):
        assert (ROOT / path).exists() or path == "deploy/.env", path
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (ROOT / "docs" / target).exists(), target
