"""The documentation as tests: what it names exists, what it says to type runs."""

import ast
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import get_commands, load_command_class
from django.urls import resolve

ROOT = Path(__file__).resolve().parent.parent
APPS = ["meters", "catalog", "contracts", "invoicing"]
FOLDERS = ["", ".github", *(f"{name}/**" for name in ("billing_project", "tests", *APPS))]
DOCUMENTS = sorted(
    {str(path.relative_to(ROOT)) for folder in FOLDERS for path in ROOT.glob(f"{folder}/*.md".lstrip("/"))}
)
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```\n(.*?)```", README, re.DOTALL)
COMMANDS = [block for block in BLOCKS if "pip install" in block]


def section(title: str, document: str = README) -> str:
    match = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", document, re.DOTALL | re.MULTILINE)
    assert match, title
    return match[1]


@pytest.mark.parametrize("path", DOCUMENTS)
def test_links_lead_somewhere(path: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / path).read_text()):
        if "://" not in target:
            assert ((ROOT / path).parent / target).exists(), target


def test_every_module_and_name_of_the_rule_table_exists() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", section("Where each rule lives"), re.MULTILINE)[1:]
    rows = [row for row in rows if not row[0].startswith("---")]
    assert len(rows) > 10
    for rule, where in rows:
        module = None
        for name in re.findall(r"`([^`]+)`", where):
            if name.endswith(".py"):
                module = ROOT / name
                assert module.exists(), f"{rule}: {name}"
            else:
                assert module, rule
                assert name in defined(module), f"{rule}: {name} is not in {module.name}"


def defined(module: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(module.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id for target in targets if isinstance(target, ast.Name)}
    return names


@pytest.mark.parametrize("app", APPS)
def test_every_app_says_what_it_owns_and_what_always_holds(app: str) -> None:
    text = (ROOT / app / "README.md").read_text()
    for part in ("**Owns**", "**Does not own**", "**Always holds**"):
        assert part in text


@pytest.mark.parametrize("app", APPS)
def test_modules_said_to_be_pure_are(app: str) -> None:
    text = (ROOT / app / "README.md").read_text()
    stated = re.search(r"^Pure, without a database: (.+?)\.$", text, re.MULTILINE | re.DOTALL)
    assert stated
    for name in re.findall(r"`(\w+)`", stated[1]):
        assert "Pure" in (ast.get_docstring(ast.parse((ROOT / app / f"{name}.py").read_text())) or ""), name


def test_the_two_commands_install_what_the_project_offers() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    demo, tests, production = COMMANDS
    for command, needed in ((demo, {"embedded"}), (tests, {"embedded", "dev"}), (production, set())):
        words = shlex.split(command.replace("&&", " "), comments=True)
        assert (ROOT / words[words.index("-c") + 1]).exists()
        named = re.search(r"\.\[(.+)\]", words[words.index("-e") + 1])
        assert set(named[1].split(",") if named else []) == needed <= set(extras)
    assert "manage.py demo" in demo
    assert "-m pytest" in tests


def test_the_readme_and_contributing_give_the_same_command() -> None:
    assert COMMANDS[1] in (ROOT / ".github/CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("path", DOCUMENTS)
def test_commands_and_their_options_exist(path: str) -> None:
    known = get_commands()
    for name, rest in re.findall(r"manage\.py (\w+)([^`\n]*)", (ROOT / path).read_text()):
        assert name in known, f"manage.py {name}"
        app = known[name]
        parser = (load_command_class(app, name) if isinstance(app, str) else app).create_parser("manage.py", name)
        for option in re.findall(r"--[a-z-]+", rest.split("&&")[0]):
            assert option in parser.format_help(), f"manage.py {name} {option}"


def test_the_demo_has_the_options_the_readme_promises() -> None:
    shown = subprocess.run(
        [sys.executable, "manage.py", "demo", "--help"], cwd=ROOT, text=True, capture_output=True, check=True
    ).stdout
    for option in ("--no-serve", "--fresh", "--port"):
        assert option in section("Try it")
        assert option in shown


def test_every_variable_the_settings_read_is_described_and_the_other_way_round() -> None:
    sources = [ROOT / "billing_project" / name for name in ("settings.py", "embedded.py", "server_programs.py")]
    pattern = r"""(?:env\.\w+\(|environ\.get\(|environ\[)\s*["']([A-Z_]+)["']"""
    read = {name for source in sources for name in re.findall(pattern, source.read_text())} - {"PATH"}
    read -= {"COUNTINGHOUSE_POSTGRES_OPTIONS"}  # for the tests: a server without fsync
    cells = re.findall(r"^\| (`.+?) \|", section("On a PostgreSQL of your own"), re.MULTILINE)
    described = {name for cell in cells for name in re.findall(r"`([A-Z_]+)`", cell)}
    assert described == read


def test_the_addresses_exist() -> None:
    for path in re.findall(r"(?:127\.0\.0\.1:8000|`)(/api/[\w/]+)", README):
        assert resolve(path), path


def test_the_aggregations_are_those_of_the_meters() -> None:
    from meters.models import Aggregation

    for aggregation in Aggregation:
        assert aggregation.value.replace("_", " ") in section("The words").replace("\n ", "")


def test_defaults_are_as_described() -> None:
    table = section("On a PostgreSQL of your own")
    assert f"late events before review; {settings.INVOICE_GRACE_HOURS} |" in table
    assert f"still recognised; {settings.METERS_IDENTITY_DAYS} |" in table
    assert f"`{settings.INVOICE_NUMBER_PREFIX}` |" in table
